"""What the 3D view shows: the path's first pose, nothing beside what the path sees, and a camera that stays inside."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser
from report_scenes import CAMERA, blob, full_report, joined, three_clusters
from test_report_browser import Pixels, Visit, colour_at, visit, wait_for_change

from scenewright_stages.scenes.page import render_scene
from scenewright_stages.scenes.splats import SplatCloud, SplatScene, faded
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, look_at

BESIDE = (3.6, 0.0, 3.0)
"""A place at the depth of the clusters that CAMERA does not see."""


def path(offset: float = 0.4) -> tuple[Camera, ...]:
    return tuple(CAMERA.with_pose(look_at((x, 0, 0), (0, 0, 3))) for x in np.linspace(offset, -offset, 9))


def scene_page(cloud: SplatCloud, **scene: object) -> str:
    return render_scene(full_report(splats=SplatScene(cloud, CAMERA, **scene)))  # type: ignore[arg-type]


def drag(seen: Visit, right: float) -> None:
    box = seen.page.locator("[data-stage]").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen.page.mouse.move(*middle)
    seen.page.mouse.down()
    seen.page.mouse.move(middle[0] + right, middle[1], steps=4)
    seen.page.mouse.up()


def test_splats_beside_the_picture_fade_over_a_margin_and_those_in_it_stay() -> None:
    places = np.array([[x * 3, 0, 3] for x in (0.0, 0.5, 0.57, 0.595, 0.62, 0.9)], np.float32)
    ones = np.ones(len(places), np.float32)
    tiny = np.full((len(places), 3), 1e-4, np.float32)
    cloud = SplatCloud(places, tiny, np.tile(np.float32([1, 0, 0, 0]), (len(places), 1)), ones, places * 0 + 0.5)
    edge = float(np.tan(np.radians(30)))  # of CAMERA's picture, at depth 1
    assert 0.57 < edge < 0.595
    opacities = faded(cloud, (CAMERA,)).opacities
    assert opacities[:3].tolist() == [1, 1, 1]
    assert 0 < opacities[3] < 1, "half way through the fade"
    assert len(opacities) == 4, "nothing is left beyond it"
    assert len(faded(cloud, (CAMERA, CAMERA.with_pose(look_at((0, 0, 0), (1, 0, 1)))))) == 6, "another camera sees it"
    assert len(faded(cloud, (CAMERA.with_pose(look_at((0, 0, 0), (0, 0, -1))),))) == 0, "behind a camera"


@pytest.mark.slow
@pytest.mark.process
def test_the_first_view_is_the_paths_first_frame(browser: Browser, tmp_path: Path) -> None:
    """Off-centre and off the photograph's pose: compared with what the optimiser's renderer draws."""
    lens = CAMERA.intrinsics.copy()
    lens[0, 2] += 12
    lens[1, 2] -= 7
    shifted = Camera(lens, CAMERA.width, CAMERA.height)
    poses = tuple(shifted.with_pose(each.camera_from_world) for each in path())
    rng = np.random.default_rng(1)
    cloud = joined(*(blob(rng.uniform((-2, -1.2, 2.5), (2, 1.2, 4)), rng.random(3), 0.3, 60) for _ in range(40)))
    scene = _scene_of(cloud)
    with torch.no_grad():
        frame = renderer_for("cpu").render(scene, [poses[0]]).rgb[0].clamp(0, 1).numpy()
    page = render_scene(full_report(splats=SplatScene(cloud, shifted, poses, 5.0)))
    style = f".splat {{ width: {CAMERA.width}px !important }}"
    with visit(browser, page, tmp_path) as seen:
        seen.page.add_style_tag(content=style)
        drawn = "document.querySelector('[data-stage] canvas').width"
        end = time.monotonic() + 30
        while seen.page.evaluate(drawn) != CAMERA.width:
            assert time.monotonic() < end, "the canvas never took its new size"
            seen.page.wait_for_timeout(100)
        seen.page.wait_for_timeout(1500)
        shown = seen.stage()[: CAMERA.height, : CAMERA.width] / 255
    ground = np.array([0x0D, 0x0F, 0x12]) / 255
    covered = frame.max(axis=-1) > 0.25  # elsewhere the page's dark ground shines through
    error = float(((shown - np.maximum(frame, ground)) ** 2)[covered].mean())
    photographs = float(((shown - np.roll(frame, 6, axis=1)) ** 2)[covered].mean())
    assert -10 * np.log10(error) >= 28 > -10 * np.log10(photographs) + 5


def _scene_of(cloud: SplatCloud) -> GaussianScene:
    opacity = torch.as_tensor(cloud.opacities)
    return GaussianScene(
        means=torch.as_tensor(cloud.means),
        log_scales=torch.as_tensor(np.log(cloud.scales)),
        quaternions=torch.as_tensor(cloud.quaternions),
        opacity_logits=torch.log(opacity / (1 - opacity)),
        spherical_harmonics=torch.as_tensor(((cloud.srgb - 0.5) / 0.28209479177387814)[:, None]),
    )


@pytest.mark.slow
def test_the_camera_stays_inside_until_it_is_let_go_and_nothing_shows_beside_the_path(
    browser: Browser, tmp_path: Path
) -> None:
    """A white blob beside the picture is never drawn; a drag turns far only after Stay inside is switched off."""
    cloud = joined(three_clusters(), blob(BESIDE, (1, 1, 1), 0.4))
    with visit(browser, scene_page(cloud, path=path(0.1), path_seconds=5.0), tmp_path) as seen:
        first = seen.stage()
        inside = seen.page.locator("[data-action=inside]")
        assert inside.get_attribute("aria-pressed") == "true"
        drag(seen, -300)
        wait_for_change(seen, first, lambda change: change > 5)
        seen.page.wait_for_timeout(500)
        held = seen.stage()
        green = (held[..., 1].astype(int) - held.max(axis=-1) == 0) & (held[..., 1] > 150)
        assert green.any(), "the clusters are still in the picture"
        seen.page.evaluate("document.querySelector('[data-action=inside]').click()")
        assert inside.get_attribute("aria-pressed") == "false"
        for _ in range(3):
            drag(seen, -300)
        wait_for_change(seen, held, lambda change: change > 20)
        assert seen.stage().min(axis=-1).max() < 120, "white beside the path would be smear"


class Fingers:
    """Fingers on the middle of the 3D view of a phone: where each is, in pixels from the middle."""

    def __init__(self, seen: Visit) -> None:
        seen.page.locator("[data-stage]").scroll_into_view_if_needed()
        box = seen.page.locator("[data-stage]").bounding_box()
        assert box is not None
        self.middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.devtools = seen.page.context.new_cdp_session(seen.page)

    def move(self, *ways: tuple[float, float], steps: int = 5) -> None:
        """Put a finger down at the start of each way, move all to the ends of theirs, and lift them."""
        self._send("touchStart", [start for start, _ in ways])
        for step in range(1, steps + 1):
            self._send("touchMove", [start + (end - start) * step / steps for start, end in ways])
        self._send("touchEnd", [])

    def _send(self, kind: str, offsets: list[float]) -> None:
        x, y = self.middle
        points = [{"x": x + offset, "y": y, "id": number} for number, offset in enumerate(offsets)]
        self.devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def apart(pixels: Pixels) -> float:
    """Distance of the red and the green cluster in the picture, in pixels; NaN if one of them is not in it."""
    centres = []
    for channel in (0, 1):
        others = np.delete(pixels, channel, axis=-1).max(axis=-1)
        rows, columns = np.nonzero((pixels[..., channel] > 120) & (others < 60))
        if not len(rows):
            return float("nan")
        centres.append((rows.mean(), columns.mean()))
    return float(np.hypot(*np.subtract(*centres)))


@pytest.mark.slow
def test_on_a_phone_one_finger_turns_the_scene_and_two_zoom_it(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, scene_page(three_clusters()), tmp_path, width=390, touch=True) as seen:
        first = seen.stage()
        fingers = Fingers(seen)
        fingers.move((0, 60))
        wait_for_change(seen, first, lambda change: change > 5)
        seen.page.evaluate("document.querySelector('[data-action=reset]').click()")
        wait_for_change(seen, first, lambda change: change < 1)
        seen.page.evaluate("document.querySelector('[data-action=inside]').click()")
        fingers.move((-60, -30), (60, 30))
        end = time.monotonic() + 30
        while not apart(seen.stage()) < 0.8 * apart(first):
            assert time.monotonic() < end, "two fingers that approach each other show more of the scene"
            seen.page.wait_for_timeout(100)


def test_a_still_stands_until_the_view_is_drawn_and_where_it_cannot_be(browser: Browser, tmp_path: Path) -> None:
    no_webgl = "HTMLCanvasElement.prototype.getContext = () => null;"
    video = full_report().video
    assert video is not None
    report = full_report(splats=SplatScene(three_clusters(), CAMERA))
    poster = report.images[0]
    page = render_scene(replace(report, video=replace(video, poster=poster)))
    with visit(browser, page, tmp_path, script=no_webgl) as seen:
        assert seen.state == "unsupported"
        assert seen.page.is_visible(".splat .poster")
    with visit(browser, page, tmp_path) as seen:
        assert seen.state == "ready"
        assert not seen.page.is_visible(".splat .poster")
        assert colour_at(seen.stage(), (-0.9, -0.45, 3.0)).max() > 0.5
