"""A headless Chromium, the system's own. Tests are skipped, with the reason, where there is none."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def why_not() -> str | None:
    """Why no browser can be started; None if one can."""
    if importlib.util.find_spec("playwright") is None:
        return "the playwright package is not installed"
    if chromium() is None:
        return "no Chromium is installed (on Debian: apt install chromium)"
    return None


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    from playwright.async_api import async_playwright

    # Chromium's own sandbox refuses to run as root, which is what containers do.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            await browser.close()
