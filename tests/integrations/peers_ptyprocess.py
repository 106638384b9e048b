"""Runs the test suites of ptyprocess and pexpect on the classes of ptykill.

    python tests/integrations/peers_ptyprocess.py           on ptykill
    python tests/integrations/peers_ptyprocess.py --theirs  on their own classes, to compare

Their sources come from pip, into a temporary directory. It prints how many tests passed, failed,
were skipped by the suite itself, and are not applicable; and exits with 1 if a test failed.
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
    "test_preexec_fn::test_preexec": _NO_PREEXEC,
    "test_preexec_fn::test_preexec_error": _NO_PREEXEC,
    "test_spawn::test_pass_fds": "pass_fds is refused: the child gets its terminal alone",
    "test_misc::test_bad_child_pid": (
        "it sets `terminated` of a dead process back, and wants the error of a waitpid(2) that finds"
        " no child; ptykill keeps the status, and has no such error"
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
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        sources = fetch(place)
        for source in sources:
            path = [source] if theirs else [stand_in(place, source.name), *reversed(sources)]
            results = run(source, [*path, *reversed(sources)])
            failed += show(source.name, results, theirs=theirs)
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


def run(source: Path, path: list[Path]) -> dict[str, tuple[str, str]]:
    """Run a suite with these directories before the installed modules; return its results.

    They are the outcome and the message of each test, by its name.
    """
    report = source.parent / f"{source.name}.xml"
    tests = source.parent / f"tests-of-{source.name}"
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
            [*command, *options, "tests"],
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
        module = case.get("classname", "").removeprefix("tests.").partition(".")[0]
        found = next((e for e in case if e.tag in ("failure", "error", "skipped")), None)
        outcome = "passed" if found is None else found.tag
        message = "" if found is None else found.get("message", "")
        results[f"{module}::{case.get('name')}"] = outcome, message
    return results


def show(suite: str, results: dict[str, tuple[str, str]], *, theirs: bool) -> int:
    """Print the counts of a suite, and each test that did not pass; return how many failed."""
    counts = dict.fromkeys(("passed", "failed", "skipped", "not applicable"), 0)
    lines = []
    for name, (outcome, message) in results.items():
        reason = None if theirs else NOT_APPLICABLE.get(name)
        if reason is not None:
            verdict, why = "not applicable", reason
        else:
            verdict, why = outcome if outcome in counts else "failed", message
        counts[verdict] += 1
        if verdict != "passed":
            lines.append(f"  {verdict}: {name}: {why.partition(chr(10))[0]}")
    summary = ", ".join(f"{count} {what}" for what, count in counts.items())
    sys.stdout.write("\n".join([f"{suite}: {summary}", *lines, ""]))
    return counts["failed"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
