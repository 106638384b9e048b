"""The command line: ``python -m benchmarks [--quick] [--case ...] [--rounds N] [--json FILE]``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from functools import partial
from pathlib import Path

from benchmarks.cases import CASES, Case, Limits
from benchmarks.guard import guarded
from benchmarks.report import JSON, machine, show

SECONDS_A_ROUND = 3.0
"""What a round of any case may take where a number of rounds was asked for."""
SECONDS_A_CYCLE = 0.05
OVERHEAD = 60.0
"""Seconds for all that is not a round: starting, compiling, filling memory."""


def main() -> int:
    """Run the cases that were asked for; 1 if something is wrong with what they saw."""
    if sys.platform != "linux":
        print("The benchmarks need Linux: pidfds, /proc, subreapers.", file=sys.stderr)
        return 2
    options = parsed()
    chosen = {name: limits(name, CASES[name], options) for name in options.case or CASES}
    longest = OVERHEAD + 2 * sum(each.seconds for each in chosen.values())
    return guarded(partial(run, chosen, options.json), longest)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    about = [f"  {name:<10} {case.about}" for name, case in CASES.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What ending a session costs here, elsewhere, and at the kernel's floor.",
        epilog="\n".join(("cases:", *about)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    parser.add_argument(
        "--case", action="append", choices=CASES, help="only this one (may be repeated)"
    )
    parser.add_argument("--rounds", type=positive, help="rounds of every case but cycles")
    parser.add_argument("--cycles", type=positive, help="sessions that cycles spawns and ends")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a number that is at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def limits(name: str, case: Case, options: argparse.Namespace) -> Limits:
    """Return a case's limits; a number that was asked for is given the time it needs."""
    found = case.quick if options.quick else case.full
    asked, each = (
        (options.cycles, SECONDS_A_CYCLE) if name == "cycles" else (options.rounds, SECONDS_A_ROUND)
    )
    if asked is None:
        return found
    return dataclasses.replace(found, rounds=asked, seconds=max(found.seconds, asked * each))


def run(chosen: dict[str, Limits], file: Path | None) -> int:
    """Run cases one after another, show each, and write them all."""
    about = machine()
    results: dict[str, JSON] = {}
    problems: list[str] = []
    print(f"{about['kernel']}, {about['cpus usable']} CPUs, {about['python']}, load", end=" ")
    print(*(f"{load:.1f}" for load in os.getloadavg()))
    for name, bounds in chosen.items():
        print(f"... {name}: {CASES[name].about}", file=sys.stderr, flush=True)
        result = CASES[name].run(bounds)
        show(result.table())
        results[name] = result.data()
        problems += result.problems
        if file is not None:  # After each: what has been measured is kept, whatever comes.
            document = {"machine": about, "cases": results}
            file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
