"""The HTTP face: sessions created, listed, shown and killed by request, in any ASGI or WSGI host.

`Api` is the whole of it without I/O: a `Request` goes in, an operation or a `Response` comes out.
The two apps read requests, have the operations carried out, and write responses.
"""

from ptykill.http.api import Api
from ptykill.http.asgi import asgi_app
from ptykill.http.messages import Request, Response
from ptykill.http.wsgi import wsgi_app

__all__ = ["Api", "Request", "Response", "asgi_app", "wsgi_app"]
