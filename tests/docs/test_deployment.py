"""The pages on systemd and nginx: systemd takes the unit, and nginx works as it is configured."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from tests.daemon import serving
from tests.docs.running import block, needs_nginx, nginx
from tests.waiting import TIMEOUT, wait_until

KEY = "key-behind-nginx"
ALL = "/api/v1/pty"
AUTH = {"Authorization": f"Bearer {KEY}"}
NAME = "ptys.example.com"
PINGS_EVERY = 4


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_finds_nothing_amiss(tmp_path: Path) -> None:
    """The unit has no unknown name, no wrong value, and nothing that is missing."""
    unit = block("how-to-systemd.md", "ini", "[Service]")
    assert "/opt/ptykill/bin/ptykill" in unit
    file = tmp_path / "ptykill.service"
    true = shutil.which("true")
    file.write_text(unit.replace("/opt/ptykill/bin/ptykill", str(true)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(file)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "ptykill" in line] == []
    assert done.returncode == 0, done.stderr


@pytest.fixture
def authority() -> trustme.CA:
    """Return the authority that signs the certificate of the page's nginx."""
    return trustme.CA()


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """Return the trust of a client in this authority, and in no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
def proxy(tmp_path: Path, authority: trustme.CA) -> Iterator[str]:
    """Run the page's nginx before a daemon on a socket, which may be silent for a moment only."""
    socket = str(tmp_path / "socket")
    places = {
        "/run/ptykill/socket": socket,
        "proxy_read_timeout 75s": f"proxy_read_timeout {2 * PINGS_EVERY}s",
    }
    page = block("how-to-nginx.md", "nginx", "unix:")
    tls = authority.issue_cert(NAME, "127.0.0.1")
    with serving("--uds", socket, key=KEY), nginx(page, tmp_path, places, tls) as address:
        yield address


@needs_nginx
@pytest.mark.long
def test_all_goes_through_nginx(proxy: str, trust: ssl.SSLContext, tmp_path: Path) -> None:
    """Pages of the same name may ask, long bodies are answered in JSON, silence is no end."""
    host, _, port = proxy.partition(":")
    headers = {**AUTH, "Host": NAME}
    in_the_clear = httpx.get(f"http://{proxy}{ALL}", headers=headers, trust_env=False)
    assert in_the_clear.status_code == 400
    with httpx.Client(
        base_url=f"https://{proxy}",
        headers=headers,
        timeout=TIMEOUT,
        trust_env=False,
        verify=trust,
    ) as client:
        assert client.get("/healthz").status_code == 404
        for origin, status in (f"https://{NAME}", 200), ("https://other.example", 403):
            assert client.get(ALL, headers={"Origin": origin}).status_code == status
        answer = client.post(ALL, content=bytes(3 << 19), headers={"Content-Type": "text/json"})
        assert answer.json()["code"] == "UNSUPPORTED_MEDIA_TYPE"
        script = f"sleep {3 * PINGS_EVERY}; echo spoken; sleep 1000"
        told = client.post(ALL, json={"command": "sh", "args": ["-c", script]}).json()
        place = f"{ALL}/{told['session_id']}"
        with connect(
            f"wss://{NAME}{place}/ws?token={told['token']}",
            additional_headers=AUTH,
            address=(host, int(port)),
            ssl=trust,
            proxy=None,
            ping_interval=None,
        ) as socket:
            socket.send(b"\x02")
            assert socket.recv(TIMEOUT) == b"\x00spoken\r\n"
            assert client.delete(place).status_code == 204
            for _ in socket:
                pass
            assert socket.close_reason == "session terminated"
    wait_until(lambda: f"GET {place}/ws" in (tmp_path / "ptykill.log").read_text())
    assert told["token"] not in (tmp_path / "ptykill.log").read_text()
