"""The developers' one door: ``python3 dev.py COMMAND [ARGUMENT ...]``.

    demo    show what ptykill does, on this terminal
    unit    the tests, against the checkout
    lint    ruff: the format, and its rules
    types   pyright's search for public names without a type, and mypy
    docs    the pages, into build/docs; a warning is an error
    bench   the benchmarks
    test    lint, types, docs, then the tests against the built wheel: all that CI runs

Arguments go to the last tool that a command runs: ``unit -k keeper``, ``lint --fix``.
All it needs is a Python with pip. The rest goes into ``.venv`` and ``.venv-wheel`` beside this
file; both are made anew when what ``pyproject.toml`` asks for, or the Python, has changed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
WHEEL_VENV = ROOT / ".venv-wheel"
WHEELS = ROOT / "build" / "wheels"

Stages = Mapping[str, Callable[..., None]]


def main(command: str = "help", *arguments: str) -> int:
    """Carry out one command and return the exit status."""
    if command in PROGRAMS:
        extra, *program = PROGRAMS[command]
        python = environment(VENV, extra, "--editable", f".[{extra}]")
        os.chdir(ROOT)
        os.execv(python, [str(python), *program, *arguments])  # noqa: S606 - no shell is wanted
    if command in STAGES:
        environment(VENV, "dev", "--editable", ".[dev]")
        return run_all(STAGES[command], arguments)
    print(__doc__)
    return 0 if command in {"help", "-h", "--help"} else 2


def run_all(stages: Stages, arguments: Sequence[str]) -> int:
    """Run every stage, whatever becomes of the others; the last one gets the arguments."""
    summary, failures, last = [], 0, [*stages][-1]
    for name, stage in stages.items():
        print(f"\n=== {name}", flush=True)
        began, outcome = time.monotonic(), "ok"
        try:
            stage(*(arguments if name == last else ()))
        except subprocess.CalledProcessError as error:
            outcome, failures = f"FAILED, exit status {error.returncode}", failures + 1
        summary.append(f"{name:<12} {time.monotonic() - began:6.1f} s  {outcome}")
    print("\n=== summary", *summary, sep="\n")
    return 1 if failures else 0


def tool(*command: str) -> Callable[..., None]:
    """Return a stage that runs a module of the developers' environment."""
    # pyright --verifytypes looks into the environment of the python on PATH, and no other.
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    def stage(*arguments: str) -> None:
        run(VENV / "bin/python", "-m", *command, *arguments, PATH=path)

    return stage


def test_wheel(*arguments: str) -> None:
    """Build the wheel, install it where the checkout can't be imported, and test it there."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    pip(VENV, "wheel", "--no-deps", "--wheel-dir", str(WHEELS), ".")
    (wheel,) = WHEELS.glob("*.whl")
    python = environment(WHEEL_VENV, "test", f"{wheel}[test]")
    pip(WHEEL_VENV, "install", "--no-deps", "--force-reinstall", str(wheel))
    # It keeps the working directory, the checkout, off sys.path: in children of the tests too.
    check = "import ptykill, sys; assert ptykill.__file__.startswith(sys.prefix), ptykill.__file__"
    run(python, "-c", check, PYTHONSAFEPATH="1")
    run(python, "-m", "pytest", *arguments, PYTHONSAFEPATH="1")


def environment(home: Path, extra: str, *requirement: str) -> Path:
    """Return the Python of an environment that has the requirement, made anew if need be."""
    python, stamp = home / "bin/python", home / "stamp"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    digest = hashlib.sha256(repr((project, sys.version, ROOT)).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() in {f"{extra} {digest}", f"dev {digest}"}:
        return python
    # Without pip: a bare Debian has no ensurepip to put it there.
    run(python_with_pip(), "-m", "venv", "--clear", "--without-pip", home)
    pip(home, "install", *requirement)
    stamp.write_text(f"{extra} {digest}")
    return python


def pip(home: Path, *arguments: str) -> None:
    """Run this Python's pip upon an environment that has none."""
    options = ("--quiet", "--disable-pip-version-check", "--python", home / "bin/python")
    run(python_with_pip(), "-m", "pip", *options, *arguments)


@functools.cache
def python_with_pip() -> str:
    """Return a Python whose pip knows ``--python``: this one, or that below its environment."""
    base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    for python in sys.executable, str(base):
        command = [python, "-m", "pip", "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.match(r"pip (\d+)\.(\d+)", answer.stdout)
        if found and (int(found[1]), int(found[2])) >= (22, 3):
            return python
    sys.exit(
        f"dev.py needs pip 22.3 or newer for {sys.executable}. Debian and Ubuntu have it as"
        " python3-pip; elsewhere: python3 -m ensurepip --upgrade"
    )


def run(*command: str | Path, **variables: str) -> None:
    """Show a command, run it at the top of the checkout, and raise if it fails."""
    print("+", shlex.join(map(str, command)), flush=True)
    subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=True)


PROGRAMS = {
    "demo": ("demo", "-m", "ptykill", "demo"),
    "unit": ("dev", "-m", "pytest"),
    "bench": ("bench", "-m", "benchmarks"),
}
LINT: Stages = {
    "ruff format": tool("ruff", "format", "--check"),
    "ruff check": tool("ruff", "check"),
}
TYPES: Stages = {
    "pyright": tool("pyright", "--verifytypes", "ptykill", "--ignoreexternal"),
    "mypy": tool("mypy"),
}
# -E reads every page again: a page that has not changed would keep its warnings to itself.
DOCS: Stages = {
    "docs": tool("sphinx", "-EW", "--keep-going", "-q", "-b", "html", "docs", "build/docs"),
}
STAGES = {
    "lint": LINT,
    "types": TYPES,
    "docs": DOCS,
    "test": {**LINT, **TYPES, **DOCS, "tests": test_wheel},
}

if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
