from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Visit:
    """One page of a browser, with everything that its console complained of."""

    page: Page
    site: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Go to an address of the site."""
        self.page.goto(f"{self.site}{path}")

    def sign_in(self, name: str) -> None:
        """Sign in; in tests the password is the name."""
        self.open("/admin/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(name)
        self.page.get_by_role("button", name="Log in").click()

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def note(self, message: ConsoleMessage) -> None:
        """Remember an error or a warning of the console."""
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def note_error(self, error: Error) -> None:
        """Remember what a script threw."""
        self.complaints.append(str(error))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window; for one module, since its loop runs in this thread until it ends."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("NO BROWSER: the pages were not tested. Install one: apt-get install chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # no query of ours is inside that loop
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *sandbox])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, live_server: LiveServer, valkey_server: str) -> Iterator[Callable[..., Visit]]:
    """Open windows on the running site; at the end no console may have complained of anything."""
    opened: list[Visit] = []

    def open_window(*, width: int = 1440, scheme: Literal["dark", "light"] = "light") -> Visit:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        shown = Visit(context.new_page(), live_server.url)
        shown.page.on("console", shown.note)
        shown.page.on("pageerror", shown.note_error)
        opened.append(shown)
        return shown

    yield open_window
    complaints = [complaint for shown in opened for complaint in shown.complaints]
    for shown in opened:
        shown.page.context.close()
    assert complaints == []
