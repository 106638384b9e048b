"""The command line: ``python -m benchmarks [--quick] [--case ...] [--json FILE] ...``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Case
from benchmarks.hosts import OTHER, Limits
from benchmarks.machine import describe, first_line, machine
from benchmarks.page import write
from benchmarks.plots import plot
from benchmarks.report import JSON
from benchmarks.subreaper import run_in_child
from benchmarks.tables import show

SECONDS_A_ROUND = 20.0
"""The time for a round of any case, if ``--rounds`` was given."""
SECONDS_A_SESSION = 0.05
OVERHEAD = 60.0
"""Seconds for what is not a round: starting, compiling, filling memory."""


def main() -> int:
    """Run the chosen cases; return 1 if one of them has found a problem."""
    if sys.platform != "linux":
        print("The benchmarks need Linux: pidfds, /proc, subreapers.", file=sys.stderr)
        return 2
    options = parsed()
    if options.again is not None:
        publish(json.loads(options.again.read_text()), options.plots, options.page)
        return 0
    if options.other:
        print(f"{OTHER}: {other_ptykill(options.other)}", file=sys.stderr)
    chosen = {
        name: found
        for name in options.case or CASES
        if (found := limits(name, CASES[name], options)) is not None
    }
    longest = OVERHEAD * len(chosen) + 6 * sum(each.seconds for each in chosen.values())
    raise_file_limit()
    return run_in_child(partial(run, chosen, options), longest)


def other_ptykill(python: str) -> str:
    """Return where the ptykill of another interpreter is, and its version; exit if it has none."""
    # -P: of the working directory, which may be a checkout, it can import nothing.
    told = first_line(python, "-Pc", "import ptykill as it; print(it.__file__, it.__version__)")
    return told or sys.exit(f"{python} has no ptykill")


def raise_file_limit() -> None:
    """Raise the limit of descriptors to the hard limit; child processes inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    about = [f"  {name:<14} {case.about}" for name, case in CASES.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what ending a session costs: ptykill, other libraries, and bare C.",
        epilog="\n".join(("cases:", *about)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under two minutes")
    parser.add_argument(
        "--case", action="append", choices=CASES, help="only this one (may be repeated)"
    )
    parser.add_argument("--rounds", type=positive, help="rounds of every case but leaks")
    parser.add_argument("--sessions", type=positive, help="sessions that leaks spawns and ends")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw plots there (matplotlib)")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the tables into this page, at its marks"
    )
    parser.add_argument(
        "--other",
        default="",
        metavar="PYTHON",
        help="measure that interpreter's ptykill as well, in turns: churn, burst, requests",
    )
    parser.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="measure nothing: publish the figures of this file, which --json has written",
    )
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a number that is at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def limits(name: str, case: Case, options: argparse.Namespace) -> Limits | None:
    """Return a case's limits; if a number was given, with the time that it needs."""
    found = case.full if not options.quick else case.quick or (case.full if options.case else None)
    asked, each = (
        (options.sessions, SECONDS_A_SESSION)
        if name == "leaks"
        else (options.rounds, SECONDS_A_ROUND)
    )
    if found is not None:
        found = dataclasses.replace(found, other=options.other)
    if found is None or asked is None:
        return found
    return dataclasses.replace(found, rounds=asked, seconds=max(found.seconds, asked * each))


def run(chosen: dict[str, Limits], options: argparse.Namespace) -> int:
    """Run cases one after another, print each, write all, and publish them."""
    about = machine()
    document: dict[str, JSON] = {"machine": about, "command": sys.argv[1:]}
    results: dict[str, JSON] = {}
    problems: list[str] = []
    print(describe(about), flush=True)
    for name, bounds in chosen.items():
        print(f"... {name}: {CASES[name].about}", file=sys.stderr, flush=True)
        before, began = os.getloadavg()[0], time.monotonic()
        result = CASES[name].run(bounds)
        table = result.table()
        show(table)
        took = round(time.monotonic() - began, 1)
        print(f"    {took} s, load before {before:.1f}", file=sys.stderr)
        results[name] = {
            "load": before,
            "seconds": took,
            "table": dataclasses.asdict(table),
            "result": result.data(),
        }
        problems += result.problems
        document["cases"] = results
        if options.json is not None:  # After each case, so that an interruption loses only one.
            options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    publish(document, options.plots, options.page)
    return 1 if problems else 0


def publish(document: Mapping[str, Any], plots: Path | None, page: Path | None) -> None:
    """Draw the plots, and write the tables into a page, if these were given."""
    if plots is not None:
        plot(document, plots)
    if page is not None:
        write(document, page)


if __name__ == "__main__":
    sys.exit(main())
