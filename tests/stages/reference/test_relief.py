"""Turned views against ray-cast truth: better than a homography and than the photo as it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.vision.subjects.relief import turned

Floats = NDArray[np.float32]
SIDE = 160
BODIES = ((55.0, 55.0, 55.0), (60.0, 45.0, 40.0), (45.0, 70.0, 45.0))


def texture() -> Floats:
    noise = np.random.default_rng(0).uniform(0, 1, (64, 256, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def ellipsoid(radii: tuple[float, float, float], yaw: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Colours and silhouette without perspective; positive angles show more of the right side."""
    a, b, c = radii
    y, x = np.mgrid[-SIDE / 2 : SIDE / 2, -SIDE / 2 : SIDE / 2] + 0.5
    cosine, sine = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    start_x, start_z, along_x, along_z = cosine * x, sine * x, -sine, cosine
    square = (along_x / a) ** 2 + (along_z / c) ** 2
    linear = 2 * (start_x * along_x / a**2 + start_z * along_z / c**2)
    discriminant = linear**2 - 4 * square * ((start_x / a) ** 2 + (start_z / c) ** 2 + (y / b) ** 2 - 1)
    inside = discriminant > 0
    reach = (-linear - np.sqrt(np.maximum(discriminant, 0))) / (2 * square)
    hit_x, hit_z = start_x + reach * along_x, start_z + reach * along_z
    columns = (np.arctan2(hit_x, -hit_z) / (2 * np.pi) + 0.5) * 255
    rows = (y / b * 0.5 + 0.5) * 63
    seen = cv2.remap(
        texture(), columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return (seen * inside[..., None]).astype(np.float32), inside


def narrowed(picture: Floats, yaw: float) -> Floats:
    """The photo as a turned plane shows it."""
    share = float(np.cos(np.radians(yaw)))
    move = np.array([[share, 0, SIDE / 2 * (1 - share)], [0, 1, 0]], np.float32)
    return np.asarray(cv2.warpAffine(picture, move, (SIDE, SIDE)), np.float32)


@pytest.mark.parametrize("yaw", [-30.0, -15.0, 15.0, 30.0])
@pytest.mark.parametrize("radii", BODIES)
def test_a_turned_body_comes_closer_to_the_truth(radii: tuple[float, float, float], yaw: float) -> None:
    front, silhouette = ellipsoid(radii, 0.0)
    truth, outline = ellipsoid(radii, yaw)

    def error(picture: Floats, inside: NDArray[np.bool_]) -> float:
        return float(np.abs(picture - truth)[inside & outline].mean())

    colours, alpha = turned(front, silhouette.astype(np.float32), yaw, 0.0)
    shown = alpha > 0.5
    plane = error(narrowed(front, yaw), narrowed(silhouette.astype(np.float32), yaw) > 0.5)
    found, unturned = error(colours, shown), error(front, silhouette)
    print(f"{radii} {yaw}: relief {found:.4f}, homography {plane:.4f}, unturned {unturned:.4f}")
    assert (shown & outline).sum() / (shown | outline).sum() >= 0.8
    assert found <= (0.75 if abs(yaw) == 30 else 1.1) * min(plane, unturned)
