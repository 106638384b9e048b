"""Every block of code in the pages does what the page says."""

from __future__ import annotations

import doctest
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, Block, blocks, matches

TIMEOUT = 200.0
"""Seconds that a block may take on a slow machine."""

_ALL = [block for page in PAGES for block in blocks(page)]
_PRINTING = [
    (block, after if after.kind == "output" else None)
    for block, after in pairwise([*_ALL, Block("", 0, "", "")])
]
_PROGRAMS = [pair for pair in _PRINTING if pair[0].kind == "python"]
_CLIENTS = [pair for pair in _PRINTING if pair[0].kind == "py"]
_CONSOLES = [page for page in PAGES if any(each.kind == "console" for each in blocks(page))]
_DOCTESTS = [page for page in PAGES if any(each.kind == "pycon" for each in blocks(page))]

_GUIDE = "how-to-http.md"
"""The page whose commands start the daemon."""
_SERVE = "\nptykill serve\n"
"""What its first terminal runs, after the key."""

_SUDO = """#!/bin/sh
# A stand-in: it may do everything, like the real one, and asks for no password.
[ "$1" = -n ] && shift
exec "$@"
"""


_PTYKILL = f"""#!/bin/sh
exec {shlex.quote(sys.executable)} -m ptykill "$@"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of the examples: theirs is a harmless ``sudo``, and a bare bash."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in ("sudo", _SUDO), ("ptykill", _PTYKILL):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    return os.environ | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": "",
        "HISTFILE": "",
        "LC_ALL": "C.UTF-8",
    }


@pytest.mark.parametrize(
    ("program", "output"), _PROGRAMS, ids=[str(program) for program, _ in _PROGRAMS]
)
def test_programs_run_and_print_what_is_shown(
    program: Block, output: Block | None, environment: dict[str, str], tmp_path: Path
) -> None:
    """A program of the pages ends well, and prints what the block below it shows."""
    file = tmp_path / "test_example.py"
    file.write_text(program.text)
    tests = re.search(r"^(async )?def test_", program.text, re.MULTILINE)
    options = (
        ["-m", "pytest", "-q", "-p", "no:asyncio", "-c", os.devnull, "--rootdir", str(tmp_path)]
        if tests
        else []
    )
    done = _run([sys.executable, "-W", "error", *options, str(file)], environment, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if output is not None:
        assert matches(output.text, done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize("page", _DOCTESTS, ids=lambda page: page.name)
def test_doctests_hold(page: Path) -> None:
    """What a page shows at Python's prompt is what Python answers."""
    text = "\n".join(each.text for each in blocks(page) if each.kind == "pycon")
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, page.name, 0)
    told: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    assert runner.run(test, out=told.append).failed == 0, "".join(told)


@pytest.fixture
def port(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Run the daemon by the guide's command, on a free port."""
    (script,) = [
        each.text
        for each in _ALL
        if each.page == _GUIDE and each.kind == "sh" and each.text.endswith(_SERVE)
    ]
    script = script.removesuffix(_SERVE) + '\necho "$PTYKILL_API_KEY"; exec ptykill serve --port 0'
    with subprocess.Popen(
        ["bash", "-c", script],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            environment["PTYKILL_API_KEY"] = server.stdout.readline().strip()
            assert len(environment["PTYKILL_API_KEY"]) >= 32
            found = re.search(r"127\.0\.0\.1:(\d+)", server.stdout.readline())
            assert found is not None
            yield found[1]
        finally:
            server.terminate()
            server.communicate(timeout=TIMEOUT)
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("program", "output"), _CLIENTS, ids=[str(program) for program, _ in _CLIENTS]
)
def test_clients_print_what_is_shown(
    program: Block, output: Block | None, port: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """A program that talks to the daemon ends well, and prints what the block below it shows."""
    text = program.text.replace("127.0.0.1:8022", f"127.0.0.1:{port}")
    done = _run([sys.executable, "-W", "error", "-c", text], environment, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert output is not None, "what does it print?"
    assert matches(output.text, done.stdout), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("page", _CONSOLES, ids=lambda page: page.name)
@pytest.mark.long
def test_commands_print_what_is_shown(
    page: Path, port: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """The commands of a page, one after the other in one shell, print what is below each."""
    steps = [
        step.partition("\n")
        for block in blocks(page)
        if block.kind == "console"
        for step in re.sub(r"\\\n> ?", "", block.text).removeprefix("$ ").split("\n$ ")
    ]
    between = secrets.token_hex(16)
    script = f"\necho; echo {between}\n".join(command for command, _, _ in steps)
    script = script.replace("127.0.0.1:8022", f"127.0.0.1:{port}")
    done = _run(["bash", "-c", f"exec 2>&1\n{script}\n"], environment, tmp_path)
    printed = done.stdout.replace("\r\n", "\n").replace(f":{port}", ":8022").split(between)
    assert len(printed) == len(steps), done.stdout
    for (command, _, shown), told in zip(steps, printed, strict=True):
        assert matches(shown, told), f"$ {command}\n{told}"


def _run(
    command: list[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
