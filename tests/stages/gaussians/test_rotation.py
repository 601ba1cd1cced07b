"""Turned scenes look the same from turned cameras, view-dependent colours included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.rotation import rotated
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, invert_rigid, look_at, rigid, rotation_from_quaternion


def scene_of_degree(harmonics: int) -> GaussianScene:
    """Seeded Gaussians around the origin whose colours depend strongly on direction."""
    random = np.random.default_rng(3)

    def tensor(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy((random.normal(size=shape) * scale).astype(np.float32))

    return GaussianScene(
        tensor(60, 3, scale=0.5),
        tensor(60, 3, scale=0.3) - 2.0,
        tensor(60, 4),
        tensor(60) + 1.0,
        tensor(60, harmonics, 3, scale=0.4),
    )


@pytest.mark.parametrize("harmonics", [1, 4, 9, 16])
def test_a_turned_scene_looks_the_same_from_a_turned_camera(harmonics: int) -> None:
    turn = rotation_from_quaternion((0.3, -0.5, 0.7, 0.2))
    scene = scene_of_degree(harmonics)
    camera = Camera.from_field_of_view(48, 48, 60.0, look_at((1.5, -0.4, -2.0), (0, 0, 0)))
    other = camera.with_pose(invert_rigid(rigid(turn, np.zeros(3)) @ camera.world_from_camera))
    renderer = renderer_for("cpu")
    before, after = renderer.render(scene, [camera]), renderer.render(rotated(scene, turn), [other])
    torch.testing.assert_close(after.rgb, before.rgb, atol=2e-4, rtol=0)
    assert float(before.alpha.mean()) > 0.05


def test_a_mirror_is_refused() -> None:
    with pytest.raises(ValueError, match="proper"):
        rotated(scene_of_degree(1), np.diag([1.0, -1.0, 1.0]))
