"""Makes the app that has the page: `page_app`."""

from __future__ import annotations

from typing import Unpack

from ptykill.embedding.host import Host
from ptykill.engine.supervisor import Supervisor
from ptykill.http.mount import ApiOptions, AsgiApp, checked_target, needing_msgspec

__all__ = ["page_app"]


def page_app(
    target: Supervisor | Host, *, key: str | None, **options: Unpack[ApiOptions]
) -> AsgiApp:
    """Return an ASGI 3 app that has the page at its root, and the HTTP API below ``prefix``.

    The parameters are those of `ptykill.asgi_app`. People log in with ``key`` once, and have a
    cookie from then on. None means that the host authenticates its clients, for the page and the
    API alike. With ``spawning`` they may start programs. Mount it at a path, and open that path
    with a slash at its end.

    Needs the extra ``http``. Raises `InvalidArgument` and `InvalidGrace`.
    """
    checked_target(target)
    needing_msgspec()
    from ptykill.http.api import Api  # noqa: PLC0415 - these need msgspec
    from ptykill.http.asgi import Application  # noqa: PLC0415
    from ptykill.page.app import PageApp  # noqa: PLC0415

    api = Api(key=key, **options)
    return PageApp(api, Application(api, target))
