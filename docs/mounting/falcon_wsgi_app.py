import os
from collections.abc import Callable, Iterable
from typing import Any

import falcon
import ptykill


class Index:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.text = "the site"


site = falcon.App()
site.add_route("/", Index())

host = ptykill.Host(plan="HUP@session 2s, KILL")
sessions = ptykill.wsgi_app(host, key=os.environ["PTYKILL_API_KEY"], spawning=True)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    ours = environ["PATH_INFO"].startswith("/api/v1/pty")
    return (sessions if ours else site)(environ, start_response)
