"""The judge passes killers that end every process, and detects wrong claims."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ptykill.testing import processes
from ptykill.testing.adversaries import ADVERSARIES, find
from ptykill.testing.judge import judge
from ptykill.testing.killers import KILLERS, Ptykill


class Liar(Ptykill):
    """Does nothing, and claims success."""

    def end(self, grace: float) -> bool:
        """Claim."""
        del grace
        return True


class Honest(Liar):
    """Does nothing, and claims no success."""

    def end(self, grace: float) -> bool:
        """Claim nothing."""
        del grace
        return False


class Hasty(Ptykill):
    """Kills without a grace."""

    def end(self, grace: float) -> bool:
        """Kill at once."""
        del grace
        return super().end(0.0)


class Broken(Ptykill):
    """Fails."""

    def end(self, grace: float) -> bool:
        """Raise."""
        raise ValueError(grace)


@pytest.mark.parametrize(
    ("killer", "program", "result"),
    [
        ("ptykill", "cleans up in half the grace", "passed"),
        ("ptykill-keeper", "daemon", "passed"),
        ("ptykill-session", "daemon", "left some"),
        ("killpg", "daemon", "lied"),
        ("psutil", "daemon", "lied"),
        ("ptyprocess", "deaf member of a polite leader", "lied"),
        ("Liar", "polite", "lied"),
        ("Honest", "polite", "left some"),
        ("Hasty", "cleans up in half the grace", "cut short"),
        ("Broken", "polite", "broke"),
    ],
)
def test_judgements(killer: str, program: str, result: str) -> None:
    """Each killer is judged by the processes that live, whatever it claims."""
    name = killer if killer in KILLERS else f"{__file__}:{killer}"
    judgement = judge(name, find(program))
    assert (judgement.result, bool(judgement.survivors)) == (
        result,
        result in ("lied", "left some", "broke"),
    )


def test_the_command() -> None:
    """It prints a line for each judgement; the exit status says whether all passed."""
    command = [sys.executable, "-m", "ptykill.testing.judge", "--json", "--only", "polite"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    judgements = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["program"] for each in judgements] == [
        each.name for each in ADVERSARIES if "polite" in each.name
    ]
    assert {each["result"] for each in judgements} == {"passed"}
    assert done.returncode == 0


def test_every_adversary_is_told_apart() -> None:
    """Names are unique, and each program says in one line what it does."""
    names = [each.name for each in ADVERSARIES]
    assert len(set(names)) == len(names) >= 60
    assert all(each.about and "\n" not in each.about for each in ADVERSARIES)


def test_the_checker_sees_who_wipes_its_environment(mark: str) -> None:
    """A process that has the mark only as an argument is found."""
    command = ["env", "-i", sys.executable, "-ISc", "import time; time.sleep(30)", mark]
    with subprocess.Popen(command) as process:
        assert [each.pid for each in processes.marked(mark)] == [process.pid]
        processes.end(process.pid)
