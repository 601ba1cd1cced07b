"""Seeded folders of portraits with planted files that cannot be used: drawn ones with masks, and photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

BAD_SHARE = 0.01
PHOTOGRAPHS = Path(__file__).parents[2] / "examples" / "inputs"


def write_portraits(
    folder: Path, count: int, side: int = 256, bad_share: float = 0.0, seed: int = 1, *, soft: bool = False
) -> dict[str, str]:
    """Writes ``p00000.png`` ... with ``.mask.png`` beside each; returns the reason by id of what is planted as bad.

    Args:
        folder: takes the files.
        count: of images.
        side: of each, pixels.
        bad_share: how many of them are damaged, of all kinds in turn; 0.01 is every hundredth.
        seed: same seed, same bytes.
        soft: masks are mattes, which are taken as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, mask = portrait(side, np.random.default_rng([seed, number]))
        if soft:
            mask = cv2.GaussianBlur(mask, (5, 5), 0)
        path = _path(folder, number)
        write_png(path, image)
        write_png(mask_of(path), mask)
    return _spoiled(folder, count, bad_share, FAULTS)


def write_people(folder: Path, count: int, side: int = 256, bad_share: float = 0.0, seed: int = 1) -> dict[str, str]:
    """The same with photographs of two people, mirrored, moved and relit, and no masks."""
    folder.mkdir(parents=True, exist_ok=True)
    people = [_square(PHOTOGRAPHS / name, side) for name in ("astronaut.png", "hopper.jpg")]
    for number in range(count):
        write_png(_path(folder, number), _varied(people[number % 2], np.random.default_rng([seed, number])))
    return _spoiled(folder, count, bad_share, FAULTS_WITHOUT_MASKS)


def _square(path: Path, side: int) -> Bytes:
    """(side, side, 3) uint8 sRGB: the upper square of a photograph."""
    pixels = cv2.imread(str(path))
    assert pixels is not None
    edge = min(pixels.shape[:2])
    return np.ascontiguousarray(
        cv2.resize(pixels[:edge, :edge, ::-1], (side, side), interpolation=cv2.INTER_AREA), np.uint8
    )


def _varied(photograph: Bytes, generator: np.random.Generator) -> Bytes:
    side = len(photograph)
    shown = np.ascontiguousarray(photograph[:, ::-1] if generator.random() < 0.5 else photograph)
    across, down = generator.uniform(-0.03, 0.03, 2) * side
    moved = cv2.warpAffine(
        shown, np.array([[1, 0, across], [0, 1, down]]), (side, side), borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.convertScaleAbs(moved, alpha=generator.uniform(0.85, 1.1)), np.uint8)


def _path(folder: Path, number: int) -> Path:
    return folder / f"p{number:05d}.png"


def _spoiled(
    folder: Path, count: int, bad_share: float, faults: Mapping[str, Callable[[Path], object]]
) -> dict[str, str]:
    """Damages that share of the images, in all ways in turn; the reason by id."""
    expected: dict[str, str] = {}
    if not bad_share:
        return expected
    every = round(1 / bad_share)
    kinds = list(faults.items())
    for number in range(every // 2, count, every):
        reason, spoil = kinds[number // every % len(kinds)]
        path = _path(folder, number)
        spoil(path)
        expected[path.stem] = reason
    return expected


def portrait(side: int, generator: np.random.Generator) -> tuple[Bytes, Bytes]:
    """(side, side, 3) uint8 sRGB with a head and shoulders in front of blotches, and (side, side) uint8 mask."""
    coarse = generator.integers(30, 226, (6, 6, 3), dtype=np.uint8)
    image = np.array(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))
    mask = np.zeros((side, side), np.uint8)
    middle = (int(side * generator.uniform(0.4, 0.6)), int(side * generator.uniform(0.3, 0.45)))
    head = (int(side * generator.uniform(0.11, 0.17)), int(side * generator.uniform(0.15, 0.21)))
    shoulders = (middle[0], int(side * 1.02))
    cv2.ellipse(mask, shoulders, (int(side * 0.32), int(side * 0.42)), 0, 0, 360, 255, -1)
    shirt, skin = (tuple(int(value) for value in generator.integers(40, 220, 3)) for _ in range(2))
    image[mask > 0] = shirt
    face = np.zeros_like(mask)
    cv2.ellipse(face, middle, head, 0, 0, 360, 255, -1)
    image[face > 0] = skin
    cv2.bitwise_or(mask, face, mask)
    shading = np.linspace(0.6, 1.0, side, dtype=np.float32)[None, :, None]
    lit = np.where(mask[..., None] > 0, image * shading, image)
    noise = generator.normal(0, 2, (side, side, 1))
    return np.clip(lit + noise, 0, 255).astype(np.uint8), mask


def write_png(path: Path, pixels: Bytes) -> None:
    """Writes an RGB or grey PNG, quickly."""
    colour = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    assert cv2.imwrite(str(path), colour, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def mask_of(path: Path) -> Path:
    """The mask beside an image."""
    return path.with_name(f"{path.stem}.mask.png")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _shrink(path: Path) -> None:
    write_png(path, np.full((8, 8, 3), 90, np.uint8))


def _empty_mask(path: Path) -> None:
    mask = cv2.imread(str(mask_of(path)), cv2.IMREAD_GRAYSCALE)
    write_png(mask_of(path), np.zeros_like(mask))


def _nobody(path: Path) -> None:
    pixels = cv2.imread(str(path))
    assert pixels is not None
    corners = cv2.resize(pixels, (2, 2), interpolation=cv2.INTER_AREA)
    write_png(path, np.asarray(cv2.resize(corners, pixels.shape[1::-1]), np.uint8))


FAULTS: dict[str, Callable[[Path], object]] = {
    "ImageTruncated": _truncate,
    "ImageNotAnImage": lambda path: path.write_text("no image"),
    "EmptyFile": lambda path: path.write_bytes(b""),
    "ImageTooSmall": _shrink,
    "MaskMissing": lambda path: mask_of(path).unlink(),
    "MaskUnreadable": lambda path: mask_of(path).write_text("no image"),
    "MaskSizeDiffers": lambda path: write_png(mask_of(path), np.full((20, 30), 255, np.uint8)),
    "no-subject": _empty_mask,
}
"""What is done to an image or its mask, by the reason that has to be reported."""

FAULTS_WITHOUT_MASKS: dict[str, Callable[[Path], object]] = {
    **{reason: spoil for reason, spoil in FAULTS.items() if reason.startswith(("Image", "Empty"))},
    "no-subject": _nobody,
}
"""The same where no mask lies beside an image."""
