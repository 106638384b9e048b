"""What the pages on deployment run: nginx with a page's configuration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.docs.pages import TOP, blocks
from tests.waiting import TIMEOUT, free_port, listens, wait_until

__all__ = ["block", "needs_nginx", "nginx"]

_NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(_NGINX is None, reason="there is no nginx")

_AROUND = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{page}
}}
"""
"""What a distribution's nginx.conf has around a page's configuration, in one process."""


def block(page: str, kind: str, having: str) -> str:
    """Return the one block of a page that is of this kind, and has this text in it."""
    (found,) = [
        each.text
        for each in blocks(TOP / "docs" / page)
        if each.kind == kind and having in each.text
    ]
    return found


@contextmanager
def nginx(
    page: str, folder: Path, places: Mapping[str, str], tls: trustme.LeafCert | None = None
) -> Iterator[str]:
    """Run the nginx of a page, with TLS if it is given, and yield the address that it listens at.

    ``places`` are texts of the page and what stands for them here; each has to be there.
    """
    assert _NGINX is not None
    port = free_port()
    if tls is None:
        ssl, text = "", re.sub(r"\n *ssl_certificate\w* .*", "", page)
    else:
        ssl, text = " ssl", page.replace("/etc/nginx/", "")
        (folder / "ptys.pem").write_bytes(b"".join(each.bytes() for each in tls.cert_chain_pems))
        tls.private_key_pem.write_to_path(folder / "ptys.key")
    listen = f"listen 127.0.0.1:{port}{ssl};\n    listen 127.0.0.2:{port}{ssl};"
    for there, here in {"listen 443 ssl;": listen, "/var/log/nginx/": "", **places}.items():
        assert there in text, there
        text = text.replace(there, here)
    (folder / "nginx.conf").write_text(_AROUND.format(page=text))
    with subprocess.Popen(
        [_NGINX, "-p", f"{folder}/", "-c", "nginx.conf"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: process.poll() is not None or listens(port))
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, said
    assert "[emerg]" not in said
