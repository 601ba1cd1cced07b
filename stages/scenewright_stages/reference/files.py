"""Files that stages pass to each other: PNGs, masks, and cut-outs with their base (where the object stands)."""

from __future__ import annotations

from dataclasses import astuple, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.subjects.scenery.standing import Base
from scenewright_stages.vision.types import Uint8Array

_BASE_FIELDS = len(fields(Base))


def write_png(path: Path, pixels: Uint8Array) -> Path:
    """Writes (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA; returns the path."""
    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, code)  # type: ignore[assignment]
    _, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    path.write_bytes(encoded.tobytes())
    return path


def read_mask(path: Path) -> NDArray[np.bool_]:
    """(H, W) bool of a grey PNG."""
    return decoded_mask(path.read_bytes())


def decoded_mask(content: bytes) -> NDArray[np.bool_]:
    """(H, W) bool of the content of a grey PNG."""
    pixels = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.asarray(pixels >= 128)


def write_cutout(path: Path, pixels: Uint8Array, base: Base, reduction: float = 1.0) -> Path:
    """Writes (H, W, 4) RGBA with its base, and how much smaller it is than in the photo; returns the path."""
    facts = astuple(base) if reduction == 1 else (*astuple(base), reduction)
    save_arrays(path, {"pixels": pixels, "base": np.array(facts, np.float32)})
    return path


def read_reduction(path: Path) -> float:
    """How much smaller a cut-out is than the object in its photo."""
    with np.load(path) as stored:
        return float(stored["base"][_BASE_FIELDS]) if len(stored["base"]) > _BASE_FIELDS else 1.0


def read_cutout(path: Path) -> tuple[Uint8Array, Uint8Array, Base]:
    """(H, W, 3) sRGB, (H, W) alpha, and the base."""
    with np.load(path) as stored:
        pixels = stored["pixels"]
        return (
            np.ascontiguousarray(pixels[..., :3]),
            np.ascontiguousarray(pixels[..., 3]),
            Base(*map(float, stored["base"][:_BASE_FIELDS])),
        )
