"""What a person does in the page, in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from ptykill.testing import processes
from tests.client.proxy import Proxy
from tests.page.browser import Browser
from tests.page.conftest import KEY
from tests.waiting import IDLE_LOOP, TIMEOUT, wait_until

pytestmark = pytest.mark.long
BASH = "bash --norc --noprofile"
Browsers = Callable[..., Browser]


def records(daemon: str) -> list[dict[str, object]]:
    """Return the records of all sessions, as a program is told."""
    answer = httpx.get(
        f"http://{daemon}/api/v1/pty",
        headers={"Authorization": f"Bearer {KEY}"},
        trust_env=False,
        verify=False,
    )
    found: list[dict[str, object]] = answer.json()["sessions"]
    return found


# --- logging in -----------------------------------------------------------------------------------


@pytest.fixture
def link() -> Iterator[str]:
    """Run ``ptykill serve`` without a key, and return the link that it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "PTYKILL_API_KEY"}
    with subprocess.Popen(
        [sys.executable, "-m", "ptykill", "serve", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as daemon:
        try:
            for line in cast(IO[str], daemon.stdout):
                if found := re.search(r"http://\S+/#login=\S+", line):
                    yield found[0]
                    break
        finally:
            daemon.terminate()
            daemon.communicate(timeout=TIMEOUT)


def test_the_printed_link_logs_in_once(link: str, browsers: Browsers) -> None:
    """The link logs in, leaves no trace in the address, and is worth nothing afterwards."""
    first, second = browsers(), browsers()
    first.open(link)
    first.find("#new")
    assert "login" not in first.driver.current_url
    second.open(link)
    second.until(lambda: "used already" in second.text("#wrong"))
    assert "login" not in second.driver.current_url
    # What a server refuses is logged by browsers, and is no error of the page.
    assert all("401" in each for each in second.logs())


def test_the_key_once_then_a_cookie_until_logging_out(browsers: Browsers, daemon: str) -> None:
    """A wrong key is refused; the right one lasts over a reload; logging out ends terminals."""
    one = browsers()
    one.open(f"http://{daemon}/")
    one.find("#key").send_keys("wrong", Keys.ENTER)
    one.until(lambda: "not the key" in one.text("#wrong"))
    one.logs()
    one.find("#key").send_keys(KEY, Keys.ENTER)
    one.find("#new")
    (cookie,) = one.driver.get_cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    one.driver.refresh()
    one.create(BASH)
    assert records(daemon)[0]["client_count"] == 1
    one.js(
        "const url = await import(new URL('page/api.js', document.baseURI));"
        f"window.kept = await url.attachUrl('{records(daemon)[0]['session_id']}', 'write');"
        "window.socket = new WebSocket(window.kept);"
        "await new Promise(r => socket.onopen = r);"
    )
    wait_until(lambda: records(daemon)[0]["client_count"] == 2)
    one.click("#logout")
    one.find("#key")
    wait_until(lambda: records(daemon)[0]["client_count"] == 0)
    assert one.driver.get_cookies() == []
    one.driver.refresh()
    one.find("#key")


# --- using a session ------------------------------------------------------------------------------


def test_create_type_see_reload(person: Browser, daemon: str) -> None:
    """A session is created by the dialog; what is typed is seen, also after a reload."""
    person.create(BASH)
    person.enter("echo $((40 + 2)) is the answer")
    person.until(lambda: "42 is the answer" in person.screen())
    before = person.screen()
    person.reload()
    person.until(lambda: person.screen() == before)
    person.enter("stty size")
    person.until(lambda: "stty size\n" in person.screen())
    (record,) = records(daemon)
    person.until(lambda: f"{record['rows']} {record['cols']}" in person.screen())
    assert record["cols"] != 80, "the window has the size of the page's terminal"


def test_the_window_follows_the_page(person: Browser, daemon: str) -> None:
    """A smaller page has a smaller window; the program is told."""
    person.create(BASH)
    before = records(daemon)[0]["cols"]
    person.driver.set_window_size(1000, 600)
    wait_until(lambda: records(daemon)[0]["cols"] != before)
    person.until(
        lambda: (
            person.js("return document.querySelector('#terminal').ptykill.terminal.cols")
            == records(daemon)[0]["cols"]
        )
    )


@pytest.mark.parametrize("program", ["vim", "top"])
def test_a_full_screen_program_looks_the_same_after_a_reload(
    person: Browser, program: str, tmp_path: Path
) -> None:
    """The text on the screen is the same before and after."""
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    text = tmp_path / "text"
    text.write_text("".join(f"line {n} of the text\n" for n in range(200)))
    command = f"vim -u NONE -i NONE {text}" if program == "vim" else "top -d 1000"
    person.create(command)
    if program == "vim":
        person.until(lambda: str(text)[:20] in person.screen())
        person.keys(Keys.ENTER)  # Its first message may have been too long for a line.
        person.until(lambda: "line 5 of" in person.screen())
        person.keys("60Gihello ", Keys.ESCAPE)
        person.until(lambda: "hello line 59" in person.screen())
    else:
        person.until(lambda: "PID USER" in person.screen())
    time.sleep(1)  # What it draws after that.
    before = person.screen()
    person.reload()
    person.until(lambda: person.screen() == before)
    person.keys(":q!\n" if program == "vim" else "q")
    person.until(lambda: person.state() == "ended")


def test_the_connection_is_cut(browsers: Browsers, daemon: str) -> None:
    """The terminal comes back where it was: no byte twice, none lost; so does the table."""
    proxy = Proxy(int(daemon.rpartition(":")[2]))
    try:
        person = browsers()
        person.log_in(f"127.0.0.1:{proxy.port}", KEY)
        person.create(BASH)
        person.enter("for i in $(seq 1 9); do sleep 0.3; echo number $i; done; echo all-done")
        person.until(lambda: "number 2" in person.screen())
        proxy.refuse()
        person.until(lambda: person.state() == "lost")
        proxy.accept_again()
        person.until(lambda: person.state() == "open")
        person.until(lambda: "\nall-done" in person.screen())
        lines = [each for each in person.screen().splitlines() if each.startswith("number")]
        assert lines == [f"number {i}" for i in range(1, 10)]
        person.enter("echo here again")
        person.until(lambda: "\nhere again" in person.screen())
        # A browser logs each connection that fails.
        assert all("ERR_" in each or "WebSocket connection" in each for each in person.logs())
        person.click("#back")
        person.until(lambda: not person.shows("#link"))
    finally:
        proxy.close()
    person.logs()


def test_two_browsers_on_one_session(browsers: Browsers, daemon: str) -> None:
    """Both see what one types; the table of a third shows two clients; one that reads is deaf."""
    one, two = browsers(), browsers(900, 700)
    one.log_in(daemon, KEY)
    two.log_in(daemon, KEY)
    session = one.create(BASH)
    two.until(lambda: BASH in two.text("table"))
    two.click(f"tr[data-id='{session}'] a")
    two.until(lambda: two.state() == "open")
    wait_until(lambda: records(daemon)[0]["client_count"] == 2)
    two.enter("echo from two")
    one.until(lambda: "\nfrom two" in one.screen())
    one.enter("echo from one")
    two.until(lambda: "\nfrom one" in two.screen())
    size = records(daemon)[0]["cols"]
    for each in one, two:
        each.until(
            lambda each=each: (  # type: ignore[misc]
                each.js("return document.querySelector('#terminal').ptykill.terminal.cols") == size
            )
        )
    two.click("#lock")
    two.until(lambda: two.driver.current_url.endswith("/read") and two.state() == "open")
    two.click("#terminal")
    two.enter("echo not this")
    one.enter("echo but this")
    two.until(lambda: "\nbut this" in two.screen())
    assert "not this" not in one.screen()


def test_a_flood_stays_usable(person: Browser) -> None:
    """Ten megabytes arrive, a key typed in an endless flood is heard, and the page answers."""
    person.create(BASH)
    began = time.monotonic()
    person.enter("seq 1 1400000; echo flood-over")
    person.until(lambda: "\nflood-over" in person.screen())
    took = time.monotonic() - began
    offset = person.js("return document.querySelector('#terminal').ptykill.offset")
    assert offset > 10_000_000
    assert "\n1400000\n" in person.screen()
    person.enter("while echo $RANDOM$RANDOM$RANDOM$RANDOM$RANDOM$RANDOM; do :; done")
    time.sleep(2)
    pressed = time.monotonic()
    person.chord(Keys.CONTROL, "c")
    person.until(lambda: re.search(r"\^C[^$]*\$ $|bash-\S+[$#]\s*$", person.screen().rstrip("\n")))
    heard = time.monotonic() - pressed
    person.enter("echo still usable")
    person.until(lambda: "\nstill usable" in person.screen())
    print(f"10 MB in {took:.1f} s; Ctrl-C after {heard:.2f} s")  # noqa: T201
    assert heard < 30


# --- the end --------------------------------------------------------------------------------------

DEAF = f"sh -c 'trap : HUP; sleep 1000 & setsid sleep 1000 & {IDLE_LOOP}'"


def test_a_kill_and_its_timeline(person: Browser, daemon: str, mark: str) -> None:
    """The timeline shows the steps, the deaths and the verdict; also after a reload."""
    person.create(DEAF)
    commands = "return [...document.querySelectorAll('td.command')].map(each => each.textContent)"
    person.until(lambda: person.js(commands).count("sleep 1000") == 2)
    person.click("#end")
    person.until(lambda: "Over, killed" in person.text("#timeline .verdict"))
    told = person.text("#timeline .steps")
    assert "HUP@session" in told
    assert "TERM@escaped" in told
    assert "KILL@all" in told
    assert told.count("sleep") >= 2
    assert "ended: killed" in told
    # One sleep heard SIGHUP, the daemon SIGTERM; the shell is deaf, and was killed.
    assert person.js("return document.querySelectorAll('.chart .gone').length") >= 2
    assert person.js("return document.querySelectorAll('.chart .killed').length") >= 1
    assert [each for each in processes.marked(mark) if each.name in {"sh", "sleep"}] == []
    assert not person.shows("#end")
    person.driver.refresh()
    person.until(lambda: "ended: killed" in person.text("#timeline .steps"))
    assert "KILL@all" in person.text("#timeline .steps")
    person.click("#back")
    person.until(lambda: "ended, exit 137" in person.text("table"))
    assert [each["status"] for each in records(daemon)] == ["ended"]


def test_the_grace_slider(person: Browser, daemon: str) -> None:
    """The grace of the slider is the DELETE's: with 1 s, SIGKILL comes after a second."""
    person.create(DEAF)
    slider = person.find("#grace")
    slider.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert person.text("#grace-shown") == "1.0 s"
    person.click("#end")
    person.until(lambda: "ending" in person.text(".state") or "ended" in person.text(".state"))
    person.until(lambda: "Over, killed" in person.text("#timeline .verdict"))
    found = re.search(r"([\d.]+) s +KILL", person.text("#timeline .steps"))
    assert found is not None
    assert 1.0 <= float(found[1]) < 30


def test_members_signals_interrupt_and_deadlines(person: Browser, daemon: str) -> None:
    """Each panel does what it says."""
    person.create(f"sh -c 'trap \"echo usr1 came\" USR1; {IDLE_LOOP}'")
    person.until(lambda: "fg" in person.text(".members"))
    person.find("#signal").send_keys("USR1")
    person.find("#reach").send_keys("leader")
    person.click("#signals button")
    person.until(lambda: "SIGUSR1 was sent to 1" in person.text("#notice"))
    person.until(lambda: "usr1 came" in person.screen())
    person.until(lambda: "user seconds" in person.text(".usage"))
    person.js("document.querySelector('#deadline-lifetime').closest('details').open = true")
    person.find("#deadline-lifetime").send_keys("3600", Keys.ENTER)
    wait_until(lambda: records(daemon)[0]["deadlines"]["lifetime"] == 3600)  # type: ignore[index]
    person.click("#interrupt")
    person.until(lambda: "ended, exit 130" in person.text(".state"))


# --- keyboard, phone, screen reader ---------------------------------------------------------------


def test_by_keyboard_alone(person: Browser, daemon: str) -> None:
    """Create, use, leave and end a session without a pointer."""

    def tab_to(selector: str) -> None:
        for _ in range(40):
            if person.js("return document.activeElement.matches(arguments[0])", selector):
                return
            person.keys(Keys.TAB)
        pytest.fail(f"no way to {selector}")

    tab_to("#new")
    person.keys(Keys.ENTER)
    person.until(lambda: person.shows("#create-command"))
    person.keys(BASH, Keys.ENTER)
    person.until(lambda: person.state() == "open")
    person.enter("echo by keys")
    person.until(lambda: "\nby keys" in person.screen())
    person.chord(Keys.SHIFT, Keys.F6)
    person.until(lambda: person.js("return document.activeElement.id === 'copy'"))
    tab_to("#now")
    person.keys(Keys.ENTER)
    wait_until(lambda: records(daemon)[0]["status"] == "ended")


def test_copy_and_paste(person: Browser) -> None:
    """Copied text is the selection, or the screen; pasted text is typed, in brackets if asked."""
    person.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    person.create(BASH)
    person.enter("echo some-text")
    person.until(lambda: "\nsome-text" in person.screen())
    person.click("#copy")
    person.until(lambda: "Copied" in person.text("#notice"))
    assert "\nsome-text" in str(person.js("return navigator.clipboard.readText()"))
    person.js("await navigator.clipboard.writeText('echo pasted text')")
    person.click("#paste")
    person.until(lambda: "echo pasted text" in person.screen())
    person.keys(Keys.ENTER)
    person.until(lambda: "\npasted text" in person.screen())


def test_a_screen_reader_gets_names_and_lines(person: Browser) -> None:
    """Every control has a name, and the terminal's lines are in the accessibility tree."""
    person.create(BASH)
    person.click("#reader")
    person.click("#terminal")
    person.enter("echo for the ears")
    person.until(
        lambda: person.js(
            "return [...document.querySelectorAll('.xterm-accessibility [role=listitem]')]"
            ".some(each => each.textContent.startsWith('for the ears'))"
        )
    )
    tree = person.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "link", "textbox", "checkbox", "combobox", "slider", "spinbutton"}
    nameless = [
        node
        for node in tree
        if not node.get("ignored")
        and node.get("role", {}).get("value") in roles
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []


# --- what is hostile ------------------------------------------------------------------------------


def test_hostile_names_commands_and_output(person: Browser, daemon: str) -> None:
    """Markup in a label, a command or the output is text, and nothing of it runs."""
    evil = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
    link = r"\033[38;2;1;2;3;48;2;9;8;7m24 bits\033[m "
    link += r"\033]0;%s\007\033]8;;javascript:alert(1)\007click\033]8;;\007\n"
    script = f"printf '%s\\n' \"$0\"; printf '{link}' \"$0\"; sleep 1000"
    made = httpx.post(
        f"http://{daemon}/api/v1/pty",
        headers={"Authorization": f"Bearer {KEY}"},
        json={"command": "sh", "args": ["-c", script, evil], "labels": {"evil": evil[:63]}},
        trust_env=False,
        verify=False,
    )
    session = made.json()["session_id"]
    person.until(lambda: evil[:20] in person.text("table"))
    person.click(f"tr[data-id='{session}'] a")
    person.until(lambda: "click" in person.screen())
    assert "<img src=x" in person.screen()
    colour = "return [...document.querySelectorAll('.xterm-rows span')].some(each => "
    colour += "getComputedStyle(each).color === 'rgb(1, 2, 3)')"
    person.until(lambda: person.js(colour))
    person.until(lambda: "<img" in person.text(".members"))
    person.click("#now")
    person.until(lambda: "Over" in person.text("#timeline .verdict"))
    assert person.js("return window.hacked ?? null") is None
    assert person.js("return document.querySelectorAll('main img, main script').length") == 0
