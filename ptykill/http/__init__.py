"""The HTTP face: sessions created, shown, talked to and killed, in any ASGI or WSGI host.

`ptykill.http.api.Api` is the whole of it without I/O: a request goes in, an operation or a response
comes out. The apps read requests, have the operations carried out, and write responses; a server
that is neither ASGI nor WSGI makes a `Request` of its own, and awaits `AsgiApp.respond`.
"""

from ptykill.http.messages import Request, Response
from ptykill.http.mount import ApiOptions, AsgiApp, WsgiApp, asgi_app, asgi_middleware, wsgi_app

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
