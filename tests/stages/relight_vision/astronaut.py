"""NASA's portrait of Eileen Collins (public domain, as scikit-image ships it), her hand-made outline, and variants.

``astronaut_person.png`` was drawn as a polygon at six-fold magnification: hair, face, suit with its neck ring and the
strap on the shoulder belong to the person; the helmet in front of her does not.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

BACKGROUNDS = (None, "coffee", "rocket", None, "chelsea", "brick", None, "grass", "gravel", None)


def photograph() -> Floats:
    """(512, 512, 3) float32 sRGB."""
    return skimage.data.astronaut().astype(np.float32) / np.float32(255)


def outline() -> Mask:
    """(512, 512) bool, the person without the helmet."""
    mask = cv2.imread(str(Path(__file__).with_name("astronaut_person.png")), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    return mask > 0


def enlarged(side: int = 1024) -> Floats:
    """(side, side, 3) float32 sRGB."""
    return np.clip(cv2.resize(photograph(), (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)


def variants(first_seed: int = 0) -> list[tuple[Floats, Mask]]:
    """Ten seeded pictures and masks: flipped or not, cut or moved, scaled, on their own or on other backgrounds."""
    made = []
    for offset, background in enumerate(BACKGROUNDS):
        random = np.random.default_rng(first_seed + offset)
        flipped = bool(random.integers(2))
        image, mask = photograph(), outline()
        if flipped:
            image, mask = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        if background is None:
            made.append(_cut_and_scaled(image, mask, random, flipped))
        else:
            made.append(_on_background(image, mask, random, background))
    return made


def _cut_and_scaled(image: Floats, mask: Mask, random: np.random.Generator, flipped: bool) -> tuple[Floats, Mask]:
    left, right = random.integers(0, 100 if flipped else 15), 512 - random.integers(0, 15 if flipped else 100)
    top, bottom = random.integers(0, 12), 512 - random.integers(0, 120)
    image, mask = image[top:bottom, left:right], mask[top:bottom, left:right]
    scale = random.uniform(0.6, 1.4)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = np.clip(cv2.resize(image, None, fx=scale, fy=scale, interpolation=method), 0, 1)
    size = (scaled.shape[1], scaled.shape[0])
    return scaled, cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5


def _on_background(image: Floats, mask: Mask, random: np.random.Generator, name: str) -> tuple[Floats, Mask]:
    behind = getattr(skimage.data, name)()
    behind = behind[..., :3] if behind.ndim == 3 else np.repeat(behind[..., None], 3, axis=2)
    size = (640, 512)
    behind = cv2.resize(np.ascontiguousarray(behind), size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    scale, shift = random.uniform(0.65, 1.05), random.uniform(-60, 60)
    placed = np.array([[scale, 0, (size[0] - 512 * scale) / 2 + shift], [0, scale, 512 - 512 * scale]])
    alpha = cv2.warpAffine(mask.astype(np.float32), placed, size, flags=cv2.INTER_LINEAR)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.7)
    front = cv2.warpAffine(image, placed, size, flags=cv2.INTER_LINEAR)
    composed = alpha[..., None] * front + (1 - alpha[..., None]) * behind
    return (np.rint(composed * 255) / 255).astype(np.float32), alpha > 0.5
