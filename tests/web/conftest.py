"""Chromium, and the page that a test module names by its fixture ``address``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def browser():
    """Chromium; the tests are skipped where it or playwright is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM or not Path(CHROMIUM).exists():
        pytest.skip("chromium not found: install it (Debian package chromium) or set CHROMIUM")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(params=WIDTHS, ids=[f"{w}px" for w in WIDTHS])
def page(request, browser, address):
    """The page at ``address`` at one width; every request but the file itself is noted and refused."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    tab = context.new_page()
    tab.asked, tab.said = [], []

    def gate(route):
        if route.request.url == address:
            route.continue_()
        else:
            tab.asked.append(route.request.url)
            route.abort()

    tab.route("**/*", gate)
    tab.on("console", lambda message: tab.said.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: tab.said.append(f"error: {error}"))
    tab.goto(address)
    yield tab
    context.close()
