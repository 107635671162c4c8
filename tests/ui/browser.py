"""The browser that is on this machine, and the pictures for the docs that are taken in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, Playwright, sync_playwright

WIDTH, HEIGHT = 1400, 900
PICTURES = Path(__file__).resolve().parents[2] / "docs" / "images"
MAX_PICTURE = 150_000
"""Bytes."""

NO_BROWSER = (
    "there is no browser: install Chromium (Debian and Ubuntu: apt-get install chromium; elsewhere: "
    ".envs/test-ui/bin/playwright install chromium), or name one with CHROMIUM=/path/to/chromium"
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable(playwright: Playwright) -> str | None:
    """Where a Chromium is: one that is named, on PATH, or Playwright's own."""
    if named := os.environ.get("CHROMIUM"):
        return named
    own = playwright.chromium.executable_path
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    return found or (own if Path(own).exists() else None)


@contextmanager
def chromium() -> Iterator[Browser | None]:
    """The browser, if there is one."""
    with sync_playwright() as playwright:
        path = executable(playwright)
        if path is None:
            yield None
            return
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


def new_page(browser: Browser, stored: Mapping[str, Mapping[str, str]]) -> Page:
    """A page of the width that is tested. ``stored`` is what it finds in the local storage of each origin."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    for origin, items in stored.items():
        lines = "".join(f"localStorage.setItem({name!r}, {value!r});" for name, value in items.items())
        context.add_init_script(f"if (location.origin === {origin!r}) {{ {lines} }}")
    page = context.new_page()
    page.set_default_timeout(30_000)
    return page


def take_picture(name: str, of: Page | Locator) -> None:
    """Write a picture for the docs, if they are asked for (``make pictures``)."""
    if "PICTURES" not in os.environ:
        return
    PICTURES.mkdir(exist_ok=True)
    file = PICTURES / f"{name}.png"
    of.screenshot(path=file, animations="disabled")
    assert file.stat().st_size < MAX_PICTURE, f"{file} is too large for the docs"
