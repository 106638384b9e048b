"""The HTTP face: sessions created, shown, talked to and killed, in any ASGI or WSGI host.

`ptykill.http.api.Api` is the whole of it without I/O: a request goes in, an operation or a response
comes out. The two apps read requests, have the operations carried out, and write responses.
"""

from ptykill.http.mount import asgi_app, wsgi_app

__all__ = ["asgi_app", "wsgi_app"]
