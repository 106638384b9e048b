"""The served document is correct: requests that are made of it get the answers that it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import pytest

from ptykill.http import openapi

KEY = "key-for-tests"


CODES_ARE_NAMED = """
import schemathesis

@schemathesis.check
def codes_are_named(context, response, case):
    answers = case.operation.definition.raw["responses"]
    if response.status_code >= 400 and str(response.status_code) in answers:
        code = response.json()["code"]
        assert f"`{code}`" in answers[str(response.status_code)]["description"], code
"""
"""A check of an error: the document has its code, at that operation and status."""


def test_the_document_has_only_what_is_mounted() -> None:
    """A mount that spawns nothing has no create; its paths begin with its prefix."""
    told = openapi.document("/here", "1", spawning=False, grace_cap=7.0)
    assert set(told["paths"]["/here"]) == {"get", "delete"}
    kill = told["paths"]["/here/{session_id}"]["delete"]
    assert kill["operationId"] == "sandbox_pty_kill"
    assert kill["parameters"][1]["schema"]["maximum"] == 7.0
    told = openapi.document("", "1", spawning=True, grace_cap=60.0)
    assert set(told["paths"]["/"]) == {"get", "post", "delete"}


@pytest.mark.long
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Hundreds of requests, valid and not, get answers that the document names.

    The daemon finds no command, so no program is started by chance; that it refuses those which are
    well-formed is no fault.
    """
    serve = [sys.executable, "-m", "ptykill", "serve", "--port", "0"]
    environment = os.environ | {"PTYKILL_API_KEY": KEY, "PATH": str(tmp_path)}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            serve, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as daemon,
    ):
        (tmp_path / "hooks.py").write_text(CODES_ARE_NAMED)
        greeting = cast(IO[str], daemon.stdout).readline()
        (base,) = re.findall(r"serves (http://\S+?)/api", greeting)
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{base}/openapi.json"]
        hooked = os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)}
        options = ["--header", f"Authorization: Bearer {KEY}", "--max-examples", "20"]
        options += ["--exclude-path-regex", "/events$"]  # Its answer has no end.
        options += ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
        done = subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=hooked,
        )
        daemon.terminate()
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in (tmp_path / "log").read_text()
