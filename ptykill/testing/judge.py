"""Judge killers of terminal sessions by programs that are hard to end.

::

    python -m ptykill.testing.judge                        # ptykill, with what auto takes
    python -m ptykill.testing.judge ptyprocess psutil      # others, by name
    python -m ptykill.testing.judge mine.py:Killer --only x  # yours, with some of the programs

Each killer runs in a process of its own for each program. When it claims that the session is over,
the judge looks for living processes that carry the program's mark. A killer passes if there is
none, if a clean-up within the grace was finished, if it returned in time, and if it left an
unrelated process alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ptykill.testing import processes
from ptykill.testing.adversaries import ADVERSARIES, Program
from ptykill.testing.killers import KILLERS, find_killer

__all__ = ["Judgement", "judge", "main"]

_TIMEOUT = 30.0
"""Seconds that a program may take to be ready."""
_BOUND = 15.0
"""Seconds that a killer may take beyond the grace before it counts as hung."""

PASSED, LEFT, LIED, HUNG, CUT, BROKE = "passed", "left some", "lied", "hung", "cut short", "broke"


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """The result of a killer with a program.

    ``result`` is one of: ``passed``; ``left some``: processes live, and it did not claim otherwise;
    ``lied``: it claimed that the session is over while ``survivors`` lived; ``hung``: it did not
    return in time; ``cut short``: the session is over, but a clean-up within the grace was not
    finished; ``broke``: it raised, or harmed an unrelated process. ``seconds`` is how long it took.
    """

    killer: str
    program: str
    result: str
    survivors: tuple[str, ...] = ()
    seconds: float = 0.0
    said: str = ""


def judge(killer: str, program: Program) -> Judgement:
    """Run a program, have a killer end it, and judge the result."""
    mark = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="ptykill-judge-") as name:
        try:
            return _judge(killer, program, Path(name), mark)
        finally:
            processes.kill_marked(mark)


def _judge(killer: str, program: Program, folder: Path, mark: str) -> Judgement:
    with _bystander() as unharmed, _Worker(killer) as worker:
        worker.ask("spawn", program.command(folder, mark), str(folder), mark, _TIMEOUT)
        if program.typed:
            worker.ask("type_in", f"{program.typed}\n: > ready\n", _TIMEOUT)
        until = time.monotonic() + _TIMEOUT
        while not (folder / "ready").exists() or (program.stops and not _stopped(mark)):
            if time.monotonic() > until:
                return Judgement(killer, program.name, BROKE, said="the program was never ready")
            time.sleep(0.005)
        began = time.monotonic()
        try:
            claim, said = worker.ask("end", program.grace, program.grace + _BOUND), ""
        except TimeoutError:
            claim, said = None, "no answer"
        except RuntimeError as error:
            claim, said = False, str(error)
        took = time.monotonic() - began
        survivors = tuple(processes.names(processes.marked(mark)))
        if claim is None:
            result = HUNG
        elif said or not unharmed():
            result = BROKE
        elif survivors:
            result = LIED if claim else LEFT
        elif program.cleans_up and not (folder / "cleaned").exists():
            result = CUT
        else:
            result = PASSED
        return Judgement(killer, program.name, result, survivors, took, said)


def _stopped(mark: str) -> bool:
    return any(each.state == "T" for each in processes.marked(mark))


@contextmanager
def _bystander() -> Iterator[Any]:
    """Run an unrelated process, which no killer may signal; yield whether it lives."""
    with subprocess.Popen(["/bin/sleep", "120"], start_new_session=True) as process:
        try:
            yield lambda: process.poll() is None
        finally:
            process.kill()


# --- the killer's own process ---------------------------------------------------------------------


class _Worker:
    """A process that holds one killer, and calls its methods on request."""

    def __init__(self, killer: str) -> None:
        command = [sys.executable, "-m", "ptykill.testing.judge", "--killer", killer]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def ask(self, verb: str, *about: object) -> Any:  # noqa: ANN401 - what the killer returned
        """Call a method; the last argument is its time-out in seconds.

        Raises RuntimeError with the method's error, or TimeoutError.
        """
        *arguments, within = about
        assert isinstance(within, int | float)
        self._stdin.write(json.dumps([verb, *arguments]).encode() + b"\n")
        until = time.monotonic() + within
        answer = b""
        while not answer.endswith(b"\n"):
            left = max(0.0, until - time.monotonic())
            if not select.select([self._stdout], [], [], left)[0]:
                raise TimeoutError(verb)
            data = os.read(self._stdout.fileno(), 65_536)
            if not data:
                raise RuntimeError(f"it died at {verb}")
            answer += data
        value, error = json.loads(answer)
        if error:
            raise RuntimeError(error)
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stdin.close()
        try:
            self._process.wait(_BOUND)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()


def _work(killer: str) -> None:
    """Answer requests from standard input, as that process, until its end."""
    adapter = find_killer(killer)()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # The killer's own prints are no answers.
    for line in sys.stdin:
        verb, *about = json.loads(line)
        value: object = None
        error = ""
        try:
            match verb:
                case "spawn":
                    command, folder, mark = about
                    env = os.environ | _environment(mark)
                    adapter.spawn(command, env, folder)
                case "type_in":
                    adapter.type_in(about[0].encode())
                case "end":
                    value = adapter.end(about[0])
        except Exception as failure:  # noqa: BLE001 - it is the answer
            error = f"{type(failure).__name__}: {failure}"
        answers.write(json.dumps([value, error]) + "\n")
        answers.flush()
    adapter.close()


def _environment(mark: str) -> dict[str, str]:
    return {
        "PTYKILL_JUDGE_MARK": mark,
        "HISTFILE": "",
        "LC_ALL": "C",
        "PS1": "$ ",
        "TMOUT": "60",
    }


# --- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, and print a table; return 1 if a killer did not pass with a program."""
    parser = argparse.ArgumentParser(
        prog="python -m ptykill.testing.judge",
        description="Run killers of terminal sessions against programs that are hard to end.",
        epilog=f"killers: {', '.join(KILLERS)}, or your own as module:Class or file.py:Class",
    )
    parser.add_argument("killers", nargs="*", default=["ptykill"])
    parser.add_argument("--only", default="", help="only programs whose name contains this")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each result")
    parser.add_argument("--killer", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.killer:
        _work(options.killer)
        return 0
    chosen = [each for each in ADVERSARIES if options.only in each.name and not each.missing]
    found = []
    for program in chosen:
        for killer in options.killers:
            judgement = judge(killer, program)
            found.append(judgement)
            _say(json.dumps(dataclasses.asdict(judgement)) if options.json else _row(judgement))
    if not options.json:
        _total(found, options.killers)
    return 1 if any(each.result != PASSED for each in found) else 0


def _row(judgement: Judgement) -> str:
    detail = judgement.said or "; ".join(judgement.survivors)
    return (
        f"{judgement.killer:<16} {judgement.program:<42} {judgement.result:<10}"
        f" {judgement.seconds:6.2f} s  {detail[:100]}"
    ).rstrip()


def _total(found: Iterable[Judgement], killers: Iterable[str]) -> None:
    _say("")
    for killer in killers:
        counted = Counter(each.result for each in found if each.killer == killer)
        parts = [f"{number} {result}" for result, number in counted.most_common()]
        _say(f"{killer:<16} {', '.join(parts)}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
