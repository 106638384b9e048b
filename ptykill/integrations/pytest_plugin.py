"""The pytest plugin: fixtures that start programs on terminals, and end all of them after the test.

pytest imports this file in every run of an environment that has ptykill. So it imports the rest
only when a test uses a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ptykill import aio, blocking
    from ptykill.integrations.pytest_programs import Programs

__all__ = ["async_terminal", "pytest_configure", "pytest_runtest_makereport", "terminal"]

_PROGRAMS: pytest.StashKey[Programs] = pytest.StashKey()
_SECTION = "terminal"
"""The report has it as ``Captured terminal call``."""


def pytest_configure(config: pytest.Config) -> None:
    """Describe the mark."""
    config.addinivalue_line(
        "markers",
        "terminal(leaks='fail', **options): options of ptykill's fixtures: those of"
        " ptykill.open_supervisor; leaks='end' permits a program to leave processes behind.",
    )


@pytest.fixture
def _ptykill_programs(request: pytest.FixtureRequest) -> Iterator[Programs]:
    """Have the programs of one test; end them, and fail if one has left a process behind."""
    from ptykill.integrations.pytest_programs import Programs  # noqa: PLC0415 - see above

    options: dict[str, Any] = {}
    for mark in request.node.iter_markers("terminal"):  # The closest one first.
        options = {**mark.kwargs, **options}
    with Programs(**options) as programs:
        request.node.stash[_PROGRAMS] = programs
        yield programs
        leaks = programs.end()
        if leaks:
            _show_output(request.node, "teardown", programs)
    if leaks:
        text = "\n  ".join(["programs of the test left processes behind:", *leaks])
        pytest.fail(text, pytrace=False)


@pytest.fixture
def terminal(_ptykill_programs: Programs) -> blocking.Supervisor:
    """Start programs on terminals of their own: a `ptykill.blocking.Supervisor`.

    At the end of the test all of them are ended. The test fails if a program had ended by itself
    and left a process behind, or if a process could not be ended.
    """
    return _ptykill_programs.blocking


@pytest.fixture
def async_terminal(_ptykill_programs: Programs) -> aio.Supervisor:
    """The same for async tests, of pytest-trio, pytest-asyncio and anyio: `ptykill.aio.Supervisor`.

    Its programs run in a thread of their own, on the real clock.
    """
    return _ptykill_programs.aio


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Add the output of the terminals to the report of a test that fails."""
    programs = item.stash.get(_PROGRAMS, None)
    if programs is not None and call.when != "teardown" and call.excinfo is not None:
        _show_output(item, str(call.when), programs)


def _show_output(item: pytest.Item, when: str, programs: Programs) -> None:
    if not any(key == _SECTION for _, key, _ in item._report_sections):  # noqa: SLF001
        text = programs.output()
        if text:
            item.add_report_section(when, _SECTION, text)
