"""Runs one function in each world: trio, asyncio, uvloop, and a thread that blocks."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
import textwrap
from collections.abc import Callable, Coroutine
from typing import Any

import trio
import uvloop

import ptykill

__all__ = ["WORLDS", "run_in"]

WORLDS = ("trio", "asyncio", "uvloop", "blocking")

Body = Callable[..., Coroutine[Any, Any, None]]


def run_in(world: str, body: Body, *args: object) -> None:
    """Run a body with the package of that world as its first argument."""
    match world:
        case "trio":
            trio.run(body, ptykill, *args)
        case "asyncio":
            asyncio.run(body(ptykill.aio, *args))
        case "uvloop":
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(body(ptykill.aio, *args))
        case "blocking":
            blocking(body)(ptykill.blocking, *args)


def blocking(body: Body) -> Callable[..., None]:
    """Return a body without ``async`` and ``await``."""
    tree = _Plain().visit(ast.parse(textwrap.dedent(inspect.getsource(body))))
    module = sys.modules[body.__module__]
    names = dict(vars(module))
    exec(compile(ast.fix_missing_locations(tree), inspect.getfile(body), "exec"), names)
    made: Callable[..., None] = names[body.__name__]
    return made


class _Plain(ast.NodeTransformer):
    """Makes plain code of asynchronous code."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        return ast.copy_location(ast.FunctionDef(**dict(ast.iter_fields(node))), node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        return ast.copy_location(ast.With(**dict(ast.iter_fields(node))), node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        self.generic_visit(node)
        return ast.copy_location(ast.For(**dict(ast.iter_fields(node))), node)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        return node.value
