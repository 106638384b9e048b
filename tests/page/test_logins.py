"""Logins and codes, on a clock of the test."""

from __future__ import annotations

import pytest

from ptykill.http.messages import Headers, Request
from ptykill.page import logins as module
from ptykill.page.logins import CODE_SECONDS, LOGIN_SECONDS, Logins
from ptykill.page.same_origin import is_from_own_page


class Clock:
    """A clock that goes when it is told."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_login_needs_its_cookie_and_its_proof() -> None:
    """Neither half counts by itself, nor with the half of another login."""
    logins = Logins()
    one, two = logins.begin(), logins.begin()
    found = logins.check(one.cookie, one.proof)
    assert found is not None
    assert logins.lives(found)
    for cookie, proof in (
        (one.cookie, two.proof),
        (two.cookie, one.proof),
        (one.cookie, ""),
        ("", one.proof),
        (one.proof, one.cookie),
    ):
        assert logins.check(cookie, proof) is None
    assert logins.end(one.cookie) == found.id
    assert logins.end(one.cookie) is None
    assert not logins.lives(found)
    assert logins.check(one.cookie, one.proof) is None
    assert logins.check(two.cookie, two.proof) is not None


def test_a_login_ends_by_itself() -> None:
    """It is valid for its time, and no longer."""
    clock = Clock()
    logins = Logins(clock)
    one = logins.begin()
    clock.now = LOGIN_SECONDS - 1
    found = logins.check(one.cookie, one.proof)
    assert found is not None
    assert found.seconds == 1
    clock.now = LOGIN_SECONDS
    assert logins.check(one.cookie, one.proof) is None
    assert not logins.lives(found)


def test_a_code_is_for_once_and_not_for_long() -> None:
    """A second use, a wrong code, and a late one are refused."""
    clock = Clock()
    logins = Logins(clock)
    first, second = logins.issue_code(), logins.issue_code()
    assert not logins.redeem(first + "x")
    assert logins.redeem(first)
    assert not logins.redeem(first)
    clock.now = CODE_SECONDS
    assert not logins.redeem(second)


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most logins, the oldest one ends."""
    monkeypatch.setattr(module, "MOST", 2)
    logins = Logins()
    made = [logins.begin() for _ in range(3)]
    alive = [logins.check(each.cookie, each.proof) is not None for each in made]
    assert alive == [False, True, True]


@pytest.mark.parametrize(
    ("method", "headers", "own"),
    [
        ("GET", {"sec-fetch-site": "same-origin"}, True),
        ("GET", {"sec-fetch-site": "same-site"}, False),
        ("GET", {"sec-fetch-site": "cross-site"}, False),
        ("GET", {"sec-fetch-site": "none"}, False),
        ("POST", {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:8022"}, False),
        ("POST", {"origin": "http://127.0.0.1:8022"}, True),
        ("POST", {"origin": "https://127.0.0.1:8022"}, True),
        ("POST", {"origin": "http://127.0.0.1:8023"}, False),
        ("POST", {"origin": "http://127.0.0.1"}, False),
        ("POST", {"origin": "null"}, False),
        ("POST", {"origin": "file://127.0.0.1:8022"}, False),
        ("POST", {"origin": "http://a@127.0.0.1:8022"}, False),
        ("POST", {}, False),
        ("DELETE", {}, False),
        ("GET", {}, True),
        ("GET", {"origin": "http://127.0.0.1:8023"}, False),
    ],
)
def test_which_requests_are_of_our_own_page(
    method: str, headers: dict[str, str], *, own: bool
) -> None:
    """Other ports of this machine are other origins, though a cookie goes to them."""
    pairs: Headers = tuple((n.encode(), v.encode()) for n, v in headers.items())
    request = Request(method, "/", headers=((b"host", b"127.0.0.1:8022"), *pairs))
    assert is_from_own_page(request) is own
