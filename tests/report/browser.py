"""A real headless Chromium that opens a page from disk, without a network.

Playwright (of the `dev` extra) drives the machine's own Chromium: `apt install chromium`, or CHROMIUM names another.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Width and height of the window.
DESK, TELEPHONE = (1280, 800), (390, 844)
#: Milliseconds that a page may take at most, before the test gives it up.
PATIENCE = 60_000


def chromium() -> Path:
    """The program; the test is skipped where there is none, or nothing to drive it."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install 'hwgen[dev]'")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("no Chromium on PATH: apt install chromium")
    return Path(found)


@contextmanager
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    program = chromium()
    with sync_playwright() as playwright:
        # As root there is no sandbox; what it opens are pages that the test wrote.
        made = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield made
        finally:
            made.close()


def most_seconds() -> float:
    """Until a page is drawn, on an idle machine; where more processes want to run than there are cores, in proportion.
    """
    return 2.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@contextmanager
def opened(made, file: Path, size: tuple[int, int] = DESK, scheme: str = "light") -> Iterator:
    """The page when all plots are drawn. Whatever it asks for beside its file, and every error, is one of the test."""
    context = made.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True, has_touch=size == TELEPHONE,
    )  # fmt: skip
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    try:
        page.goto(file.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn", timeout=PATIENCE)
        yield page
        assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
        assert errors == []
    finally:
        context.close()
