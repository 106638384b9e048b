"""The same bodies in every world; and what each world does at a cancellation or an interrupt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faces.bodies import BODIES
from tests.faces.worlds import WORLDS, Body, run_in

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_each_body_in_each_world(world: str, body: Body, tmp_path: Path) -> None:
    """The worlds differ in how one waits, and in nothing else."""
    run_in(world, body, tmp_path)


def test_the_faces_are_those_of_today_s_classes() -> None:
    """A method that is changed, or added, has to be written into the faces as well."""
    generate = ROOT / "tests/faces/generate.py"
    done = subprocess.run([sys.executable, generate, "--check"], check=False)
    assert done.returncode == 0, "run: python tests/faces/generate.py"
