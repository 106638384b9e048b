"""Names, labels and idempotency keys over HTTP, on each kind of server."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
from typing import Any

import httpx
import pytest

from ptykill import Outcome, Survivor
from ptykill.http.api import Api
from ptykill.http.operations import Create, KillMatching, List
from ptykill.rules.naming import Selector
from tests.http.conftest import Server
from tests.http.test_api import VERDICT, api, create, refused, request

SLEEPER = {"command": "sleep", "args": ["300"]}


# --- requests and answers -------------------------------------------------------------------------


def test_a_query_selects() -> None:
    """Labels with and without a value, and a name."""
    wanted = Selector({"team": "ci", "a/b": None, "c": "", "d": "x=y"}, "build")
    query = "label=team=ci&label=a/b&label=c=&label=d=x%3Dy&label=team%3Dci&name=build"
    assert api.read(request("GET", query=query)) == List(0, 1000, wanted)
    assert api.read(request("DELETE", query=query + "&grace=1")) == KillMatching(wanted, 1.0)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "grace=1",
        "lable=team=ci",
        "label=team=ci&lable=n=1",
        "label=",
        "label==ci",
        "label=a&label=a=1",
        "label=a=1&label=a=2",
        "label=a=%0a",
        "name=",
        "name=a&name=b",
        "name=a%20b",
        "label=a&grace=soon",
    ],
)
def test_a_kill_needs_a_filter_that_is_right(query: str) -> None:
    """No filter, a misspelled one, or one that contradicts another is 400: nothing is ended."""
    status, code = refused(api.read(request("DELETE", query=query)))
    assert status == 400
    assert code in {"INVALID_REQUEST", "INVALID_GRACE"}


def test_a_kill_of_all_that_match_needs_no_spawning() -> None:
    """A mount that starts nothing ends what its host has started."""
    answer = Api(key=None).read(request("DELETE", query="label=a"))
    assert answer == KillMatching(Selector({"a": None}))


def test_a_create_has_a_name_labels_and_a_key() -> None:
    """They are read; null is the same as left out."""
    asked = create(command="sh", name="build", labels={"team": "ci"})
    assert asked == Create(command=("sh",), name="build", labels={"team": "ci"})
    assert create(command="sh", name=None, labels=None) == Create(command=("sh",))
    headers = (*request("GET").headers, (b"idempotency-key", b"k 1"))
    keyed = request("POST", body=b'{"command": "sh"}', headers=headers)
    assert api.read(keyed) == Create(command=("sh",), key="k 1")
    twice = dataclasses.replace(keyed, headers=(*headers, (b"idempotency-key", b"k 2")))
    assert refused(api.read(twice)) == (400, "INVALID_REQUEST")


def test_a_kill_of_many_is_200_only_if_all_are_over() -> None:
    """Otherwise it is 500, and the body has the result of each."""
    left = Survivor(4000, name="deaf", state="D", why="uninterruptible sleep")
    stuck = dataclasses.replace(
        VERDICT, session_id="t", empty=False, outcome=Outcome.STUCK, survivors=(left,)
    )
    over = {"session_id": "s", "ended": True, "took_ms": 750.0}
    good = api.answer((VERDICT, VERDICT))
    assert (good.status, json.loads(good.body)) == (200, {"sessions": [over, over]})
    assert json.loads(api.answer(()).body) == {"sessions": []}
    bad = api.answer((VERDICT, stuck))
    told = json.loads(bad.body)
    assert (bad.status, told["code"]) == (500, "SESSIONS_NOT_EMPTY")
    assert told["error"] == "1 of 2 sessions are not over"
    assert told["sessions"][0] == over
    assert told["sessions"][1]["ended"] is False
    assert told["sessions"][1]["code"] == "KILL_UNINTERRUPTIBLE"
    assert "4000" in told["sessions"][1]["error"]


# --- real servers ---------------------------------------------------------------------------------


def started(client: httpx.Client, server: Server, **fields: Any) -> str:  # noqa: ANN401
    """Start a session, and return its id."""
    answer = client.post(server.url, json={**SLEEPER, **fields})
    assert answer.status_code == 201, answer.text
    session: str = answer.json()["session_id"]
    return session


def test_lists_and_kills_select(server: Server) -> None:
    """The list shows those that match; a kill ends these, and no other."""
    with server.client() as client:
        one = started(client, server, labels={"team": "ci"}, name="one")
        two = started(client, server, labels={"team": "ci", "n": "2"})
        taken = client.post(server.url, json={**SLEEPER, "name": "one"})
        assert (taken.status_code, taken.json()["code"]) == (409, "NAME_TAKEN")
        web = started(client, server, labels={"team": "web"})

        def listed(query: str) -> list[str]:
            answer = client.get(f"{server.url}?{query}")
            return [each["session_id"] for each in answer.json()["sessions"]]

        assert listed("label=team=ci") == [one, two]
        assert listed("label=team=ci&label=n") == [two]
        assert listed("name=one") == [one]
        assert listed("label=team&limit=2") == [one, two]
        record = client.get(f"{server.url}/{one}").json()
        assert (record["name"], record["labels"]) == ("one", {"team": "ci"})
        assert (record["status"], record["client_count"]) == ("running", 0)
        refused = client.delete(server.url)
        assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_REQUEST")
        answer = client.delete(f"{server.url}?label=team=ci")
        assert answer.status_code == 200
        ends = answer.json()["sessions"]
        assert [(each["session_id"], each["ended"]) for each in ends] == [(one, True), (two, True)]
        states = {each["session_id"]: each for each in client.get(server.url).json()["sessions"]}
        assert [states[each]["status"] for each in (one, two, web)] == ["ended", "ended", "running"]
        assert states[one]["is_alive"] is False
        again = client.delete(f"{server.url}?name=one")
        assert (again.status_code, len(again.json()["sessions"])) == (200, 1)
        assert client.delete(f"{server.url}/{web}").status_code == 204


def test_a_create_with_a_key_starts_one_program(server: Server) -> None:
    """Sent at the same time, later and after the end, it gets the same answer."""
    headers = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}

    def create(**changes: object) -> httpx.Response:
        return client.post(server.url, json={**SLEEPER, **changes}, headers=headers)

    with server.client() as client:
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            answers = [each.result() for each in [pool.submit(create) for _ in range(5)]]
        assert {each.status_code for each in answers} == {201}
        assert len({each.text for each in answers}) == 1
        other = create(rows=25)
        assert (other.status_code, other.json()["code"]) == (422, "KEY_REUSED")
        session = answers[0].json()["session_id"]
        assert client.delete(f"{server.url}/{session}").status_code == 204
        assert create().text == answers[0].text
        assert len(client.get(server.url).json()["sessions"]) == 1


def test_a_failed_create_frees_its_key(server: Server) -> None:
    """The same create fails again, for the same reason; a right one with the key starts."""
    headers = {"Idempotency-Key": "k"}
    with server.client() as client:
        wrong = {"command": "/no/such/command"}
        codes = [
            client.post(server.url, json=wrong, headers=headers).json()["code"] for _ in range(2)
        ]
        assert codes == ["COMMAND_NOT_FOUND"] * 2
        answer = client.post(server.url, json=SLEEPER, headers=headers)
        assert answer.status_code == 201
