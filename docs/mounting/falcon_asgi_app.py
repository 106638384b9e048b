import os

import falcon.asgi
import ptykill


class Index:
    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.text = "the site"


site = falcon.asgi.App()
site.add_route("/", Index())

host = ptykill.Host(plan="HUP@session 2s, KILL")
app = ptykill.asgi_middleware(site, host, key=os.environ["PTYKILL_API_KEY"], spawning=True)
