"""A page in which people start, use and end sessions: a table of them, terminals, timelines.

`page_app` is an ASGI app that has the page at its root and the HTTP API below it. ``FILES`` is the
folder with the page's files; a host that shows a terminal in a page of its own serves them from
there.
"""

from __future__ import annotations

from ptykill.page.files_served import FILES
from ptykill.page.mount import page_app

__all__ = ["FILES", "page_app"]
