"""Metrics of a supervisor's sessions for Prometheus. Needs the extra ``metrics``.

::

    async with ptykill.aio.open_supervisor() as supervisor:
        metrics = ptykill.integrations.prometheus.watch(supervisor)
        prometheus_client.start_http_server(9100)

A supervisor that is not watched counts nothing. A scrape reads counters; it asks no process and
waits for none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Self, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import ptykill
from ptykill import aio, blocking
from ptykill.embedding.host import Host
from ptykill.engine.figures import Figures, Histogram
from ptykill.engine.supervisor import Supervisor, live_sessions, live_traffic, measure
from ptykill.rules.lifecycle import State

__all__ = ["SessionMetrics", "page", "page_of", "watch"]

Watched: TypeAlias = Supervisor | Host | aio.Supervisor | blocking.Supervisor


class SessionMetrics(Collector):
    """The metrics of one supervisor. Made by `watch`; a context manager that closes it."""

    def __init__(self, supervisor: Supervisor, registry: CollectorRegistry) -> None:
        self._supervisor = supervisor
        self._figures = measure(supervisor)
        self._registry: CollectorRegistry | None = registry
        self._told: dict[str, int] = {}
        registry.register(self)

    def close(self) -> None:
        """Take the metrics out of the registry. May be called again."""
        registry, self._registry = self._registry, None
        if registry is not None:
            registry.unregister(self)

    def __enter__(self) -> Self:
        """Return the metrics themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self.close()

    def describe(self) -> Iterator[Metric]:
        """Return the names of the metrics, so that two supervisors can't share a registry."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Return all metrics as they are now. May be called from any thread."""
        figures, live = self._figures, live_sessions(self._supervisor)
        about = {"version": ptykill.__version__, "containment": self._supervisor.containment}
        yield InfoMetricFamily("ptykill", "The version, and the containment in force.", value=about)

        states = Counter(session.state for session in live)
        gauge = GaugeMetricFamily(
            "ptykill_sessions", "Sessions that are not over, by state.", labels=["state"]
        )
        for state in State:
            if state is not State.ENDED:
                gauge.add_metric([state.value], states[state])
        yield gauge
        stuck = [each.verdict for each in live if each.state is State.STUCK]
        yield GaugeMetricFamily(
            "ptykill_survivors",
            "Processes that have outlived SIGKILL for longer than their plan's bound.",
            value=sum(len(verdict.survivors) for verdict in stuck if verdict is not None),
        )
        yield GaugeMetricFamily(
            "ptykill_attachments",
            "Clients that are attached to a session.",
            value=sum(session.attached for session in live),
        )
        yield from _counted(figures)
        yield from self._traffic()
        yield _histogram("ptykill_spawn", "How long spawns took.", figures.spawn_seconds)
        yield _histogram(
            "ptykill_end",
            "How long ends took, from the request or the leader's own exit to the verdict.",
            figures.end_seconds,
        )
        yield _histogram(
            "ptykill_grace", "The part of an end before SIGKILL.", figures.grace_seconds
        )
        yield _histogram(
            "ptykill_kill",
            "The part of an end from SIGKILL on, of sessions that got one.",
            figures.kill_seconds,
        )

    def _traffic(self) -> Iterator[Metric]:
        now, ended = live_traffic(live_sessions(self._supervisor)), self._figures.traffic
        for name, about, count in (
            ("output_bytes", "Bytes that programs have written.", now.output + ended.output),
            (
                "output_dropped_bytes",
                "Bytes of output that were dropped before any receiver had got them.",
                now.output_dropped + ended.output_dropped,
            ),
            ("input_bytes", "Bytes that were typed.", now.input + ended.input),
            ("attachments_made", "Attachments to sessions.", now.attached + ended.attached),
            (
                "attachments_dropped",
                "Attachments that were dropped for being too slow.",
                now.detached_for_slowness + ended.detached_for_slowness,
            ),
        ):
            # A session that ends in this moment may be missing, and a counter that falls has begun
            # anew for Prometheus.
            self._told[name] = max(count, self._told.get(name, 0))
            yield CounterMetricFamily(f"ptykill_{name}", about, value=self._told[name])


def watch(target: Watched, registry: CollectorRegistry = REGISTRY) -> SessionMetrics:
    """Put the metrics of a supervisor into a registry, counted from now on.

    A registry takes those of one supervisor. With a `Host` its thread is started. Raises ValueError
    if the registry has such metrics already.
    """
    if isinstance(target, aio.Supervisor | blocking.Supervisor):
        target = target.host
    return SessionMetrics(target.supervisor if isinstance(target, Host) else target, registry)


def page(registry: CollectorRegistry) -> tuple[str, bytes]:
    """Return the content type and the content of a registry's ``/metrics``."""
    return CONTENT_TYPE_LATEST, generate_latest(registry)


def page_of(target: Watched) -> Callable[[], tuple[str, bytes]]:
    """Watch a supervisor, and return a function that returns its own ``/metrics``, as `page`."""
    registry = CollectorRegistry()
    watch(target, registry)
    return partial(page, registry)


def _counted(figures: Figures) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "ptykill_sessions_spawned", "Sessions that were spawned.", value=figures.spawned
    )
    refused = CounterMetricFamily(
        "ptykill_spawns_refused", "Spawns that have failed, by error code.", labels=["code"]
    )
    for code, count in list(figures.refused.items()):
        refused.add_metric([code], count)
    yield refused
    ended = CounterMetricFamily(
        "ptykill_sessions_ended", "Sessions that are over.", labels=["outcome", "reason"]
    )
    for labels, count in list(figures.ended.items()):
        ended.add_metric(labels, count)
    yield ended
    yield CounterMetricFamily(
        "ptykill_keepers_lost",
        "Sessions whose keeper was killed before they had ended.",
        value=figures.keepers_lost,
    )


def _histogram(name: str, about: str, values: Histogram) -> Metric:
    bounds = [*map(str, values.bounds), "+Inf"]
    counts = list(zip(bounds, map(float, values.counts()), strict=True))
    return HistogramMetricFamily(f"{name}_seconds", about, buckets=counts, sum_value=values.sum)
