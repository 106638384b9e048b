"""A real Chromium without a screen, driven by selenium, and what a person does in the page."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from selenium import webdriver
from selenium.common.exceptions import (
    JavascriptException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.waiting import wait_until

__all__ = ["MISSING", "Browser", "browser"]

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING: Final = CHROMIUM is None or DRIVER is None
"""Whether there is no browser here."""
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--no-proxy-server",
)
_REPORTS = """
window.reports = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  reports.push(`${violatedDirective} ${blockedURI}`));
"""
"""Collects what the browser reports of the Content-Security-Policy, from before the page's own."""


class Browser:
    """One browser, with a profile of its own."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Open a page."""
        self.driver.get(url)

    def js(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - what JSON has
        """Run a script in the page; return what it returns, or what its promise becomes."""
        return self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            f"(async (...args) => {{ {script} }})(...arguments).then(done, e => done('' + e));",
            *arguments,
        )

    def find(self, selector: str) -> WebElement:
        """Wait for an element that is shown, and return it."""
        found: list[WebElement] = []

        def is_there() -> bool:
            with contextlib.suppress(NoSuchElementException, StaleElementReferenceException):
                element = self.driver.find_element(By.CSS_SELECTOR, selector)
                found[:] = [element] if element.is_displayed() else []
            return bool(found)

        wait_until(is_there)
        return found[0]

    def click(self, selector: str) -> None:
        """Click on an element, once it can be."""
        self.find(selector).click()

    def shows(self, selector: str) -> bool:
        """Return whether an element is there, and is shown."""
        with contextlib.suppress(NoSuchElementException, StaleElementReferenceException):
            return self.driver.find_element(By.CSS_SELECTOR, selector).is_displayed()
        return False

    def text(self, selector: str) -> str:
        """Return the text of an element; "" while there is none."""
        with contextlib.suppress(NoSuchElementException, StaleElementReferenceException):
            return self.driver.find_element(By.CSS_SELECTOR, selector).text
        return ""

    def screen(self) -> str:
        """Return the terminal's text; "" while there is no terminal."""
        with contextlib.suppress(JavascriptException):
            return str(
                self.driver.execute_script(
                    "return document.querySelector('#terminal')?.ptykill?.text() ?? ''"
                )
            )
        return ""

    def state(self) -> str:
        """Return the state of the terminal's connection; "" while there is no terminal."""
        return str(
            self.driver.execute_script(
                "return document.querySelector('#terminal')?.dataset.state ?? ''"
            )
        )

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so; if it is never, show what the page looks like."""
        try:
            wait_until(condition)
        except AssertionError:
            raise AssertionError(f"{self.text('body')}\n{self.screen()}\n{self.logs()}") from None

    def keys(self, *texts: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*texts).perform()

    def chord(self, modifier: str, key: str) -> None:
        """Press a key while a modifier is down."""
        ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def enter(self, text: str) -> None:
        """Type a line."""
        self.keys(text, Keys.ENTER)

    def logs(self) -> list[str]:
        """Return, once, what the browser has logged, and what it reports of the policy."""
        told = [
            f"{each['level']}: {each['message']}"
            for each in cast(Any, self.driver).get_log("browser")
        ]
        with contextlib.suppress(JavascriptException):
            told += self.driver.execute_script("return window.reports.splice(0)")
        return told

    def log_in(self, address: str, key: str) -> None:
        """Log in by the key."""
        self.open(f"http://{address}/")
        self.find("#key").send_keys(key, Keys.ENTER)
        self.find("#logout")

    def create(self, command: str) -> str:
        """Start a session by the dialog, and return its id; its terminal is open then."""
        self.click("#new")
        field = self.find("#create-command")
        field.clear()
        field.send_keys(command, Keys.ENTER)
        self.until(lambda: "#/s/" in self.driver.current_url)
        self.until(lambda: self.state() in {"open", "ended"})
        return self.driver.current_url.rpartition("/")[2]

    def reload(self) -> None:
        """Reload the page, and wait until the terminal is there again."""
        self.driver.refresh()
        self.until(lambda: self.state() in {"open", "ended"})


@contextmanager
def browser(width: int = 1200, height: int = 800, *options: str) -> Iterator[Browser]:
    """Run a browser, and end it."""
    assert CHROMIUM is not None
    assert DRIVER is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        chosen = webdriver.ChromeOptions()
        chosen.binary_location = CHROMIUM
        for each in (*_OPTIONS, *options, f"--user-data-dir={profile}"):
            chosen.add_argument(each)
        chosen.add_argument(f"--window-size={width},{height}")
        chosen.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=chosen, service=Service(DRIVER))
        try:
            driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _REPORTS})
            driver.set_script_timeout(60)
            yield Browser(driver)
        finally:
            driver.quit()
