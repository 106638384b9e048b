"""The house: imports go down only, each dependency stays in its rooms, signatures are our own."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import ptykill

HOUSE = Path(ptykill.__file__).parent
"""The package that is tested: the installed one."""

FLOORS = [
    {"errors", "plan", "lifecycle", "verdict", "backlog", "command", "caller"},
    {"kernel"},
    {"keeper"},
    {"contract", "log", "readiness"},
    {"pty"},
    {"containment", "signalling", "alarm", "lull"},
    {"driver", "output", "session", "records", "supervisor"},
    {"crossing", "runners"},
    {"http", "host", "testing"},
    {
        "server",
        "separation",
        "serving",
        "gate",
        "key_file",
        "daemon_log",
        "demo",
        "doctor",
        "doctor_screen",
        "extras",
        "descriptors",
        "client",
        "cli",
    },
]
"""From the ground up. A room imports from its own floor and from those below."""

ROOMS_OF = {
    "psutil": {"containment", "testing"},
    "structlog": {"log", "daemon_log"},
    "trio": {
        "alarm",
        "lull",
        "readiness",
        "containment",
        "pty",
        "crossing",
        "runners",
        "driver",
        "output",
        "session",
        "records",
        "supervisor",
        "testing",
        "host",
        "http",
        "server",
        "demo",
        "doctor",
        "doctor_screen",
        "client",
    },
    "msgspec": {"http", "client"},
    "click": {"cli", "client", "extras"},
    "uvicorn": {"serving", "demo"},
    "h11": {"serving"},
    "rich": {"server", "demo", "doctor_screen", "client"},
    "httpx": {"client"},
    "trio_websocket": {"client"},
    "wsproto": {"client"},
    "ctypes": {"alarm", "kernel", "pty", "demo", "separation"},
}
"""Where a dependency may be imported, so that it could be replaced by looking at few files."""

FILES = sorted(
    path
    for path in HOUSE.rglob("*.py")
    if path.stem not in ("__init__", "__main__") or path.parent != HOUSE
)


def room(path: Path) -> str:
    """Return the first part of a module's name below the package."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the full names of all modules that a file imports, lazily or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def floor_of(name: str) -> int:
    """Return the number of the floor that a room is on."""
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_go_down_only(path: Path) -> None:
    """No file imports from a floor above its own."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "ptykill" and len(parts) > 1 and any(parts[1] in rooms for rooms in FLOORS):
            assert floor_of(parts[1]) <= floor_of(room(path)), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_dependency_stays_in_its_rooms(path: Path) -> None:
    """Each dependency is confined to the few rooms that need it."""
    for name in imports(path):
        allowed = ROOMS_OF.get(name.split(".", maxsplit=1)[0])
        assert allowed is None or room(path) in allowed, name


def test_the_ground_floor_is_pure() -> None:
    """It imports neither clocks, nor processes, nor the event loop."""
    for name in FLOORS[0]:
        modules = {each.split(".", maxsplit=1)[0] for each in imports(HOUSE / f"{name}.py")}
        assert not modules & {"os", "time", "trio", "psutil", "subprocess", "threading", "socket"}


BARE = sorted(path for name in ("kernel", "keeper") for path in (HOUSE / name).glob("*.py"))


@pytest.mark.parametrize("path", BARE, ids=lambda path: str(path.relative_to(HOUSE)))
def test_what_runs_beside_the_host_is_bare(path: Path) -> None:
    """A keeper imports the standard library, and the pure floor, and nothing else."""
    allowed = {"errors", "plan", "lifecycle", "kernel", "keeper"}
    for name in imports(path):
        top, *rest = name.split(".")
        assert top in sys.stdlib_module_names or (top == "ptykill" and rest[0] in allowed), name


def test_a_warden_loads_no_more_than_it_should() -> None:
    """Neither trio, psutil nor structlog gets into the processes that run beside the host."""
    code = (
        "import importlib, os, sys, types\n"
        "package = types.ModuleType('ptykill')\n"
        f"package.__path__ = [{str(HOUSE)!r}]\n"
        "sys.modules['ptykill'] = package\n"
        "importlib.import_module('ptykill.keeper.warden')\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"ptykill", "__main__"}


def test_the_core_needs_its_three_dependencies_alone() -> None:
    """`import ptykill` works where none of the extras is installed."""
    extras = ("msgspec", "click", "rich", "uvicorn", "ptyprocess", "httpx", "trio_websocket")
    code = (
        "import sys\n"
        f"for name in {extras}:\n"
        "    sys.modules[name] = None\n"
        "import ptykill, ptykill.testing\n"
        "ptykill.open_supervisor, ptykill.asgi_app, ptykill.wsgi_app, ptykill.Host\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_signatures_name_no_dependency() -> None:
    """Who uses ptykill's types depends on ptykill, the standard library, and nothing else."""
    strangers = []
    for name in ptykill.__all__:
        thing = getattr(ptykill, name)
        members = [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]
        for member in members:
            function = member.fget if isinstance(member, property) else member
            public = not getattr(function, "__name__", "_").startswith("_") or function is thing
            if not public or not callable(function):
                continue
            hints = typing.get_type_hints(function)
            strangers += [
                (name, getattr(function, "__name__", "?"), hint)
                for hint in hints.values()
                if any(f"{stranger}." in repr(hint) for stranger in ("trio", "psutil", "structlog"))
            ]
    assert strangers == []
