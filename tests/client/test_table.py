"""The table of sessions at a terminal."""

from __future__ import annotations

from ptykill.cli.client import table
from tests.client.test_short_ids import record

BARE = ["id", "pid", "size", "age", "state", "command"]
EVERYTHING = ["id", "name", *BARE[1:5], "reason", "clients", "labels", "command"]


def test_columns_are_there_for_what_there_is() -> None:
    """A name, labels, clients and a reason have a column if a session has them."""
    plain, full = record("3fa" + "0" * 29), record("3fb" + "0" * 29, "web")
    assert table.for_terminal([plain])[0] == BARE
    plain.end_reason = "exited"  # Its state has the exit code.
    assert table.for_terminal([plain])[0] == BARE
    full.labels, full.client_count, full.status = {"team": "ci", "x": "\x1b"}, 2, "stuck"
    full.end_reason = "idle"
    heads, (_, row) = table.for_terminal([plain, full])
    assert heads == EVERYTHING
    del row[4]  # The age.
    assert row == [
        "3fb000000000", "web", "1", "80x24", "stuck", "idle", "2", "team=ci,x=\\x1b", "sh",
    ]  # fmt: skip


def test_ids_are_cut_only_if_they_differ_then() -> None:
    """Two ids with the same beginning are shown whole."""
    ids = ["3fa" + "0" * 29, "3fa" + "0" * 28 + "1"]
    _, rows = table.for_terminal([record(each) for each in ids])
    assert [row[0] for row in rows] == ids
    assert table.for_terminal([]) == (BARE, [])
