"""SEVA's noise levels, rays, guidance and steps, against formulas written out here in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from scenewright_stages.backends.novel_views.seva.conditioning import clip_resized, pluecker
from scenewright_stages.backends.novel_views.seva.sampling import (
    Denoiser,
    Window,
    frame_guidance,
    noise_levels,
    schedule,
)
from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.places.worlds.motions import turned

LENS = Camera.from_field_of_view(64, 64, 60.0)


def camera_at(yaw: float, position: tuple[float, float, float] = (0, 0, 0), lens: Camera = LENS) -> Camera:
    world_from_camera = rigid(turned(yaw, 0), np.array(position, float))
    return lens.with_pose(np.linalg.inv(world_from_camera))


def expected_levels() -> list[float]:
    first, last, kept, levels = math.sqrt(5e-6), math.sqrt(0.012), 1.0, []
    for step in range(1000):
        kept *= 1 - (first + (last - first) * step / 999) ** 2
        levels.append(math.sqrt((1 - kept) / kept) * math.exp(2.4))
    return levels


def test_the_noise_levels_follow_the_formula() -> None:
    levels = expected_levels()
    np.testing.assert_allclose(noise_levels(), levels, rtol=1e-12)
    found = schedule(50)
    assert len(found) == 51 and found[-1] == 0
    assert found[0] == pytest.approx(levels[999]) and found[49] == pytest.approx(levels[19])
    assert (np.diff(found) < 0).all()
    np.testing.assert_allclose(schedule(1000)[:-1], levels[::-1], rtol=1e-12)
    with pytest.raises(ValueError, match="1 to 1000"):
        schedule(0)


def test_rays_are_pluecker_coordinates_as_the_first_camera_sees_them() -> None:
    first, second = camera_at(30, (0.2, 0.1, -0.4)), camera_at(-50, (1.0, -0.5, 2.0))
    rays = pluecker([first, second], translation_scale=3.0)
    assert rays.shape == (2, 6, 8, 8)
    np.testing.assert_allclose(rays[0, 3:], 0, atol=1e-12)
    direction, moment = rays[1, :3, 5, 2], rays[1, 3:, 5, 2]
    # The centre of latent pixel (row 5, column 2) covers pixels 40 to 48 and 16 to 24.
    local = np.array([(20 - 32) / LENS.focal[0], (44 - 32) / LENS.focal[1], 1.0])
    to_first = first.camera_from_world[:3, :3]
    expected = to_first @ second.world_from_camera[:3, :3] @ local
    np.testing.assert_allclose(direction, expected / np.linalg.norm(expected), atol=1e-12)
    centre = 3.0 * to_first @ (second.position - first.position)
    np.testing.assert_allclose(moment, np.cross(centre, expected / np.linalg.norm(expected)), atol=1e-12)


def test_guidance_is_small_where_an_input_shows_nearly_the_same() -> None:
    other_lens = Camera.from_field_of_view(64, 64, 50.0)
    cameras = [
        camera_at(0),
        camera_at(9.9),
        camera_at(10.1),
        camera_at(5, (2e-5, 0, 0)),
        camera_at(5, lens=other_lens),
    ]
    known = [True, False, False, False, False]
    np.testing.assert_array_equal(frame_guidance(cameras, known, 3.0, 1.2), [1.2, 1.2, 3.0, 3.0, 3.0])
    two = frame_guidance(cameras, [True, False, True, False, False], 3.0, 1.2)
    np.testing.assert_array_equal(two, [1.2, 1.2, 1.2, 3.0, 3.0])
    closer = frame_guidance(cameras, known, 3.0, 1.2, translation_scale=0.1)
    np.testing.assert_array_equal(closer, [1.2, 1.2, 3.0, 1.2, 3.0])


def oracle_window(draws: torch.Generator, known: tuple[bool, ...]) -> tuple[Tensor, Window]:
    """Clean latents, and the window that knows some of them."""
    clean = torch.randn(len(known), 4, 8, 8, generator=draws)
    mask = torch.tensor(known)
    return clean, Window(
        latents=clean * mask[:, None, None, None],
        known=mask,
        rays=torch.zeros(len(known), 6, 8, 8),
        embedding=torch.ones(5),
        guidance=torch.linspace(1.2, 3.0, len(known)),
    )


def test_an_oracle_gives_the_clean_latents_back() -> None:
    clean, window = oracle_window(torch.Generator().manual_seed(5), (True, False, True, False))
    levels = expected_levels()

    def oracle(given: Tensor, times: Tensor, context: Tensor, rays: Tensor, frames: int) -> Tensor:
        sigma = torch.tensor([levels[int(time)] for time in times])[:, None, None, None]
        return (given[:, :4] * (sigma**2 + 1).sqrt() - clean.repeat(2, 1, 1, 1)) / sigma

    found = Denoiser(oracle).sample(window, 20, torch.Generator().manual_seed(6))
    torch.testing.assert_close(found, clean, atol=2e-3, rtol=0)


def test_the_guided_estimate_follows_the_formula() -> None:
    draws = torch.Generator().manual_seed(7)
    _, window = oracle_window(draws, (True, False, False))
    values, level = torch.randn(3, 4, 8, 8, generator=draws) * 5, 3.3
    seen: list[Tensor] = []

    def network(given: Tensor, times: Tensor, context: Tensor, rays: Tensor, frames: int) -> Tensor:
        seen[:] = [given, times, context]
        return torch.tanh(given[:, :4]) + context[..., :1, None] * 0.1

    found = Denoiser(network).denoised(values, level, window).double().numpy()
    levels = np.array(expected_levels())
    place = int(np.abs(levels - level).argmin())
    sigma = levels[place]
    given, times, context = seen
    assert given.shape == (6, 11, 8, 8) and times.tolist() == [place] * 6
    assert given[:3, 4].abs().max() == 0 and given[3:, 4, 0, 0].tolist() == [1, 0, 0]
    assert context[:3].abs().max() == 0 and context[3:].min() == 1
    noisy, latents = values.double().numpy(), window.latents.double().numpy()
    known = window.known.numpy()[:, None, None, None]
    replaced = np.where(known, latents, noisy)
    without = noisy - sigma * np.tanh(noisy / np.sqrt(sigma**2 + 1))
    with_known = replaced - sigma * (np.tanh(replaced / np.sqrt(sigma**2 + 1)) + 0.1)
    factors = window.guidance.double().numpy()[:, None, None, None]
    np.testing.assert_allclose(found, without + factors * (with_known - without), rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_bytes() -> None:
    _, window = oracle_window(torch.Generator().manual_seed(8), (True, False))

    def network(given: Tensor, *others: object) -> Tensor:
        return given[:, :4] * 0.5

    first, again, other = (
        Denoiser(network).sample(window, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_pictures_for_clip_are_blurred_before_they_shrink() -> None:
    checks = torch.zeros(1, 1, 64, 64)
    checks[..., ::2, 1::2] = checks[..., 1::2, ::2] = 1
    small = clip_resized(checks, 16)
    assert small.shape == (1, 1, 16, 16) and small.std() < 0.05
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    shrunk = clip_resized(ramp, 16)[0, 0, 8]
    np.testing.assert_allclose(shrunk[2:-2], np.linspace(0, 1, 16)[2:-2], atol=2e-3)
    assert torch.equal(clip_resized(checks, 64), checks)
