"""A seeded folder of synthetic portraits with their masks, and planted files that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

BAD_SHARE = 0.01


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
    every = round(1 / bad_share) if bad_share else 0
    expected: dict[str, str] = {}
    kinds = list(FAULTS.items())
    for number in range(count):
        name = f"p{number:05d}"
        image, mask = portrait(side, np.random.default_rng([seed, number]))
        if soft:
            mask = cv2.GaussianBlur(mask, (5, 5), 0)
        path = folder / f"{name}.png"
        write_png(path, image)
        write_png(folder / f"{name}.mask.png", mask)
        if every and number % every == every // 2:
            reason, spoil = kinds[number // every % len(kinds)]
            spoil(path)
            expected[name] = reason
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
