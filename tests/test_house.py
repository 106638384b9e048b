"""The layers: imports go down only, dependencies have their places, signatures name our types."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import typing
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ptykill
from tests.docs.pages import PAGES, Block, blocks

HOUSE = Path(ptykill.__file__).parent
"""The package that is tested: the installed one."""

PLACES_OF = {
    "psutil": {"system", "testing"},
    "structlog": {"log", "cli/serve/log"},
    "trio": {"system", "engine", "embedding", "http", "integrations", "cli", "testing"},
    "msgspec": {"http", "cli/client"},
    "click": {"cli"},
    "uvicorn": {"cli/serve", "cli/demo"},
    "h11": {"cli/serve"},
    "prometheus_client": {"integrations"},
    "rich": {"cli"},
    "httpx": {"cli/client"},
    "trio_websocket": {"cli/client"},
    "wsproto": {"cli/client"},
    "pytest": {"integrations/pytest_plugin"},
    "mcp": {"integrations/mcp"},
    "mcp_types": {"integrations/mcp"},
    "anyio": {"integrations/mcp"},
    "pydantic": {"integrations/mcp"},
    "pexpect": {"integrations/pexpect"},
    "ptyprocess": {"cli/demo"},
    "terminado": {"integrations/terminado"},
    "tornado": {"integrations/terminado", "integrations/jupyter"},
    "traitlets": {"integrations/jupyter"},
    "jupyter_server_terminals": {"integrations/jupyter"},
    "ctypes": {"system/kernel", "system/pty", "cli/serve/separation", "cli/demo"},
}
"""The places where a dependency may be imported, so that replacing it would change few files."""

PUBLIC = {
    "ptykill",
    "ptykill.aio",
    "ptykill.blocking",
    "ptykill.errors",
    "ptykill.http",
    "ptykill.integrations.jupyter",
    "ptykill.integrations.pexpect",
    "ptykill.integrations.prometheus",
    "ptykill.integrations.ptyprocess",
    "ptykill.integrations.terminado",
    "ptykill.page",
    "ptykill.testing",
}
"""What a user may import. `ptykill.errors` is known by its names in `ptykill` as well."""

FILES = sorted(HOUSE.rglob("*.py"))


def where(path: Path) -> str:
    """Return a module's place below the package: ``system/kernel/cgroup``, or ``.`` for itself."""
    place = path.relative_to(HOUSE).with_suffix("")
    return str(place.parent if place.name == "__init__" else place)


def imports(path: Path) -> set[str]:
    """Return the full names of all modules that a file imports, lazily or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


PLACES = {where(path): path for path in FILES}
"""Each module of the package."""


def imported(path: Path) -> set[str]:
    """Return the places of the modules of this package that a file imports."""
    found = set()
    for name in imports(path):
        top, *parts = name.split(".")
        if top == "ptykill":
            # The longest part of the name that is a module; what follows is a name in it.
            for length in range(len(parts), 0, -1):
                if (place := "/".join(parts[:length])) in PLACES:
                    found.add(place)
                    break
            else:
                found.add(".")
    return found - {where(path)}


def graph_of(folder: str) -> dict[str, set[str]]:
    """Return which entries of a folder import from which other entries of it."""
    graph: dict[str, set[str]] = {}

    def entry(place: str) -> str | None:
        inside = place.removeprefix(folder).lstrip("/") if place.startswith(folder) else ""
        return inside.split("/")[0] or None

    for place, path in PLACES.items():
        name = entry(place)
        if name is not None:
            below = {entry(other) for other in imported(path)}
            graph.setdefault(name, set()).update(e for e in below if e and e != name)
    return graph


FOLDERS = ["", *sorted({str(Path(place).parent) for place in PLACES} - {"."})]


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_go_down_only(folder: str) -> None:
    """The entries of each folder import each other without a cycle."""
    try:
        tuple(TopologicalSorter(graph_of(folder)).static_order())
    except CycleError as error:
        pytest.fail(f"an import cycle: {' -> '.join(error.args[1])}")


def test_the_layers_are_the_folders() -> None:
    """No layer imports from one above it, in the order of the architecture page."""
    page = Path(__file__).parent.parent / "docs" / "architecture.md"
    layers = re.findall(r"^\| \d+ \w+ \| `(\w+)/` \|", page.read_text(), re.MULTILINE)
    folders = {each.parent.name for each in HOUSE.glob("*/__init__.py")} - {"testing"}
    assert set(layers) == folders
    graph = graph_of("")
    for number, layer in enumerate(layers):
        assert not graph[layer] & set(layers[:number]), layer


@pytest.mark.parametrize("path", FILES, ids=where)
def test_a_dependency_is_imported_in_few_places(path: Path) -> None:
    """Each dependency is imported only in the few places that need it."""
    for name in imports(path):
        allowed = PLACES_OF.get(name.split(".", maxsplit=1)[0])
        place = f"{where(path)}/"
        assert allowed is None or any(place.startswith(f"{each}/") for each in allowed), name


RULES = sorted((HOUSE / "rules").glob("*.py"))


@pytest.mark.parametrize("path", RULES, ids=where)
def test_the_rules_are_pure(path: Path) -> None:
    """The rules import neither clocks, nor processes, nor the event loop."""
    modules = {each.split(".", maxsplit=1)[0] for each in imports(path)}
    assert not modules & {"os", "time", "trio", "psutil", "subprocess", "threading", "socket"}


BARE = sorted(
    path for name in ("kernel", "keeper") for path in (HOUSE / "system" / name).glob("*.py")
)


@pytest.mark.parametrize("path", BARE, ids=where)
def test_what_runs_beside_the_host_is_bare(path: Path) -> None:
    """A keeper imports only the standard library, the rules, and its own two folders."""
    for name in imports(path):
        top = name.split(".", maxsplit=1)[0]
        assert top in sys.stdlib_module_names or top == "ptykill", name
    for place in imported(path):
        assert place == "errors" or place.startswith(("rules/", "system/k")), place


@pytest.mark.parametrize("folder", ["rules", "system", "system/kernel", "system/keeper"])
def test_the_folders_that_a_keeper_enters_import_nothing(folder: str) -> None:
    """A keeper imports modules below them: an import in ``__init__`` would take its memory."""
    assert imports(HOUSE / folder / "__init__.py") <= {"__future__.annotations"}


def test_a_warden_loads_no_more_than_it_should() -> None:
    """Neither trio, psutil nor structlog gets into the processes that run beside the host."""
    code = (
        "import importlib, os, sys, types\n"
        "package = types.ModuleType('ptykill')\n"
        f"package.__path__ = [{str(HOUSE)!r}]\n"
        "sys.modules['ptykill'] = package\n"
        "importlib.import_module('ptykill.system.keeper.warden')\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"ptykill", "__main__"}


EXAMPLES = sorted(Path(__file__).parent.parent.glob("docs/*/*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_import_public_names_alone(path: Path) -> None:
    """The examples import only `ptykill`, `ptykill.http` and `ptykill.testing`."""
    for name in imports(path):
        if name.split(".", maxsplit=1)[0] == "ptykill":
            module = name if name in PUBLIC else name.rpartition(".")[0]
            assert module in PUBLIC, name


BLOCKS = [
    block for page in PAGES for block in blocks(page) if block.kind in {"python", "py", "pycon"}
]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_pages_import_public_names_alone(block: Block) -> None:
    """A block of code in a page imports only from the same modules as the examples."""
    for module in re.findall(
        r"^(?:>>> |\.\.\. )?\s*(?:from|import) (ptykill[\w.]*)", block.text, re.MULTILINE
    ):
        assert module in PUBLIC or module.rpartition(".")[0] in PUBLIC, module


def test_the_core_needs_its_three_dependencies_alone() -> None:
    """`import ptykill` works without the extras."""
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
    """Public signatures name only types of ptykill and the standard library."""
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
