"""Thin things keep their lines: in views, in labels, and through what loaders do to polygons."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from label_masks import area_fill, parse_labels, truncating_fill
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.reference.perspectives import LARGEST, _framed
from scenewright_stages.reference.polygons import label_line, polygon_of
from scenewright_stages.vision.imaging.regions import overlap
from scenewright_stages.vision.subjects.lines import labelled, lines_of, moved, parts_of, refuse_shrunk, share_kept
from scenewright_stages.vision.subjects.relief import lines_kept, turned
from scenewright_stages.vision.subjects.scenery.panorama import Illumination
from scenewright_stages.vision.subjects.scenery.standing import Solid, ground_light

Mask = NDArray[np.bool_]
SHARE = 4


def drawn(name: str, height: int = 180, width: int = 240) -> Mask:
    """A thin thing, a pixel and a half to four pixels wide."""
    canvas = np.zeros((height * SHARE, width * SHARE), np.uint8)

    def line(*ends: float, thick: float = 2) -> None:
        points = [round(each * SHARE) for each in ends]
        cv2.line(canvas, tuple(points[:2]), tuple(points[2:]), 255, max(1, round(thick * SHARE)))

    def ring(x: float, y: float, radius: float, thick: float = 2, end: int = 360) -> None:
        middle = (round(x * SHARE), round(y * SHARE))
        cv2.ellipse(canvas, middle, (round(radius * SHARE),) * 2, 0, 0, end, 255, round(thick * SHARE))

    if name == "necklace":
        ring(120, 60, 90, 1.6, 180)
        cv2.circle(canvas, (120 * SHARE, 158 * SHARE), 8 * SHARE, 255, -1)
    elif name == "needle":
        line(30, 150, 210, 40, thick=2)
    elif name == "bicycle":
        for x in (70, 170):
            ring(x, 110, 42, 4)
            for angle in np.linspace(0, np.pi, 6, endpoint=False):
                across, down = 40 * np.cos(angle), 40 * np.sin(angle)
                line(x - across, 110 - down, x + across, 110 + down, thick=1.5)
        line(70, 110, 120, 50, thick=5)
        line(120, 50, 170, 110, thick=5)
    elif name == "chair":
        cv2.rectangle(canvas, (80 * SHARE, 80 * SHARE), (160 * SHARE, 100 * SHARE), 255, -1)
        for x in (82, 158):
            line(x, 100, x + 4, 165, thick=3)
            line(x, 80, x, 20, thick=2)
    elif name == "cable":
        across = np.linspace(20, 220, 120)
        points = np.stack([across, 90 + 45 * np.sin(across / 18)], axis=1)
        cv2.polylines(canvas, [np.int32(points * SHARE)], False, 255, 2 * SHARE)
    else:
        ring(75, 90, 40, 2)
        ring(165, 90, 40, 2)
        line(115, 88, 125, 88, thick=2)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small >= 128)


THIN = ("necklace", "needle", "bicycle", "chair", "cable", "glasses")


@pytest.mark.parametrize(("yaw", "elevation"), [(-20.0, 0.0), (30.0, 6.0), (0.0, 6.0)])
@pytest.mark.parametrize("name", THIN)
def test_every_view_keeps_the_lines(name: str, yaw: float, elevation: float) -> None:
    alpha = drawn(name).astype(np.float32)
    colours = np.full((*alpha.shape, 3), 0.3, np.float32)
    _, shown = turned(colours, alpha, yaw, elevation, 0.5)
    assert lines_kept(alpha, shown, yaw, elevation, 0.5) >= 0.95
    blurred = cv2.morphologyEx((shown >= 0.5).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    if name in ("necklace", "needle", "cable"):
        assert lines_kept(alpha, blurred.astype(np.float32), yaw, elevation, 0.5) < 0.95, "the measure says nothing"


@pytest.mark.parametrize("scale", [0.35, 0.6, 1.4])
@pytest.mark.parametrize("name", THIN)
def test_a_label_keeps_lines_thinner_than_a_pixel_or_the_scene_is_refused(name: str, scale: float) -> None:
    inside = drawn(name)
    move = np.array([[scale, 0, 5.3], [0, scale, 4.6]], np.float32)
    size = (round(inside.shape[1] * scale) + 12, round(inside.shape[0] * scale) + 12)
    alpha = inside.astype(np.float32)
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.42 / scale) if scale < 0.9 else alpha
    cover = np.asarray(cv2.warpAffine(soft, move, size), np.float32)
    lines = moved(lines_of(inside), move)
    mask, kept = labelled(cover, cover, lines, parts_of(inside))
    assert share_kept(lines, mask, 1.0) >= 0.95
    assert kept >= 0.95
    hidden = cover * (np.indices(cover.shape)[1] < size[0] // 2)
    partly, _ = labelled(hidden, cover, lines, parts_of(inside))
    assert not partly[:, size[0] // 2 :].any(), "what something hides is not labelled"


def test_what_shrinks_is_refused_with_the_share() -> None:
    inside = drawn("necklace")
    pendant = inside & (np.indices(inside.shape)[0] > 152)
    kept = share_kept(lines_of(inside), pendant, 1.0)
    with pytest.raises(SampleRejected, match=f"the view loses {1 - kept:.0%} of the object's lines; turn it less"):
        refuse_shrunk(kept, "the view", "turn it less")
    gone = np.zeros(inside.shape, np.float32)
    assert labelled(gone, gone, lines_of(inside), 1)[1] == 0


def loaded(polygon: NDArray[np.float64], width: int, height: int, count: int = 1000) -> Mask:
    """The mask as ultralytics' loader makes it: normalised float32 vertices, further ones on the edges, truncated.

    The arithmetic of `resample_segments` and `polygon2mask` (ultralytics 8.4, `ultralytics/utils/ops.py` and
    `ultralytics/data/utils.py`), and the number of points as in `YOLODataset.update_labels_info`.
    """
    vertices = (polygon / (width, height)).astype(np.float32)
    count = len(vertices) + 1 if count < len(vertices) else count
    if len(vertices) != count:
        vertices = np.concatenate([vertices, vertices[:1]])
        known = np.arange(len(vertices))
        few = len(vertices) < count
        at = np.linspace(0, len(vertices) - 1, count - len(vertices) if few else count)
        at = np.insert(at, np.searchsorted(at, known), known) if few else at
        vertices = np.stack([np.interp(at, known, vertices[:, axis]) for axis in (0, 1)], axis=1).astype(np.float32)
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [(vertices * np.float32([width, height])).astype(np.int32)], 1)
    return canvas > 0


@pytest.mark.parametrize("size", [(240, 180), (130, 97)])
@pytest.mark.parametrize("name", [*THIN, "disc"])
def test_label_polygons_survive_resampling_and_truncation(name: str, size: tuple[int, int]) -> None:
    if name == "disc":
        mask = cv2.circle(np.zeros(size[::-1], np.uint8), (size[0] // 2, size[1] // 2), size[1] // 3, 1, -1) > 0
    else:
        whole = drawn(name).astype(np.float32)
        mask = cv2.resize(whole, size, interpolation=cv2.INTER_AREA) >= 0.3
    width, height = size
    ((_, polygon),) = parse_labels(label_line(0, polygon_of(mask), width, height), width, height)
    assert overlap(truncating_fill(polygon, width, height), mask) >= 0.99
    assert overlap(area_fill(polygon, width, height), mask) >= 0.99
    assert overlap(loaded(polygon, width, height), mask) >= 0.98


def test_the_usual_contour_does_not_survive_it() -> None:
    mask = drawn("bicycle")
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    usual = max(contours, key=len)[:, 0].astype(np.float64)
    assert overlap(loaded(usual, mask.shape[1], mask.shape[0]), mask) < 0.6


def test_things_far_apart_need_no_larger_grid_of_light() -> None:
    near = Solid(np.array([[0, 5, 0], [10, 5, 10]], np.float32))
    far = Solid(np.array([[1e9, 5, -1e9], [1e9, 5, 1e9]], np.float32))
    up = np.array([[0, 1, 0]], np.float32)
    white, spread = np.ones((1, 3), np.float32), np.full(1, 0.2, np.float32)
    light = Illumination(np.zeros((9, 3), np.float32), up, white, spread)
    found = ground_light([near, far], light, 20.0)
    assert max(found.values.shape) <= 2500


def test_a_large_photo_gives_views_of_a_bounded_size() -> None:
    alpha = np.zeros((2500, 2200), np.uint8)
    alpha[50:2450, 300:1900] = 255
    colours = np.zeros((*alpha.shape, 3), np.uint8)
    linear, cover, reduction = _framed(colours, alpha)
    assert max(cover.shape) <= 1.3 * LARGEST
    assert linear.shape[:2] == cover.shape
    assert reduction == pytest.approx(2400 / LARGEST)
    small = _framed(colours[:500, :500], np.pad(alpha[100:400, 400:700], 100))
    assert small[2] == 1.0
