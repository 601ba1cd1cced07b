"""The report as a person sees it: opened from disk in Chromium."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from playwright.sync_api import Browser, Page
from report_scenes import CAMERA, CLUSTERS, blob, empty_splats, full_report, projected, three_clusters

from scenewright_stages.report.data import IndexData, IndexEntry
from scenewright_stages.report.page import render_index
from scenewright_stages.scenes.page import render_scene
from scenewright_stages.scenes.splats import SplatCloud, SplatScene
from scenewright_stages.vision.geometry.cameras import Camera, look_at

_SETTLED = "[data-splat-viewer]:not([data-state=loading])"
_NO_WEBGL = """
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind === "webgl2" ? null : original.call(this, kind, ...rest);
};
"""
Pixels = NDArray[np.uint8]


@dataclass
class Visit:
    """An open page and what went wrong or over the network since it was opened."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def state(self) -> str | None:
        return self.page.get_attribute("[data-splat-viewer]", "data-state")

    def stage(self) -> Pixels:
        """The 3D view as (H, W, 3) uint8 RGB, without the buttons on top of it."""
        self.page.add_style_tag(content=".toolbar { visibility: hidden } .splat { border-radius: 0 !important }")
        data = self.page.locator("[data-stage]").screenshot()
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@contextmanager
def visit(
    browser: Browser,
    html: str,
    folder: Path,
    width: int = 900,
    script: str = "",
    scheme: str = "light",
    touch: bool = False,
) -> Iterator[Visit]:
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        has_touch=touch,
        is_mobile=touch,
        color_scheme=scheme,  # type: ignore[arg-type]
        bypass_csp=False,
    )
    if script:
        context.add_init_script(script)
    page = context.new_page()
    visited = Visit(page)
    page.on(
        "console",
        lambda message: visited.complaints.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: visited.complaints.append(str(error)))
    page.on("request", lambda request: visited.requests.append(request.url))
    page.goto(path.as_uri())
    if page.locator("[data-splat-viewer]").count():
        page.wait_for_selector(_SETTLED, timeout=60_000)
    yield visited
    context.close()


def page_with(cloud: SplatCloud, **scene: object) -> str:
    return render_scene(full_report(splats=SplatScene(cloud, CAMERA, **scene)))  # type: ignore[arg-type]


def colour_at(pixels: Pixels, position: ArrayLike, camera: Camera = CAMERA) -> NDArray[np.float64]:
    """Mean sRGB in [0, 1] of 5x5 pixels around where a world point belongs."""
    height, width = pixels.shape[:2]
    x, y = projected(position, camera, width, height)
    window = pixels[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3]
    return window.reshape(-1, 3).mean(axis=0) / 255


def changed(before: Pixels, after: Pixels) -> float:
    """Mean absolute difference over the pixels that show something in either picture, in grey levels."""
    shown = np.maximum(before, after).max(axis=-1) > 60
    return float(np.abs(before[shown].astype(int) - after[shown].astype(int)).mean())


def wait_for_change(seen: Visit, first: Pixels, enough: Callable[[float], bool], seconds: float = 30.0) -> None:
    """Wait until the 3D view has changed `enough` from `first`.

    A busy machine draws few frames a second, so a test waits for a picture and not for a time. Each picture is judged
    once: a flight goes on, and the picture after the one that ended the wait may look more like the first again.
    """
    end = time.monotonic() + seconds
    while not enough(change := changed(first, seen.stage())):
        assert time.monotonic() < end, f"changed by {change:.1f} grey levels after {seconds:.0f} s"
        seen.page.wait_for_timeout(100)


@pytest.mark.process
def test_clusters_appear_where_the_camera_sees_them_and_not_mirrored(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, page_with(three_clusters()), tmp_path) as seen:
        assert seen.state == "ready"
        pixels = seen.stage()
    for colour, (x, y, z) in CLUSTERS.items():
        np.testing.assert_allclose(colour_at(pixels, (x, y, z)), colour, atol=0.03)
        for mirrored in ((-x, y, z), (x, -y, z)):
            assert colour_at(pixels, mirrored).max() < 0.1


def test_an_empty_scene_shows_none_of_the_clusters(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, page_with(empty_splats()), tmp_path) as seen:
        assert seen.state == "ready"
        pixels = seen.stage()
    assert all(colour_at(pixels, position).max() < 0.1 for position in CLUSTERS.values())


@pytest.mark.slow
def test_colours_are_shown_as_srgb_without_another_transfer_curve(browser: Browser, tmp_path: Path) -> None:
    colour = np.array([0.2, 0.6, 0.4])
    as_if_linear = np.where(colour > 0.0031308, 1.055 * colour ** (1 / 2.4) - 0.055, 12.92 * colour)
    with visit(browser, page_with(blob((0, 0, 3), colour)), tmp_path) as seen:
        shown = colour_at(seen.stage(), (0, 0, 3))
    assert np.abs(shown - colour).max() < 6 / 255 < np.abs(shown - as_if_linear).max()


@pytest.mark.slow
def test_a_rotated_splat_lies_along_its_own_axis(browser: Browser, tmp_path: Path) -> None:
    turn = np.radians(30)
    stick = SplatCloud(
        np.float32([[0, 0, 3]]),
        np.float32([[0.4, 0.03, 0.03]]),
        np.float32([[np.cos(turn / 2), 0, 0, np.sin(turn / 2)]]),
        np.float32([0.99]),
        np.float32([[0.9, 0.9, 0.9]]),
    )
    along = 0.4 * np.array([np.cos(turn), np.sin(turn)])
    with visit(browser, page_with(stick), tmp_path) as seen:
        pixels = seen.stage()
    assert colour_at(pixels, (*along, 3)).min() > 0.35
    assert colour_at(pixels, (-along[0], along[1], 3)).max() < 0.1


@pytest.mark.slow
def test_the_view_starts_at_the_camera_pose(browser: Browser, tmp_path: Path) -> None:
    turned = CAMERA.with_pose(look_at((1.5, -0.5, 0.5), (0, 0.2, 3)))
    scene = SplatScene(three_clusters(), turned)
    with visit(browser, render_scene(full_report(splats=scene)), tmp_path) as seen:
        pixels = seen.stage()
    for colour, position in CLUSTERS.items():
        np.testing.assert_allclose(colour_at(pixels, position, turned), colour, atol=0.05)


@pytest.mark.slow
def test_dragging_turns_the_scene_and_reset_brings_the_first_view_back(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, page_with(three_clusters()), tmp_path) as seen:
        first = seen.stage()
        box = seen.page.locator("[data-stage]").bounding_box()
        assert box is not None
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        seen.page.mouse.move(*middle)
        seen.page.mouse.down()
        seen.page.mouse.move(middle[0] + 120, middle[1] + 20, steps=4)
        seen.page.mouse.up()
        wait_for_change(seen, first, lambda change: change > 20)
        seen.page.evaluate("document.querySelector('[data-action=reset]').click()")
        wait_for_change(seen, first, lambda change: change < 1)


@pytest.mark.slow
def test_keys_turn_the_scene(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, page_with(three_clusters()), tmp_path) as seen:
        first = seen.stage()
        seen.page.locator("[data-stage]").focus()
        for _ in range(3):
            seen.page.keyboard.press("ArrowRight")
        wait_for_change(seen, first, lambda change: change > 20)


@pytest.mark.slow
def test_the_camera_path_plays_and_stops(browser: Browser, tmp_path: Path) -> None:
    path = tuple(CAMERA.with_pose(look_at((x, 0, 0), (0, 0, 3))) for x in np.linspace(-1, 1, 9))
    with visit(browser, page_with(three_clusters(), path=path, path_seconds=20.0), tmp_path) as seen:
        first = seen.stage()
        play = seen.page.locator("[data-action=play]")
        seen.page.evaluate("document.querySelector('[data-action=play]').click()")
        assert play.get_attribute("aria-pressed") == "true"
        wait_for_change(seen, first, lambda change: change > 20)
        seen.page.evaluate("document.querySelector('[data-action=play]').click()")
        assert play.get_attribute("aria-pressed") == "false"
        stopped = seen.stage()
        seen.page.wait_for_timeout(300)
        assert changed(stopped, seen.stage()) < 1


def test_the_page_asks_for_nothing_and_complains_about_nothing(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, page_with(three_clusters()), tmp_path) as seen:
        seen.page.wait_for_timeout(300)
        foreign = [url for url in seen.requests if not url.startswith(("data:", "blob:", tmp_path.as_uri()))]
        assert foreign == []
        assert seen.complaints == []


@pytest.mark.slow
def test_the_policy_blocks_requests_that_a_page_without_it_would_make(browser: Browser, tmp_path: Path) -> None:
    attempt = "fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.message)"
    with visit(browser, page_with(empty_splats()), tmp_path) as seen:
        seen.page.evaluate(attempt)
        assert any("Content Security Policy" in complaint for complaint in seen.complaints)


def test_without_webgl2_the_page_says_so_and_keeps_its_other_parts(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, page_with(three_clusters()), tmp_path, script=_NO_WEBGL) as seen:
        assert seen.state == "unsupported"
        assert "WebGL 2" in seen.page.inner_text("[data-message]")
        assert seen.page.is_visible("video")


@pytest.mark.slow
def test_the_video_is_playable(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, render_scene(full_report()), tmp_path) as seen:
        seen.page.wait_for_function("document.querySelector('video').readyState >= 2", timeout=15_000)
        assert seen.page.evaluate("document.querySelector('video').videoWidth") == 64


def test_markup_in_names_stays_text(browser: Browser, tmp_path: Path) -> None:
    attack = "</script></style><img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
    report = replace(full_report(), title=attack, warnings=(attack,), log=attack, subtitle=attack)
    with visit(browser, render_scene(report), tmp_path) as seen:
        assert seen.page.inner_text("h1") == attack
        assert seen.page.evaluate("window.hacked") is None


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: Browser, tmp_path: Path, width: int) -> None:
    long_name = "a_very_long_sample_name_without_any_spaces_" * 4
    with visit(browser, render_scene(full_report(long_name)), tmp_path, width=width) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_pictures_enlarge_by_keyboard_and_close_with_escape(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, render_scene(full_report()), tmp_path) as seen:
        seen.page.locator("button.zoom").first.focus()
        seen.page.keyboard.press("Enter")
        assert seen.page.is_visible("#lightbox img")
        seen.page.keyboard.press("Escape")
        assert not seen.page.is_visible("#lightbox img")


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_colour_scheme(browser: Browser, tmp_path: Path, scheme: str, dark: bool) -> None:
    with visit(browser, render_scene(full_report()), tmp_path, scheme=scheme) as seen:
        data = seen.page.screenshot()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert (pixels[-5:, :5].mean() < 60) == dark


def test_cards_of_the_overview_lead_to_the_reports(browser: Browser, tmp_path: Path) -> None:
    entries = (IndexEntry("a b#c?", "done", "samples/a b#c?/report.html"),)
    (tmp_path / "samples/a b#c?").mkdir(parents=True)
    (tmp_path / "samples/a b#c?/report.html").write_text("<h1>there</h1>")
    with visit(browser, render_index(IndexData("job", "VistaDream", "ab", 3, entries)), tmp_path) as seen:
        seen.page.click(".card a")
        assert seen.page.inner_text("h1") == "there"
