"""``/metrics`` of the daemon, and the ``traceparent`` of requests in its log."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ptykill.http.trace import trace_of
from tests.daemon import serving
from tests.waiting import wait_until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def samples(text: str) -> dict[str, float]:
    """Return the samples of a scrape, by name, without those that have labels."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


def test_a_scrape_of_the_daemon(tmp_path: Path) -> None:
    """It needs the key, and tells of the daemon's own sessions."""
    with serving(key="secret") as place, httpx.Client(base_url=f"http://{place}") as anybody:
        refused = anybody.get("/metrics")
        assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHORIZED")
        assert anybody.get("/metrics", headers={"Host": "evil.example"}).status_code == 403
        anybody.headers["Authorization"] = "Bearer secret"
        assert anybody.post("/metrics").status_code == 405
        assert anybody.head("/metrics").content == b""
        body = {"command": "sleep", "args": ["60"]}
        created = anybody.post("/api/v1/pty", json=body).json()
        found = samples(anybody.get("/metrics").text)
        assert (found["ptykill_sessions_spawned_total"], found["ptykill_end_seconds_count"]) == (
            1,
            0,
        )
        assert anybody.delete(f"/api/v1/pty/{created['session_id']}").status_code == 204
        scraped = anybody.get("/metrics")
        assert scraped.headers["content-type"].startswith("text/plain; version=")
        assert samples(scraped.text)["ptykill_end_seconds_count"] == 1


def test_a_request_s_trace_is_in_the_log(tmp_path: Path) -> None:
    """Of the create in all events of the session, and of the DELETE in those of the request."""
    log = tmp_path / "log"
    other = TRACE.replace("4bf9", "5bf9")
    with (
        log.open("w") as file,
        serving(key="secret", log=file) as place,
        httpx.Client(base_url=f"http://{place}", headers={"Authorization": "Bearer secret"}) as api,
    ):
        body = {"command": "sleep", "args": ["60"]}
        created = api.post("/api/v1/pty", json=body, headers={"traceparent": TRACE}).json()
        ended = api.delete(f"/api/v1/pty/{created['session_id']}", headers={"traceparent": other})
        assert ended.status_code == 204
        plain = api.post("/api/v1/pty", json={"command": "true"}).json()

        def events() -> list[dict[str, object]]:
            return [json.loads(line) for line in log.read_text().splitlines()]

        def of(session: str, name: str) -> list[object]:
            return [
                each.get("traceparent")
                for each in events()
                if (each.get("session_id"), each["event"]) == (session, name)
            ]

        wait_until(lambda: of(plain["session_id"], "session.ended"))
        assert of(created["session_id"], "session.stopping") == [other]
        assert of(created["session_id"], "session.ended") == [TRACE]
        assert of(plain["session_id"], "session.ended") == [None]


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (TRACE, True),
        (TRACE.replace("00-4", "01-4"), True),
        (f"{TRACE}-more", False),
        (f"ff{TRACE[2:]}", False),
        (TRACE.upper(), False),
        ("00-" + "0" * 32 + TRACE[35:], False),
        (TRACE[:36] + "0" * 16 + "-01", False),
        ("", False),
    ],
)
def test_a_trace_that_is_invalid_is_left_out(value: str, known: bool) -> None:  # noqa: FBT001
    """A client may send anything: only what the standard allows gets into the log."""
    header = (b"traceparent", value.encode())
    assert trace_of([header]) == ({"traceparent": value} if known else {})
    assert trace_of([header, header]) == {}
