"""The US Navy's portrait of Grace Hopper (public domain, as Matplotlib ships it) and her hand-made outline.

``hopper_person.png`` was drawn as a polygon at four-fold magnification: cap, hair, face and uniform are the person.
She stands before a flag, which the search by colours takes for her, and wears glasses.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_HERE = Path(__file__).parent


def photograph() -> NDArray[np.float32]:
    """(600, 512, 3) float32 sRGB."""
    pixels = cv2.imread(str(_HERE.parents[2] / "examples" / "inputs" / "hopper.jpg"))
    assert pixels is not None
    return np.ascontiguousarray(pixels[..., ::-1]).astype(np.float32) / np.float32(255)


def outline() -> NDArray[np.bool_]:
    """(600, 512) bool."""
    mask = cv2.imread(str(_HERE / "hopper_person.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    return mask > 0
