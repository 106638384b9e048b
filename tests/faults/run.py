"""Run trials by hand: ``python -m tests.faults.run [--all] [WORD ...]``.

Without ``--all`` it runs those of the test suite; with it, every call of the table, in every phase,
with every error, up to the third of its kind. Words choose: those rows whose names have all of
them. Prints what is wrong.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.faults.table import CALLS, ERRORS, PHASES, SHORT, TIERS
from tests.faults.trial import Fault, Result, run, unavailable

_AT_ONCE = 4
_MOST = 3


def every() -> Iterator[Fault]:
    """Yield all faults of the table, each for the first call of its kind."""
    for tier, (process, calls) in itertools.product(TIERS, CALLS.items()):
        if tier == "session" and process != "host":
            continue
        for phase, call in itertools.product(PHASES[process], calls):
            for error in ERRORS[call]:
                yield Fault(tier, process, phase, call, error)


def main(*words: str) -> int:
    """Run the chosen trials; return how many went wrong, as an exit status."""
    reason = unavailable()
    if reason is not None:
        _say(reason)
        return 2
    rows = every() if "--all" in words else iter(SHORT)
    wanted = [word for word in words if not word.startswith("--")]
    faults = [each for each in rows if all(word in str(each) for word in wanted)]
    most = _MOST if "--all" in words else 1
    trials = missed = wrong = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in pool.map(functools.partial(_one_by_one, most=most), faults):
            for fault, result in done:
                trials += 1
                missed += not result.hit
                wrong += bool(result.wrong)
                _show(fault, result, everything="--lines" in words)
    _say(f"{trials} trials, {missed} without the call, {wrong} wrong")
    return wrong > 0


def _one_by_one(fault: Fault, most: int) -> list[tuple[Fault, Result]]:
    """Have the first such call fail, in another trial the second, until there is no such call."""
    done: list[tuple[Fault, Result]] = []
    while len(done) < most and (not done or done[-1][1].hit):
        each = fault if not done else fault._replace(when=str(len(done) + 1))
        done.append((each, run(each)))
    return done


def _show(fault: Fault, result: Result, *, everything: bool) -> None:
    _say(f"{'WRONG' if result.wrong else 'ok' if result.hit else '-'} {fault}")
    for line in result.wrong:
        _say(f"      {line}")
    if everything:
        for each in result.lines:
            _say(f"      | {each}")


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
