"""The pictures of the page about this: ``pytest tests/page --write-pictures`` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.docs.pages import TOP
from tests.page.browser import Browser
from tests.page.conftest import KEY
from tests.waiting import IDLE_LOOP

pytestmark = pytest.mark.long
PICTURES = TOP / "docs" / "pictures"
BUILD = (
    r"""trap : HUP; sleep 900 & setsid sleep 900 &
for step in configure compile link test; do printf "\033[32mok\033[0m  %s\n" $step; done
printf "\033[1mserving\033[0m on http://127.0.0.1:8000/ \033[2m(Ctrl-C ends it)\033[0m\n"
"""
    + IDLE_LOOP
)


@pytest.mark.parametrize(
    ("name", "width", "height", "dark"),
    [
        ("page-light", 1180, 800, False),
        ("page-dark", 1180, 800, True),
        ("page-phone", 390, 844, False),
    ],
)
def test_pictures(  # noqa: PLR0917 - fixtures
    browsers: Callable[..., Browser],
    daemon: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    name: str,
    width: int,
    height: int,
    *,
    dark: bool,
) -> None:
    """The page looks like a page: nothing is wider than the window, in each of the forms."""
    person = browsers(width, height)
    if name == "page-phone":
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        person.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        person.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    person.open(f"http://{daemon}/")
    person.js(f"localStorage.setItem('ptykill-theme', '{'dark' if dark else 'light'}')")
    person.log_in(daemon, KEY)
    overflow = (
        "const e = document.documentElement;"
        "return e.scrollWidth - e.clientWidth + document.body.scrollWidth - e.clientWidth"
    )
    assert person.js(overflow) == 0
    body = {"command": "sh", "args": ["-c", BUILD], "name": "build-7", "labels": {"team": "ci"}}
    session = httpx.post(
        f"http://{daemon}/api/v1/pty",
        headers={"Authorization": f"Bearer {KEY}"},
        json=body,
        trust_env=False,
        verify=False,
    ).json()["session_id"]
    person.click(f"tr[data-id='{session}'] a")
    person.until(lambda: "serving" in person.screen())
    assert person.shows(".keys") is (name == "page-phone")
    commands = "return [...document.querySelectorAll('td.command')].map(each => each.textContent)"
    person.until(lambda: person.js(commands).count("sleep 900") == 2)
    assert person.js(overflow) == 0
    if not dark:
        person.click("#end")
        person.until(lambda: "Over, killed" in person.text("#timeline .verdict"))
        assert person.js(overflow) == 0
    picture = tmp_path / f"{name}.png"
    assert person.driver.save_screenshot(str(picture))
    assert 10_000 < picture.stat().st_size < 200_000
    if request.config.getoption("--write-pictures", default=False):
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / picture.name).write_bytes(picture.read_bytes())
