"""A real browser for the report pages: Debian's Chromium, headless, with a software WebGL 2."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import build_viewer

_FLAGS = [
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def viewer_built() -> None:
    """The 3D view's script, built when its sources changed."""
    build_viewer.build()


@pytest.fixture(scope="module")
def browser(viewer_built: None) -> Iterator[Browser]:
    """Chromium. It may be missing on a developer's machine, never where CI is set."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: apt-get install chromium")
        pytest.skip("chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=_FLAGS, chromium_sandbox=False)
        yield chromium
        chromium.close()
