import os

import ptykill
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the site")


urlpatterns = [path("", index)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])

host = ptykill.Host(plan="HUP@session 2s, KILL")
app = ptykill.asgi_middleware(
    get_asgi_application(), host, key=os.environ["PTYKILL_API_KEY"], spawning=True
)
