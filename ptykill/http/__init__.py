"""The HTTP API: clients create, list, attach to and kill sessions, in any ASGI or WSGI server.

`ptykill.http.api.Api` is the API without I/O: it turns a request into an operation or a response.
The apps read requests, carry out the operations, and write responses. A server that is neither
ASGI nor WSGI makes a `Request` itself, and awaits `AsgiApp.respond`.
"""

# As in `ptykill`: a client, which needs the schemas alone, does not load the supervisor.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from ptykill.http.messages import Request, Response
    from ptykill.http.mount import (
        ApiOptions,
        AsgiApp,
        WsgiApp,
        asgi_app,
        asgi_middleware,
        wsgi_app,
    )
else:

    def __getattr__(name: str) -> object:
        """Import a public name."""
        from importlib import import_module  # noqa: PLC0415

        if name not in __all__:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg, name=name)
        place = "messages" if name in {"Request", "Response"} else "mount"
        value = globals()[name] = getattr(import_module(f"ptykill.http.{place}"), name)
        return value

    def __dir__() -> list[str]:
        """List all public names."""
        return sorted({*globals(), *__all__})


__all__ = [
    "ApiOptions",
    "AsgiApp",
    "Request",
    "Response",
    "WsgiApp",
    "asgi_app",
    "asgi_middleware",
    "wsgi_app",
]
