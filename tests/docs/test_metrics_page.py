"""The table of metrics, and the dashboard, have what the collector gives; no more, no less."""

from __future__ import annotations

import json
import re

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

import ptykill
from ptykill.integrations.prometheus import watch
from ptykill.testing import FakeTier
from tests.docs.pages import TOP


async def test_every_metric_is_in_the_table() -> None:
    """With its name as Prometheus shows it, its kind and its labels."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        families = list(watch(supervisor, CollectorRegistry()).collect())
    shown = {(_name(each), each.type, *_labels(each)) for each in families}
    page = (TOP / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(ptykill_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    assert {(name, kind, *re.findall(r"\w+", labels)) for name, kind, labels in rows} == shown


async def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    """All but the version are on it."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        families = list(watch(supervisor, CollectorRegistry()).collect())
    there = {_name(each) for each in families} - {"ptykill_info"}
    panels = json.loads((TOP / "docs/grafana.json").read_text())["panels"]
    asked = re.findall(r"ptykill_\w+", str([each["targets"] for each in panels]))
    assert {name.removesuffix("_bucket") for name in asked} == there


def _name(family: Metric) -> str:
    ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return family.name + ending


def _labels(family: Metric) -> list[str]:
    if family.type == "info":
        return ["version", "containment"]
    return list(getattr(family, "_labelnames", ()))
