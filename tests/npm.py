"""Packages of npm for tests: installed below ``build``, once for each lock file.

The lock file has the versions and the digests.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import TIMEOUT

BUILD = Path(__file__).parents[1] / "build"
UNREACHABLE = "EAI_AGAIN|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|ETIMEDOUT"
"""The errors of npm without a network."""


def installed(nodejs: Any, folder: Path, program: str) -> Path:  # noqa: ANN401 - a module
    """Return a folder with a program and the packages of its lock file; skip without network."""
    lock = (folder / "package-lock.json").read_bytes()
    place = BUILD / folder.name / hashlib.sha256(lock).hexdigest()[:16]
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, ignore_cleanup_errors=True) as made_in:
            made = Path(made_in, "made")
            shutil.copytree(folder, made)
            _install(nodejs, made)
            made.rename(place)
    shutil.copy(folder / program, place)
    return place


def _install(nodejs: Any, folder: Path) -> None:  # noqa: ANN401 - as above
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
    try:
        done = nodejs.npm(
            ["ci", *options],
            return_completed_process=True,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm could not install the packages in time")
    if done.returncode != 0:
        if any(f"code {name}" in done.stderr for name in UNREACHABLE.split("|")):
            pytest.skip("npm has no network to install the packages from")
        pytest.fail(done.stderr)
