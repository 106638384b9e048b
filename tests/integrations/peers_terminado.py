"""Run the tests of terminado and of jupyter_server_terminals with ptykill's managers.

``python -m tests.integrations.peers_terminado`` downloads the source distributions of the installed
versions, runs their tests in processes of their own, and prints how many passed, failed, and are
not applicable; it exits with 1 if one failed. ``--stock`` runs them with their own managers.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

NOT_APPLICABLE: dict[str, str] = {}
"""Tests that ask for what these managers do not do on purpose, each with the reason: none yet."""

PLUGIN = "pytest-jupyter"
"""The fixtures of jupyter_server_terminals' tests. It is not installed: other tests need it not."""


class Peer(NamedTuple):
    """A package with tests, and the pytest options that they need."""

    name: str
    options: tuple[str, ...] = ()


PEERS = Peer("terminado"), Peer("jupyter_server_terminals", ("-p", "pytest_jupyter"))


class Outcomes:
    """A plugin of pytest that notes the outcome of each test."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test: its own, or that of a fixture that has failed."""
        if report.when == "call" or not report.passed:
            self.of[report.nodeid.partition("::")[2]] = report.outcome


def replace_managers() -> None:
    """Put ptykill's managers in the places of terminado's and of Jupyter's."""
    import terminado  # noqa: PLC0415 - only here, in a process of its own
    from jupyter_server_terminals.app import TerminalsExtensionApp  # noqa: PLC0415

    from ptykill.integrations import jupyter  # noqa: PLC0415
    from ptykill.integrations import terminado as ours  # noqa: PLC0415

    for name in "NamedTermManager", "SingleTermManager", "UniqueTermManager":
        setattr(terminado, name, getattr(ours, name))
    trait = TerminalsExtensionApp.class_traits()["terminal_manager_class"]
    trait.default_value = jupyter.TerminalManager


def run(tests: str, *options: str, stock: bool) -> int:
    """Run a folder of tests in this process, print what came out, and return the exit status."""
    if not stock:
        replace_managers()
    outcomes = Outcomes()
    arguments = ["-q", "-c", os.devnull, "--rootdir", tests, "-p", "no:cacheprovider", *options]
    status = pytest.main([*arguments, tests], plugins=[outcomes])
    counted = Counter(
        "not applicable" if name in NOT_APPLICABLE else outcome
        for name, outcome in outcomes.of.items()
    )
    numbers = ", ".join(
        f"{counted[each]} {each}" for each in ("passed", "failed", "skipped", "not applicable")
    )
    sys.stdout.write(f"RESULT {numbers}\n")
    for name in outcomes.of.keys() & NOT_APPLICABLE.keys():
        sys.stdout.write(f"RESULT not applicable: {name}: {NOT_APPLICABLE[name]}\n")
    return 1 if counted["failed"] or status not in {0, 1} else 0


def fetch(name: str, folder: Path) -> Path:
    """Download the source of the installed version of a package, and return its folder of tests."""
    version = importlib.metadata.version(name)
    _pip("download", "--no-binary", name, "--dest", str(folder), f"{name}=={version}")
    (archive,) = folder.glob(f"{name}-*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz") / "tests"


def _pip(*arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, arguments[0], "--no-deps", *arguments[1:]], check=True)


def main(*arguments: str) -> int:
    """Run the tests of all peers; with ``--run FOLDER OPTION ...`` those of a folder, here."""
    stock = "--stock" in arguments
    rest = [each for each in arguments if each != "--stock"]
    if rest[:1] == ["--run"]:
        return run(*rest[1:], stock=stock)
    status = 0
    with tempfile.TemporaryDirectory() as name:
        plugins = Path(name, "plugins")
        _pip("install", "--target", str(plugins), PLUGIN)
        for peer in PEERS:
            tests = fetch(peer.name, Path(name))
            flags = ["--stock"] if stock else []
            # -P, since a peer's tests are a package `tests` as well.
            done = subprocess.run(
                [sys.executable, "-P", __file__, *flags, "--run", str(tests), *peer.options],
                cwd=tests.parent,
                env={**os.environ, "PYTHONPATH": str(plugins)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.stdout.write(done.stdout)
            version = importlib.metadata.version(peer.name)
            for line in re.findall(r"^RESULT (.*)$", done.stdout, re.MULTILINE):
                sys.stdout.write(f"{peer.name} {version}: {line}\n")
            status |= done.returncode
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
