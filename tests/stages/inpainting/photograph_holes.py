"""Real photographs and the holes the tests cut into them; nothing here is random."""

from dataclasses import dataclass

import cv2
import numpy as np
import skimage.data
import sklearn.datasets
from numpy.typing import NDArray

NAMES = ("china", "coffee", "chelsea", "rocket", "motorcycle")


@dataclass(frozen=True)
class Case:
    """A picture with a hole: srgb (H, W, 3) float32 with black holes, hole (H, W), depth (H, W) or None, the truth."""

    name: str
    srgb: NDArray[np.float32]
    hole: NDArray[np.bool_]
    truth: NDArray[np.float32]
    depth: NDArray[np.float32] | None = None


def photograph(name: str, side: int = 320) -> NDArray[np.float32]:
    """(H, W, 3) float32 sRGB, longer side `side`."""
    if name == "china":
        picture = sklearn.datasets.load_sample_image("china.jpg")
    elif name == "motorcycle":
        picture = skimage.data.stereo_motorcycle()[0]
    else:
        picture = getattr(skimage.data, name)()
    scale = side / max(picture.shape[:2])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) / np.float32(255)).astype(np.float32)


def outpaint(name: str, side: int = 320, margin: float = 0.15) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The photograph with an empty border of `margin` of its size on every side, and the border as the hole."""
    picture = photograph(name, side)
    height, width = picture.shape[:2]
    down, across = round(height * margin), round(width * margin)
    padded = np.pad(picture, ((down, down), (across, across), (0, 0)))
    hole = np.ones(padded.shape[:2], np.bool_)
    hole[down : down + height, across : across + width] = False
    return padded, hole


def ring_case(name: str, side: int = 320, margin: float = 0.115) -> Case:
    """The photograph with its own outer part taken away: an outpaint whose truth is known."""
    truth = photograph(name, side)
    height, width = truth.shape[:2]
    down, across = round(height * margin), round(width * margin)
    hole = np.ones((height, width), np.bool_)
    hole[down : height - down, across : width - across] = False
    return Case(name, np.where(hole[..., None], np.float32(0), truth), hole, truth)


def uncovered_case(background: str, foreground: str, shift: int, centre: tuple[float, float], side: int = 320) -> Case:
    """What a camera uncovers that moves past an object: the object (a disc of another photograph, at 1 m) shifts by
    `shift` pixels before a background at 3 m and leaves a sliver of which nothing is known."""
    truth = photograph(background, side)
    height, width = truth.shape[:2]
    rows, columns = np.mgrid[:height, :width]

    def disc(column: float) -> NDArray[np.bool_]:
        return ((columns - column) / (0.16 * width)) ** 2 + ((rows - centre[1] * height) / (0.28 * height)) ** 2 < 1

    before, after = disc(centre[0] * width), disc(centre[0] * width - shift)
    hole = before & ~after
    other = np.roll(cv2.resize(photograph(foreground, side), (width, height)), -shift, axis=1)
    truth = np.where(after[..., None], other, truth)
    depth = np.where(hole, np.nan, np.where(after, 1.0, 3.0)).astype(np.float32)
    return Case(background, np.where(hole[..., None], np.float32(0), truth), hole, truth, depth)


def uncovered_cases() -> list[Case]:
    """Slivers of 8 to 20 pixels beside an object, before every photograph."""
    return [
        uncovered_case("china", "coffee", 12, (0.4, 0.55)),
        uncovered_case("china", "motorcycle", 20, (0.7, 0.7)),
        uncovered_case("chelsea", "rocket", 15, (0.5, 0.5)),
        uncovered_case("chelsea", "china", 8, (0.25, 0.6)),
        uncovered_case("coffee", "chelsea", 20, (0.8, 0.5)),
        uncovered_case("coffee", "motorcycle", 10, (0.25, 0.8)),
        uncovered_case("rocket", "chelsea", 18, (0.6, 0.75)),
        uncovered_case("motorcycle", "chelsea", 12, (0.3, 0.35)),
        uncovered_case("motorcycle", "coffee", 20, (0.75, 0.5)),
    ]


def telea(case: Case) -> NDArray[np.float32]:
    """The usual weightless baseline: OpenCV's fast marching inpainting, radius 5."""
    picture = np.rint(case.srgb * 255).astype(np.uint8)
    return (cv2.inpaint(picture, case.hole.astype(np.uint8), 5, cv2.INPAINT_TELEA) / 255).astype(np.float32)


def edge_replication(case: Case) -> NDArray[np.float32]:
    """Every hole pixel gets the nearest known one."""
    _, labels = cv2.distanceTransformWithLabels(
        case.hole.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(labels.max()) + 1, 3), np.float32)
    colours[labels[~case.hole]] = case.srgb[~case.hole]
    return colours[labels]
