import os
from collections.abc import Callable, Iterable
from typing import Any

import ptykill
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the site")


urlpatterns = [path("", index)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])

host = ptykill.Host(plan="HUP@session 2s, KILL")
sessions = ptykill.wsgi_app(host, key=os.environ["PTYKILL_API_KEY"], spawning=True)
site = get_wsgi_application()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    ours = environ["PATH_INFO"].startswith("/api/v1/pty")
    return (sessions if ours else site)(environ, start_response)
