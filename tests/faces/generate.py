"""Writes ``ptykill/aio/faces.py`` and ``ptykill/blocking/faces.py`` from the classes for trio.

    python tests/faces/generate.py           writes both
    python tests/faces/generate.py --check   exits with 1 if one of them is not as it would write it

A face has the methods of its class, with the same parameters, types and documentation. Each method
has the supervisor's own thread do what the method of the class does.
"""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "ptykill/engine"
CLASSES: Final = {"Attachment": "attachment", "Session": "session", "Supervisor": "supervisor"}
FACES: Final = frozenset(CLASSES)
CALLED: Final = {("Supervisor", "sessions")}
"""Properties that are read in the supervisor's thread: they look at more than one value."""
ENTRANCES: Final = {"__aenter__", "__aexit__", "__aiter__", "__anext__", "__enter__", "__exit__"}


class World(NamedTuple):
    """How the methods of a face are called, and how its documentation calls things."""

    package: str
    about: str
    replaced: tuple[tuple[str, str], ...]


AIO: Final = World("aio", "Supervisors, sessions and attachments for asyncio.", ())
BLOCKING: Final = World(
    "blocking",
    "Supervisors, sessions and attachments for threads: their methods block.",
    (
        ("an async context manager", "a context manager"),
        ("An async context manager", "A context manager"),
        ("async iterator", "iterator"),
    ),
)
WORLDS: Final = (AIO, BLOCKING)


def path_of(world: World) -> Path:
    """Return the file of a world's faces."""
    return ROOT / "ptykill" / world.package / "faces.py"


def write(world: World) -> str:
    """Return the module with the faces of one world."""
    classes = [_face(world, name) for name in CLASSES]
    head = f'''"""{world.about}

This file is written by ``tests/faces/generate.py`` from the classes for trio: change those.
"""

from __future__ import annotations

'''
    body = "\n\n\n".join(classes)
    return _formatted(
        head + "\n".join(_imported(classes)) + "\n\n" + _exports() + "\n\n" + body + "\n"
    )


def _exports() -> str:
    return "__all__ = [" + ", ".join(f'"{name}"' for name in CLASSES) + "]"


def _imported(classes: list[str]) -> list[str]:
    """Return the import lines whose names the classes use."""
    used = {
        node.id for node in ast.walk(ast.parse("\n".join(classes))) if isinstance(node, ast.Name)
    }
    lines = {"from ptykill.engine import attachment, session, supervisor"}
    for module in CLASSES.values():
        for node in ast.parse((ENGINE / f"{module}.py").read_text()).body:
            if isinstance(node, ast.Import):
                lines |= {f"import {each.name}" for each in node.names if each.name in used}
            elif isinstance(node, ast.ImportFrom):
                names = {each.name for each in node.names} & used - FACES
                lines |= {f"from {node.module} import {name}" for name in names}
    helpers = _HELPERS.items()
    return sorted(
        lines | {f"from {where} import {name}" for name, where in helpers if name in used}
    )


_HELPERS: Final = {
    "Host": "ptykill.embedding.host",
    "partial": "functools",
    "suppress": "contextlib",
    "SupervisorClosed": "ptykill.errors",
    "end": "ptykill.embedding.ending",
    "aend": "ptykill.embedding.ending",
    "HostEvents": "ptykill.embedding.host_events",
    "run_through": "ptykill.embedding.run_through",
    "arun_through": "ptykill.embedding.run_through",
}


def _face(world: World, name: str) -> str:
    source = (ENGINE / f"{CLASSES[name]}.py").read_text()
    tree = ast.parse(source)
    found = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    members = "\n\n".join(_members(world, name, found))
    doc = _documentation(world, found, 4)
    constructor = _CONSTRUCTOR.format(name=name, module=CLASSES[name])
    return f"class {name}:\n{doc}\n\n{constructor}\n\n{members}"


_CONSTRUCTOR: Final = """    def __init__(self, host: Host, of: {module}.{name}) -> None:
        self._host = host
        self._of = of

    def __repr__(self) -> str:
        return repr(self._of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, {name}) and other._of is self._of

    def __hash__(self) -> int:
        return hash(self._of)"""


def _members(world: World, name: str, tree: ast.ClassDef) -> Iterator[str]:
    if name == "Supervisor":
        yield _HOST
    yield from _attributes(tree)
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") and node.name not in ENTRANCES:
            continue
        if name == "Attachment" and node.name in ENTRANCES:
            yield _ATTACHMENT[node.name]
        else:
            yield _member(world, name, node)


def _attributes(tree: ast.ClassDef) -> Iterator[str]:
    """Yield a property for each public attribute that the constructor sets and documents."""
    init = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    for node, after in itertools.pairwise(init.body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            attribute = node.target.attr
            if not attribute.startswith("_"):
                assert isinstance(after, ast.Expr), attribute
                yield (
                    f"    @property\n    def {attribute}(self) -> {_KINDS[attribute]}:\n"
                    f'        """{ast.literal_eval(after.value)}"""\n'
                    f"        return self._of.{attribute}"
                )


_KINDS: Final = {
    "id": "str",
    "command": "Command",
    "name": "str | None",
    "labels": "Mapping[str, str]",
    "key": "str | None",
    "created_at": "float",
}


_HOST: Final = '''    @property
    def host(self) -> Host:
        """The host that it belongs to: `asgi_app` and `wsgi_app` take it."""
        return self._host'''

_ATTACHMENT: Final = {
    "__enter__": '''    def __enter__(self) -> Self:
        """Return the attachment itself."""
        return self''',
    "__exit__": '''    def __exit__(self, *_: object) -> None:
        """Detach."""
        with suppress(SupervisorClosed):  # Its host has detached it.
            self.close()''',
}


def _member(world: World, owner: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    asynchronous = isinstance(node, ast.AsyncFunctionDef)
    blocking = world is BLOCKING
    is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
    name = node.name
    if blocking:
        name = re.sub(r"^__a(enter|exit|iter|next)__$", r"__\1__", name)
    returns = ast.unparse(node.returns) if node.returns else "None"
    doc = _documentation(world, node, 8)
    if is_property:
        value = f"self._of.{node.name}"
        if (owner, node.name) in CALLED:
            value = _wrapped(returns, f"self._host.call(lambda: {value})")
        return f"    @property\n    def {name}(self) -> {returns}:\n{doc}\n        return {value}"
    body = _BODIES.get((world.package, node.name)) or _call(world, node, returns)
    keyword = "async def" if asynchronous and not blocking else "def"
    parameters = ast.unparse(node.args)
    if name in {"__exit__", "__aexit__"}:
        parameters = "self, *_: object"
    returned = returns
    if owner == "Supervisor" and name == "events":
        returned = "HostEvents"
    return f"    {keyword} {name}({parameters}) -> {returned}:\n{doc}\n        {body}"


_BODIES: Final = {
    ("aio", "__aenter__"): "return self",
    ("aio", "__aiter__"): "return self",
    ("aio", "__aexit__"): "await aend(self._host, self._of.__aexit__)",
    ("aio", "__anext__"): """data = await self.receive()
        if not data:
            raise StopAsyncIteration
        return data""",
    ("aio", "events"): "return self._host.events(since)",
    ("aio", "run"): "return await arun_through(self._host, command, options)",
    ("blocking", "__aenter__"): "return self",
    ("blocking", "__aiter__"): "return self",
    ("blocking", "__aexit__"): "end(self._host, self._of.__aexit__)",
    ("blocking", "__anext__"): """data = self.receive()
        if not data:
            raise StopIteration
        return data""",
    ("blocking", "events"): "return self._host.events(since)",
    ("blocking", "run"): "return run_through(self._host, command, options)",
}
"""The bodies of methods that do more than call the method of their class."""


def _call(world: World, node: ast.FunctionDef | ast.AsyncFunctionDef, returns: str) -> str:
    """Return the body of a method: it has the supervisor's thread call the class's method."""
    asynchronous = isinstance(node, ast.AsyncFunctionDef)
    given = [a.arg for a in node.args.args if a.arg != "self"]
    if node.args.vararg:
        given.append(f"*{node.args.vararg.arg}")
    keywords = [f"{a.arg}={a.arg}" for a in node.args.kwonlyargs]
    arguments = ", ".join([f"self._of.{node.name}", *given, *keywords])
    function = f"partial({arguments})" if keywords else arguments
    called = f"self._host.call({function})"
    if asynchronous and world is AIO:
        called = f"await self._host.acall({function})"
    if returns == "None":
        return called
    return f"return {_wrapped(returns, called)}"


def _wrapped(returns: str, value: str) -> str:
    """Return an expression for a value that may have to become a face."""
    if returns in FACES:
        return f"{returns}(self._host, {value})"
    if returns == "tuple[Session, ...]":
        return f"tuple(Session(self._host, each) for each in {value})"
    return value


def _documentation(
    world: World, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, indent: int
) -> str:
    text = ast.get_docstring(node, clean=True)
    assert text is not None, node.name
    for old, new in world.replaced:
        text = text.replace(old, new)
    space = " " * indent
    lines = text.split("\n")
    if len(lines) == 1:
        return f'{space}"""{text}"""'
    rest = "\n".join(f"{space}{line}".rstrip() for line in lines[1:])
    return f'{space}"""{lines[0]}\n{rest}\n{space}"""'


def _formatted(text: str) -> str:
    """Return a module as ruff formats it, with its imports in order."""
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "--select", "I", "--fix", "-q"], ["format", "-q"]):
        text = subprocess.run(
            [ruff, *command, "--stdin-filename", str(path_of(AIO)), "-"],
            input=text, capture_output=True, text=True, check=True, cwd=ROOT,
        ).stdout  # fmt: skip
    return text


def main() -> int:
    """Write the files, or check them."""
    wrong = 0
    for world in WORLDS:
        text, path = write(world), path_of(world)
        if "--check" in sys.argv:
            wrong += not path.exists() or path.read_text() != text
        else:
            path.write_text(text)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
