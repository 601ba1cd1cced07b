"""A real browser for the report pages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from browser_fixtures import chromium
from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import build_viewer

__all__ = ["chromium"]


@pytest.fixture(scope="session")
def viewer_built() -> None:
    """The 3D view's script, built when its sources changed."""
    build_viewer.build()


@pytest.fixture(scope="module")
def browser(viewer_built: None, chromium: Browser) -> Browser:
    return chromium
