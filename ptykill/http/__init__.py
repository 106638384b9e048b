"""The HTTP API: clients create, list, attach to and kill sessions, in any ASGI or WSGI server.

`ptykill.http.api.Api` is the API without I/O: it turns a request into an operation or a response.
The apps read requests, carry out the operations, and write responses. A server that is neither
ASGI nor WSGI makes a `Request` itself, and awaits `AsgiApp.respond`.
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
