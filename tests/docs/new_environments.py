"""Runs the programs of every page in a new environment that has only what the page installs.

    python -m tests.docs.new_environments WHEEL [PAGE ...]

A page installs what its lines ``pip install …`` say; a page without such a line, ptykill alone.
Pages that install the same share an environment. ``dev.py release`` runs this.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from tests.docs.pages import PAGES, Block, blocks, matches

_INSTALLED = re.compile(r"pip install (?!-)([^\n`)#]+)")
_TIMEOUT = 200.0


def requirements(page: Path) -> frozenset[str]:
    """Return what the reader of a page installs."""
    found = _INSTALLED.findall(page.read_text(encoding="utf-8"))
    return frozenset(each.strip("'\"") for line in found for each in line.split()) or frozenset(
        {"ptykill"}
    )


def environment(wanted: frozenset[str], wheel: str, folder: Path) -> Path:
    """Make an environment; ptykill comes from the wheel."""
    python = folder / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    names = [re.sub(r"^ptykill(?=\[|$)", wheel, each) for each in sorted(wanted)]
    install = [str(python), "-m", "pip", "-q", "--disable-pip-version-check", "install", *names]
    subprocess.run(install, check=True)
    return python


def failure(program: Block, output: Block | None, python: Path, folder: Path) -> str | None:
    """Run a program of a page; return what was wrong."""
    file = folder / "test_example.py"
    file.write_text(program.text)
    tests = re.search(r"^(async )?def test_", program.text, re.MULTILINE)
    how = ["-m", "pytest", "-q"] if tests else []
    sudo = folder / "sudo"  # A stand-in: it may do everything, like the real one.
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n')
    sudo.chmod(0o755)
    path = f"{folder}{os.pathsep}{python.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [python, *how, file],
        env=os.environ | {"PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT,
    )
    if done.returncode:
        return done.stdout + done.stderr
    if output is not None and not matches(output.text, done.stdout):
        return f"it printed:\n{done.stdout}"
    return None


def main(wheel: str, *chosen: str) -> int:
    """Run all; return 1 if a program failed."""
    groups: dict[frozenset[str], list[Path]] = defaultdict(list)
    for page in PAGES:
        has_programs = any(each.kind == "python" for each in blocks(page))
        if has_programs and (not chosen or page.stem in chosen):
            groups[requirements(page)].append(page)
    wrong = 0
    for wanted, pages in groups.items():
        with tempfile.TemporaryDirectory() as home:
            python = environment(wanted, wheel, Path(home, "environment"))
            for page in pages:
                for program, after in pairwise([*blocks(page), Block("", 0, "", "")]):
                    if program.kind != "python":
                        continue
                    output = after if after.kind == "output" else None
                    said = failure(program, output, python, Path(home))
                    wrong += said is not None
                    state = "ok" if said is None else f"FAILED\n{said}"
                    print(f"{program} with {' '.join(sorted(wanted))}: {state}", flush=True)  # noqa: T201
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
