"""A real, headless Chromium, and what was on its screen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def missing() -> str:
    """Return what is missing to run it; empty when nothing is."""
    return "" if shutil.which(CHROMIUM) else f"{CHROMIUM} is not there: invoke provision"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser of one's own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


def artifacts() -> Path:
    """Return where screenshots are kept that are to be looked at; git ignores it."""
    folder = Path(__file__).parents[2] / ".artifacts"
    folder.mkdir(exist_ok=True)
    return folder
