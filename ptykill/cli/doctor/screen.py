"""Print what the doctor has found, as tables or as JSON."""

from __future__ import annotations

import dataclasses
import json

import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ptykill.cli.doctor.examine import Finding, Trial, examine, taken_by_auto, try_tier
from ptykill.system.containment import STRONGEST_FIRST

__all__ = ["show"]


def show(*, as_json: bool) -> str:
    """Examine, try, and print; return the containment that ``auto`` takes, "" if it fails."""
    findings = list(examine())
    trials = [trio.run(try_tier, name) for name in STRONGEST_FIRST]
    taken = trio.run(taken_by_auto)
    works = any(trial.tier == taken and trial.ended for trial in trials)
    if as_json:
        found = {
            "auto": taken,
            "findings": [dataclasses.asdict(finding) for finding in findings],
            "containments": [dataclasses.asdict(trial) for trial in trials],
        }
        Console().print_json(json.dumps(found))
    else:
        _print(findings, trials, taken)
    return taken if works else ""


def _print(findings: list[Finding], trials: list[Trial], taken: str) -> None:
    console = Console()
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        amiss = Text(finding.amiss, "yellow")
        facts.add_row(Text(finding.what, "bold"), finding.seen, amiss)
    console.print(facts)
    console.print()
    tiers = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in "containment", "", "opened in", "spawned in", "ended in", "an escaped daemon":
        tiers.add_column(head, justify="right" if " in" in head else "left")
    for trial in trials:
        name = Text(trial.tier, "bold green" if trial.tier == taken else "bold")
        if trial.lacking:
            tiers.add_row(name, Text("✗", "red"), "", "", "", Text(trial.lacking, "yellow"))
            continue
        times = [f"{1000 * seconds:.1f} ms" for seconds in (trial.open, trial.spawn, trial.end)]
        fate = (
            ("ended with its session" if trial.holds else "is not found")
            if trial.ended
            else "was not ended"
        )
        mark = Text("✓", "green") if trial.ended else Text("✗", "red")
        tiers.add_row(name, mark, *times, fate)
    console.print(tiers)
    console.print()
    console.print(
        Text.assemble("auto takes ", (taken or "nothing: no session can be contained", "bold"))
    )
