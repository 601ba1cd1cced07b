"""The PLY that a user opens: unit quaternions, and zeros for viewers that insist on three degrees."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scenewright_stages.vision.gaussians.ply import property_names, read_ply, write_ply
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vistadream.params import RenderParams
from scenewright_stages.vistadream.render import published


@pytest.mark.parametrize(("degree", "coefficients"), [(0, 1), (3, 16)])
def test_quaternions_have_unit_length_and_the_degree_is_the_one_asked_for(
    tmp_path: Path, degree: int, coefficients: int
) -> None:
    random = torch.Generator().manual_seed(0)
    points, srgb = (torch.rand(20, 3, generator=random) for _ in range(2))
    scene = GaussianScene.from_points(points, srgb, torch.full((20,), 0.1), 0.8)
    scene.quaternions.mul_(torch.rand(20, 1, generator=random) + 0.5)
    assert (scene.quaternions.norm(dim=1) - 1).abs().max() > 0.1
    write_ply(published(scene, RenderParams(gaussians_ply_degree=degree)), tmp_path / "gf.ply")
    header = (tmp_path / "gf.ply").read_bytes().split(b"end_header")[0].decode()
    assert [line.split()[-1] for line in header.splitlines() if "property" in line] == property_names(coefficients)
    found = read_ply(tmp_path / "gf.ply")
    torch.testing.assert_close(found.quaternions.norm(dim=1), torch.ones(20))
    torch.testing.assert_close(found.spherical_harmonics[:, :1], scene.spherical_harmonics)
    assert not found.spherical_harmonics[:, 1:].any()


@pytest.mark.parametrize(("drop", "kept"), [(False, 4), (True, 2)])
def test_what_no_renderer_draws_is_left_out_on_request(drop: bool, kept: int) -> None:
    scene = GaussianScene.from_points(torch.rand(4, 3), torch.rand(4, 3), torch.full((4,), 0.1), 0.8)
    scene.opacity_logits.copy_(torch.logit(torch.tensor([0.9, 0.001, 0.0039, 0.01])))
    assert len(published(scene, RenderParams(drop_invisible=drop))) == kept
