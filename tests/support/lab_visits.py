"""A person on the web page: starts a scene from its example by clicks, and looks at it in 3D. For any source."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import FrameLocator, Page, expect

WIDTHS = (1280, 390)
"""Of a desk and of a telephone."""
PATIENCE = 120_000
"""Milliseconds for a picture: without a GPU and beside other work, a frame of a scene takes seconds."""
_SETTLED = "[data-splat-viewer]:not([data-state=loading])"
_PICTURE = 0.8
"""Of the height of the 3D view; below are its buttons."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Visit:
    """An open page, and the folder for its pictures."""

    page: Page
    pictures: Path

    def look(self, name: str, report: Page | FrameLocator | None = None) -> None:
        """Keeps a picture of the page at each width; no page may be wider than the window.

        Of a page with a report that is what the window shows once the 3D view has been drawn: without a GPU, a picture
        of the whole page takes minutes.
        """
        size = self.page.viewport_size
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 844})
            self.page.wait_for_timeout(500)
            if report is not None:
                _wait_until_drawn(report)
            path = self.pictures / f"{name}-{width}.png"
            self.page.screenshot(path=path, full_page=report is None, timeout=PATIENCE)
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} at {width} pixels"
        if size is not None:
            self.page.set_viewport_size(size)

    def start_scene(self, name: str, photograph: Path, fields: Mapping[str, str] | None = None) -> str:
        """From the overview of an empty lab to the page of the new object; the manifest and command shown on the way.

        Args:
            name: of the object.
            photograph: is uploaded.
            fields: what is changed in the form, by label: an option where there are options, else a text.
        """
        self.look("1-empty")
        self.page.get_by_role("link", name="Start from an example").click()
        self.look("2-examples")
        self.page.get_by_role("link", name="A scene from one photograph").click()
        self.page.get_by_label("Name", exact=True).fill(name)
        for label, value in (fields or {}).items():
            field = self.page.get_by_label(label, exact=True)
            if field.evaluate("each => each.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        self.page.get_by_label("File", exact=True).set_input_files(str(photograph))
        self.look("3-form")
        self.page.get_by_role("button", name="Look at the manifest").click()
        self.look("4-manifest")
        shown = f"{self.page.locator('textarea').input_value()}\n{self.page.locator('pre').inner_text()}"
        self.page.get_by_role("button", name="Start").click()
        expect(self.page.locator("h1")).to_have_text(name)
        return shown

    def see_scene(self, name: str) -> None:
        """The report in the page of a finished object shows its scene in 3D, and so does the report on its own."""
        self.page.locator("iframe.report").scroll_into_view_if_needed()
        frame = self.page.frame_locator("iframe.report")
        assert_scene_is_drawn(self.page, frame)
        # The page, which was open while the object ran, has also learned of its pictures.
        expect(self.page.locator("#result .strip img").first).to_be_visible(timeout=PATIENCE)
        self.look("6-complete", frame)
        self.page.get_by_role("link", name="Open the report on its own").click()
        assert_scene_is_drawn(self.page, self.page)
        self.look("7-report", self.page)
        self.page.go_back()
        expect(self.page.locator("h1")).to_have_text(name)

    def look_around(self) -> None:
        """From the page of the only object over all other pages, by clicks."""
        name = self.page.locator("h1").inner_text()
        self.page.get_by_role("link", name="All samples").click()
        expect(self.page.locator(".card img")).to_be_visible()
        self.look("8-samples")
        for number, words in enumerate(("Objects", "Gallery", "Tuning", "Models"), 9):
            self.page.get_by_label("Pages").get_by_role("link", name=words, exact=True).click()
            if words in ("Objects", "Gallery"):
                link = self.page.locator("main").get_by_role("link", name=name, exact=True)
                expect(link).to_be_visible()
            self.look(f"{number}-{words.lower()}")


def assert_scene_is_drawn(page: Page, report: Page | FrameLocator) -> None:
    """The 3D view of a report has drawn what the renderer drew from the same place, and another picture once turned."""
    report.locator(_SETTLED).wait_for(timeout=PATIENCE)
    assert report.locator("[data-splat-viewer]").get_attribute("data-state") == "ready"
    source = report.locator(".poster").get_attribute("src") or ""
    poster = _decoded(base64.b64decode(source.partition("base64,")[2]))
    first = _wait_until_drawn(report)
    alike = _correlation(first, poster)
    assert alike > 0.9, f"the 3D view is not what the renderer drew there: correlation {alike:.2f}"
    box = report.locator("[data-stage]").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] / 6, y, steps=8)
    page.mouse.up()
    end = time.monotonic() + PATIENCE / 1000
    while (turned := np.abs(_seen(report).astype(int) - first.astype(int)).mean()) <= 3.0:
        assert time.monotonic() < end, f"dragging changed the picture by {turned:.1f} grey levels"


def _wait_until_drawn(report: Page | FrameLocator) -> Pixels:
    """The 3D view once it is not blank, as it is for a moment when its size has changed."""
    end = time.monotonic() + PATIENCE / 1000
    while (seen := _seen(report)).std() < 10.0:
        assert time.monotonic() < end, "the 3D view stays blank"
    return seen


def _seen(report: Page | FrameLocator) -> Pixels:
    """The 3D view above its buttons, as the browser shows it."""
    picture = _decoded(report.locator("[data-stage]").screenshot(timeout=PATIENCE))
    return picture[: round(picture.shape[0] * _PICTURE)]


def _decoded(data: bytes) -> Pixels:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def _correlation(seen: Pixels, poster: Pixels) -> float:
    """Of the grey levels of the view and of the same part of the poster, which fills the whole view."""
    part = poster[: round(poster.shape[0] * _PICTURE)]
    part = cv2.resize(part, (seen.shape[1], seen.shape[0]), interpolation=cv2.INTER_AREA)
    first, second = (cv2.cvtColor(each, cv2.COLOR_BGR2GRAY).astype(np.float64).ravel() for each in (seen, part))
    return float(np.corrcoef(first, second)[0, 1])
