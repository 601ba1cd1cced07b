"""A written PLY, drawn by the formulas of the paper of 3D Gaussian splatting, is the picture that our renderer draws.

The reference reads the file itself and shares no code with the renderer: sigmoid of the opacity, exponential of the
scales, rotation, projection by the Jacobian, 0.3 pixels of blur, spherical harmonics in the published order, and
compositing pixel by pixel, as the viewers do (Kerbl et al. 2023).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gaussian_scenes import random_scene, turned_camera
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.ply import write_ply
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.geometry.cameras import Camera

Table = dict[str, NDArray[np.float64]]
BLUR, LEAST_ALPHA, MOST_ALPHA, LEAST_LIGHT = 0.3, 1 / 255, 0.99, 1e-4


def table_of(path: Path) -> Table:
    """The columns of a binary PLY of floats, by name."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    names = [line.split()[-1].decode() for line in header.splitlines() if line.startswith(b"property float")]
    values = np.frombuffer(body, "<f4").reshape(-1, len(names)).astype(np.float64)
    return {name: values[:, number] for number, name in enumerate(names)}


def colours_of(table: Table, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) from the harmonics; `f_rest` holds all of red, then green, then blue."""
    x, y, z = directions.T
    xx, yy, zz = x * x, y * y, z * z
    basis = [
        np.full_like(x, 0.28209479177387814),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy),
        1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]
    rest = sum(name.startswith("f_rest_") for name in table) // 3
    channels = []
    for channel in range(3):
        names = [f"f_dc_{channel}", *(f"f_rest_{channel * rest + number}" for number in range(rest))]
        channels.append(sum(table[name] * wave for name, wave in zip(names, basis, strict=False)) + 0.5)
    return np.maximum(np.stack(channels, axis=1), 0)


def drawn(table: Table, camera: Camera) -> NDArray[np.float64]:
    """(H, W, 3) on black."""
    turn, offset = camera.camera_from_world[:3, :3], camera.camera_from_world[:3, 3]
    means = np.stack([table[axis] for axis in "xyz"], axis=1)
    w, x, y, z = (table[f"rot_{number}"] for number in range(4))
    length = np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / length, x / length, y / length, z / length
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    spread = rotation * np.exp(np.stack([table[f"scale_{number}"] for number in range(3)], axis=1))[:, None, :]
    local = means @ turn.T + offset
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    limits = 1.3 * np.array([camera.width / 2 / fx, camera.height / 2 / fy])
    flat = np.clip(local[:, :2] / local[:, 2:], -limits, limits)
    depth, nothing = local[:, 2], np.zeros(len(local))
    jacobian = np.array(
        [[fx / depth, nothing, -fx * flat[:, 0] / depth], [nothing, fy / depth, -fy * flat[:, 1] / depth]]
    ).transpose(2, 0, 1)
    projected = jacobian @ turn @ spread
    inverse = np.linalg.inv(projected @ projected.transpose(0, 2, 1) + BLUR * np.eye(2))
    places = np.stack([fx * local[:, 0] / depth + cx, fy * local[:, 1] / depth + cy], axis=1)
    away = means - camera.position
    colours = colours_of(table, away / np.linalg.norm(away, axis=1, keepdims=True))
    opacity = 1 / (1 + np.exp(-table["opacity"]))
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    picture, light = np.zeros((camera.height, camera.width, 3)), np.ones((camera.height, camera.width))
    for number in np.argsort(depth, kind="stable"):
        if depth[number] <= 0.2:
            continue
        apart = np.stack([columns - places[number, 0], rows - places[number, 1]], axis=-1)
        power = -0.5 * np.einsum("hwi,ij,hwj->hw", apart, inverse[number], apart)
        alpha = np.minimum(MOST_ALPHA, opacity[number] * np.exp(power))
        alpha = np.where((alpha < LEAST_ALPHA) | (light < LEAST_LIGHT), 0, alpha)
        picture += (light * alpha)[..., None] * colours[number]
        light *= 1 - alpha
    return picture


@pytest.mark.parametrize("harmonics", [1, 4, 9, 16])
def test_a_file_drawn_by_the_papers_formulas_is_our_picture(harmonics: int, tmp_path: Path) -> None:
    scene, camera = random_scene(300, harmonics, seed=harmonics), turned_camera(64, 48)
    write_ply(scene, tmp_path / "scene.ply")
    table = table_of(tmp_path / "scene.ply")
    ours = renderer_for("cpu").render(scene, [camera]).rgb[0].numpy()
    theirs = drawn(table, camera)
    error = float(-10 * np.log10(np.mean((ours - theirs) ** 2)))
    print(f"{harmonics} harmonics: {error:.1f} dB")
    assert ours.std() > 0.05
    assert error >= 40
    # With two channels exchanged it is another picture.
    table["f_dc_0"], table["f_dc_1"] = table["f_dc_1"], table["f_dc_0"]
    assert -10 * np.log10(np.mean((ours - drawn(table, camera)) ** 2)) < 40
