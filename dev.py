"""The developers' commands: ``python3 dev.py COMMAND [ARGUMENT ...]``.

    demo      show what ptykill does, on this terminal
    unit      the tests, against the checkout; --quick: a minute's worth of them
    lint      ruff: the format, and its rules
    types     pyright's search for public names without a type, and mypy
    docs      the pages, into build/docs; a warning is an error
    bench     the benchmarks
    test      lint, types, docs, then the tests against the built wheel: all that CI runs
    wheel     the last of these alone
    versions  the same with every supported Python that is found on this machine
    release   build the sdist and the wheel, and try what is installed from each; run the programs
              of all pages in new environments

Arguments go to the last tool that a command runs: ``unit -k keeper``, ``lint --fix``.
All tests run side by side, since most of them wait; chosen ones run in turn, unless with ``-n``.
``test`` runs failed tests again, in turn, since side by side they make the machine busy. It shows
both results; a defect that shows rarely may pass the second time.
It needs only a Python with pip. The rest goes into ``.venv`` and ``.venv-wheel-3.*`` beside this
file; each is made anew when what ``pyproject.toml`` asks for, or the Python, has changed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
WHEEL_VENV = ROOT / f".venv-wheel-3.{sys.version_info.minor}"
WHEELS = ROOT / "build" / "wheels"

Stages = Mapping[str, Callable[..., None]]


def main(command: str = "help", *arguments: str) -> int:
    """Carry out one command and return the exit status."""
    # Imported modules are compiled once: pip does not do so, and tests start many interpreters.
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    if command in PROGRAMS:
        extra, *program = PROGRAMS[command]
        python = environment(VENV, extra, "--editable", f".[{extra}]")
        if program == PYTEST:
            arguments = chosen(arguments)
        os.chdir(ROOT)
        os.execv(python, [str(python), *program, *arguments])  # noqa: S606 - no shell is wanted
    if command in STAGES:
        stages = STAGES[command]
        if stages.keys() & {"install", "versions", "release"}:
            return run_all(stages, WHEEL_VENV, arguments)
        environment(VENV, "dev", "--editable", ".[dev]")
        return run_all(stages, VENV, arguments)
    if command == "stage":  # Of `run_captured`.
        STAGES["test"][arguments[0]](Path(arguments[1]))
        return 0
    print(__doc__)
    return 0 if command in {"help", "-h", "--help"} else 2


def chosen(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return pytest's arguments: all or the quick tests side by side, chosen ones in turn."""
    rest = [each for each in arguments if each != "--quick"]
    if len(rest) < len(arguments):
        return (*SIDE_BY_SIDE, *QUICK, *rest)
    options_only = all(each.startswith("-") for each in rest)
    return (*(SIDE_BY_SIDE if options_only else ()), *rest)


def run_all(stages: Stages, home: Path, arguments: Sequence[str]) -> int:
    """Run the stages with the environment at ``home``, the last one with the arguments.

    The installation comes first; then all others but the last run side by side.
    """
    *names, last = stages
    began, results = time.monotonic(), []
    if names[:1] == ["install"]:
        results.append(timed(names.pop(0), lambda: stages["install"](home)))
    with ThreadPoolExecutor() as pool:
        results += pool.map(functools.partial(run_captured, home), names)
    results.append(timed(last, lambda: stages[last](home, *arguments)))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("\n=== summary", *(line for line, _ in results), sep="\n")
    print(f"{'all':<12} {time.monotonic() - began:6.1f} s", end=", ")
    print(f"{used.ru_utime + used.ru_stime:.0f} s of processor time")
    return 0 if all(good for _, good in results) else 1


def run_captured(home: Path, name: str) -> tuple[str, bool]:
    """Run one stage in a process of its own, and show its output at its end."""

    def stage() -> None:
        command = [sys.executable, __file__, "stage", name, str(home)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(f"\n=== {name}\n{done.stdout}", end="", flush=True)
        done.check_returncode()

    return timed(name, stage)


def timed(name: str, stage: Callable[[], None]) -> tuple[str, bool]:
    """Run a stage; return a line with its time and result, and whether it succeeded."""
    began, outcome = time.monotonic(), "ok"
    try:
        stage()
    except subprocess.CalledProcessError as error:
        outcome = f"FAILED, exit status {error.returncode}"
    except OSError as error:  # An earlier stage has not made it.
        outcome = f"FAILED, {error}"
    return f"{name:<12} {time.monotonic() - began:6.1f} s  {outcome}", outcome == "ok"


def tool(*command: str) -> Callable[..., None]:
    """Return a stage that runs a module of an environment."""

    def stage(home: Path, *arguments: str) -> None:
        # pyright --verifytypes looks into the environment of the python on PATH, and no other.
        path = f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        run(home / "bin/python", "-m", *command, *arguments, PATH=path)

    return stage


def installed(extra: str) -> Callable[..., None]:
    """Return a stage that builds the wheel, and installs it with an extra."""

    def stage(home: Path) -> None:
        shutil.rmtree(WHEELS, ignore_errors=True)
        pip(None, "wheel", "--no-deps", "--wheel-dir", str(WHEELS), ".")
        (built,) = WHEELS.glob("*.whl")
        environment(home, extra, f"{built}[{extra}]")
        pip(home, "install", "--no-deps", "--force-reinstall", "--no-compile", str(built))

    return stage


def tests(home: Path, *arguments: str) -> None:
    """Test the wheel, where the checkout can't be imported."""
    python = home / "bin/python"
    # This keeps the working directory, the checkout, off sys.path, also in children of the tests.
    variables = {"PYTHONSAFEPATH": "1"}
    check = "import ptykill, sys; assert ptykill.__file__.startswith(sys.prefix), ptykill.__file__"
    run(python, "-c", check, **variables)
    try:
        run(python, "-m", "pytest", *chosen(arguments), **variables)
    except subprocess.CalledProcessError as error:
        if error.returncode != TESTS_FAILED or SIDE_BY_SIDE[0] not in chosen(arguments):
            raise
        # Beside each other, tests make the machine busier than any host should be. One that fails
        # then has to pass alone; both results are shown.
        print("\nTests have failed side by side. They run again, in turn.", flush=True)
        run(python, "-m", "pytest", "--last-failed", *arguments, **variables)


def versions(_: Path, *arguments: str) -> None:
    """Test the wheel with every Python that is found; fail when one has failed."""
    outcomes = {
        python: subprocess.run([python, __file__, "wheel", *arguments], check=False).returncode
        for python in pythons()
    }
    print(*(f"{'FAILED' if each else 'ok':<7} {name}" for name, each in outcomes.items()), sep="\n")
    if any(outcomes.values()):
        raise subprocess.CalledProcessError(1, "wheel")


def release(_: Path, *__: str) -> None:
    """Build the sdist, and a wheel from it and from the checkout; try both in new environments."""
    home, built = ROOT / "build/release", ROOT / "build/dist"
    for each in home, built:
        shutil.rmtree(each, ignore_errors=True)
    tools = environment(home / "tools", "tools", "hatchling")
    run(tools, "-m", "hatchling", "build", "-t", "sdist", "-d", str(built))
    (sdist,) = built.glob("*.tar.gz")
    contents = []
    for name, source in {"checkout": ".", "sdist": str(sdist)}.items():
        pip(None, "wheel", "--no-deps", "--wheel-dir", str(built / name), source)
        (wheel,) = (built / name).glob("*.whl")
        contents.append({each.filename: each.CRC for each in zipfile.ZipFile(wheel).infolist()})
        for extra in "", "[server]":
            python = environment(home / f"{name}{extra}", extra, f"{wheel}{extra}")
            run(python, "-I", "-c", TRIED)
            if extra:
                run(python, "-I", "-m", "ptykill", "run", "--", "true")
    if contents[0] != contents[1]:
        print("the wheels differ:", sorted(set(contents[0].items()) ^ set(contents[1].items())))
        raise subprocess.CalledProcessError(1, "release")
    (wheel,) = (built / "sdist").glob("*.whl")
    run(sys.executable, "-m", "tests.docs.new_environments", str(wheel))
    print(f"{sdist}\n{wheel}")


def pythons() -> list[str]:
    """Return a program for each supported version: this one, one of pyenv's, or one on PATH."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minors = [each.removeprefix(PYTHON_3) for each in project["classifiers"] if PYTHON_3 in each]
    homes = sorted(Path.home().glob(".pyenv/versions/*/bin"))
    path = os.pathsep.join([*map(str, homes), os.environ.get("PATH", os.defpath)])
    found = {each: shutil.which(f"python3.{each}", path=path) for each in minors}
    found[str(sys.version_info.minor)] = sys.executable
    return [each for each in found.values() if each]


def environment(home: Path, extra: str, *requirement: str) -> Path:
    """Return the Python of an environment that has the requirement; make it if necessary."""
    python, stamp = home / "bin/python", home / "stamp"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    digest = hashlib.sha256(repr((project, sys.version, ROOT)).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() in {f"{extra} {digest}", f"dev {digest}"}:
        return python
    # Without pip: a bare Debian has no ensurepip to put it there.
    run(python_with_pip(), "-m", "venv", "--clear", "--without-pip", home)
    # To compile all takes half a minute, and most of it is never imported.
    pip(home, "install", "--no-compile", *requirement)
    stamp.write_text(f"{extra} {digest}")
    return python


def pip(home: Path | None, *arguments: str) -> None:
    """Run this Python's pip for an environment, which has none of its own."""
    at = () if home is None else ("--python", home / "bin/python")
    run(python_with_pip(), "-m", "pip", "--quiet", "--disable-pip-version-check", *at, *arguments)


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


TRIED = "import ptykill; ptykill.blocking.run(['sh', '-c', 'sleep 60 &'], check=True)"
PYTHON_3 = "Programming Language :: Python :: 3."
PYTEST = ["-m", "pytest"]
TESTS_FAILED = 1  # pytest's exit status; others mean that it could not run them
SIDE_BY_SIDE = ("-n", "auto", "--dist", "worksteal")
QUICK = ("tests/pure", "tests/driver", "tests/test_house.py", "tests/http/test_api.py")
PROGRAMS = {
    "demo": ("demo", "-m", "ptykill", "demo"),
    "unit": ("dev", *PYTEST),
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
    # One environment for all: to install two of them takes a minute more.
    "test": {"install": installed("dev"), **LINT, **TYPES, **DOCS, "tests": tests},
    "wheel": {"install": installed("test"), "tests": tests},
    "versions": {"versions": versions},
    "release": {"release": release},
}

if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
