"""Runs the test suites of ptyprocess and pexpect on the classes of ptykill.

    python tests/integrations/peers_ptyprocess.py           on ptykill
    python tests/integrations/peers_ptyprocess.py --theirs  on their own classes, to compare

Their sources come from pip, into a temporary directory. It prints how many tests passed, failed,
were skipped by the suite itself, and are not applicable. Tests that have failed are run once more
on their own classes: if they fail there too, that has another cause, such as a program that this
machine does not have. Exits with 1 if another test failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

TOP: Final = Path(__file__).parents[2]
SOURCES: Final = ("ptyprocess==0.7.0", "pexpect==4.9.0")
SECONDS: Final = 120
"""Time-out of one test: the longest of pexpect's take some ten seconds."""

_NO_PREEXEC: Final = "preexec_fn is refused: no code of the host runs in the child"
NOT_APPLICABLE: Final[dict[str, str]] = {
    "test_preexec_fn.py::PreexecFns::test_preexec": _NO_PREEXEC,
    "test_preexec_fn.py::PreexecFns::test_preexec_error": _NO_PREEXEC,
    "test_spawn.py::PtyTestCase::test_pass_fds": (
        "pass_fds is refused: the child gets its terminal alone"
    ),
    "test_misc.py::TestCaseMisc::test_bad_child_pid": (
        "it sets `terminated` of a dead process back, and expects the error of a waitpid(2) that"
        " finds no child; ptykill keeps the status, and has no such error"
    ),
}
"""Tests of what ptykill does not do, and the reasons."""

THEIR_PTYPROCESS: Final = """
    from ptykill.integrations.ptyprocess import PtyProcess, PtyProcessError, PtyProcessUnicode
"""
INSIDE_PTYPROCESS: Final = """
    from shutil import which
    from ptykill.integrations.ptyprocess import *
    _is_solaris = False
    use_native_pty_fork = True
"""
SITE: Final = """
    import sys
    if not sys.flags.no_site:
        import pexpect
        from ptykill.integrations.pexpect import spawn
        # `run`, pxssh and replwrap use it by these names.
        pexpect.spawn = sys.modules["pexpect.run"].spawn = spawn
        pexpect.spawnu = lambda *args, **options: spawn(*args, **{"encoding": "utf-8", **options})
"""


def main(*arguments: str) -> int:
    """Run both suites; return the exit status."""
    theirs = "--theirs" in arguments
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sources = fetch(place)
        for source in sources:
            own = [*reversed(sources)]
            path = own if theirs else [stand_in(place, source.name), *own]
            results = run(source, path)
            again = {name for name, result in results.items() if verdict_of(name, result) == FAILED}
            if again and not theirs:
                for name, result in run(source, own, *again).items():
                    if verdict_of(name, result) == FAILED:
                        results[name] = THEIRS_TOO, result[1]
            failed += show(source.name, results)
    return 1 if failed else 0


def fetch(place: Path) -> list[Path]:
    """Download and unpack the sources; return their directories, as in `SOURCES`."""
    names = ",".join(each.partition("==")[0] for each in SOURCES)
    pip = [sys.executable, "-m", "pip", "-q", "download", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-binary", names, "-d", place, *SOURCES], check=True)
    for archive in place.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
    return [place / each.replace("==", "-") for each in SOURCES]


def stand_in(place: Path, source: str) -> Path:
    """Write the modules that put the classes of ptykill in place of a suite's own."""
    own = place / f"for-{source}"
    if source.startswith("ptyprocess"):
        files = {
            "ptyprocess/__init__.py": THEIR_PTYPROCESS,
            "ptyprocess/ptyprocess.py": INSIDE_PTYPROCESS,
        }
    else:
        files = {"sitecustomize.py": SITE}
    for name, text in files.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(textwrap.dedent(text))
    return own


def run(source: Path, path: list[Path], *only: str) -> dict[str, tuple[str, str]]:
    """Run a suite, or some tests of it, with these directories before the installed modules.

    Returns the outcome and the message of each test, by its name.
    """
    report = source.parent / f"{source.name}.xml"
    tests = source.parent / f"tests-of-{source.name}"
    if not tests.exists():  # Apart from the modules, which the path has.
        tests.mkdir()
        (source / "tests").rename(tests / "tests")
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={tests}"]
    options = ["-p", "no:cacheprovider", f"--timeout={SECONDS}", f"--junitxml={report}"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [*path, TOP])),
        "PYTHONUNBUFFERED": "1",
    }
    with (source.parent / "log").open("w") as log:
        subprocess.run(
            [*command, *options, *([f"tests/{each}" for each in only] or ["tests"])],
            cwd=tests,
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    sys.stderr.write((source.parent / "log").read_text())
    results = {}
    for case in ET.parse(report).iter("testcase"):
        module, *classes = case.get("classname", "").removeprefix("tests.").split(".")
        name = "::".join([f"{module}.py", *classes, case.get("name", "")])
        found = next((e for e in case if e.tag in ("failure", "error", "skipped")), None)
        outcome = "passed" if found is None else found.tag
        results[name] = outcome, "" if found is None else found.get("message", "")
    return results


FAILED: Final = "failed"
THEIRS_TOO: Final = "failed on their own classes too"
NOT: Final = "not applicable"


def verdict_of(name: str, result: tuple[str, str]) -> str:
    """Return what is said of a test."""
    if name in NOT_APPLICABLE:
        return NOT
    return result[0] if result[0] in ("passed", "skipped", THEIRS_TOO) else FAILED


def show(suite: str, results: dict[str, tuple[str, str]]) -> int:
    """Print the counts of a suite, and each test that did not pass; return how many failed."""
    counts = dict.fromkeys(("passed", FAILED, THEIRS_TOO, "skipped", NOT), 0)
    lines = []
    for name, result in results.items():
        verdict = verdict_of(name, result)
        counts[verdict] += 1
        if verdict != "passed":
            why = NOT_APPLICABLE.get(name) or result[1].partition("\n")[0]
            lines.append(f"  {verdict}: {name}: {why}")
    summary = ", ".join(f"{count} {what}" for what, count in counts.items())
    sys.stdout.write("\n".join([f"{suite}: {summary}", *lines, ""]))
    return counts[FAILED]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
