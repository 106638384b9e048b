"""The page of promises: each command runs tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import TOP

_COMMANDS = re.findall(r"`unit (.+?)`", (TOP / "docs" / "promises.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_command_of_the_page_names_tests(command: str) -> None:
    """Each path is there, and a test has each word that chooses some of them."""
    paths, _, word = command.partition(" -k ")
    files = [TOP / path for path in paths.split()]
    assert files
    assert all(file.exists() for file in files)
    if word:
        names = re.findall(r"def (test_\w+)", "".join(file.read_text() for file in files))
        assert any(word in name for name in names)
