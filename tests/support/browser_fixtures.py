"""Debian's Chromium, headless, with a software WebGL 2."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from availability import in_ci
from playwright.sync_api import Browser, sync_playwright

_FLAGS = [
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_MISSING = "chromium is missing: apt-get install chromium"


@contextlib.contextmanager
def launched(*flags: str) -> Iterator[Browser]:
    """The browser. It may be missing on a developer's machine, never in CI."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        if in_ci():
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    with sync_playwright() as playwright:
        arguments = [*_FLAGS, *flags]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser
