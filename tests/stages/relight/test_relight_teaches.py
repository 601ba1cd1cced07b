"""Whether a model learns from the pairs: a small network on drawn people, made by the stages' own functions.

It sees the person in the new light and answers the photograph. People that it never saw must come back closer to their
photographs than they were found. A second network learns from pairs of the light as it is (``exposure: asLit``): it
brightens what is right already.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from synthetic_person import figure, over
from torch import Tensor, nn
from torch.nn import functional

from scenewright_stages.contract.keys import seed_for
from scenewright_stages.photographs.compositing import composite
from scenewright_stages.photographs.pictures import bytes_from_linear, linear_from_bytes, unit_from_bytes
from scenewright_stages.relight.albedo import blended
from scenewright_stages.relight.degrade import Surface, arriving, exposed, relit
from scenewright_stages.relight.light_params import DegradationParams
from scenewright_stages.relight.lighting import drawn
from scenewright_stages.relight.shading import Light, direction_of, shade
from scenewright_stages.vision.geometry.normals import inflated_normals
from scenewright_stages.vision.imaging.albedo import estimate_albedo

Bytes = NDArray[np.uint8]

SIDE = 64
LEARNED, HELD_OUT, LIGHTS = 400, 40, 2
STEPS, BATCH = 1500, 16
CONTRASTY = {"ambient_range": [0.15, 0.45], "temperature_range": [3000.0, 10000.0]}


@functools.cache
def person_of(number: int) -> tuple[Bytes, Surface]:
    """(64, 64, 3) uint8 sRGB of a person in soft light from about the front, and what the stages make of it."""
    person, random = figure(number, SIDE), np.random.default_rng([number, 3])
    light = Light(direction_of(float(random.uniform(60, 120)), 60), 0.6)
    behind = np.full((SIDE, SIDE, 3), random.uniform(0.1, 0.6, 3), np.float32)
    photograph = bytes_from_linear(over(person, shade(person.albedo_linear, person.normals, light), behind))
    alpha = np.rint(person.alpha * 255).astype(np.uint8)
    srgb, matte = unit_from_bytes(photograph), unit_from_bytes(alpha)
    albedo = blended(estimate_albedo(srgb, matte)[0], photograph, 0.2, alpha)
    normals = inflated_normals(matte, np.ascontiguousarray(srgb[..., 1]), 0.3)
    return photograph, Surface(albedo, alpha, normals)


def pairs(people: range, params: DegradationParams) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 3, 64, 64) degraded and target in [0, 1], and (N, 1, 64, 64) matte, several lights of each person."""
    degraded, targets, mattes = [], [], []
    for number in people:
        photograph, surface = person_of(number)
        for light in range(LIGHTS):
            draw = drawn(params, seed_for(1, "degrade", f"{number}_{light}"))
            arrives = arriving(surface, draw)
            made = relit(surface, exposed(draw, surface, photograph, arrives), arrives)
            degraded.append(composite(made, photograph, surface.alpha))
            targets.append(photograph)
            mattes.append(surface.alpha[..., None])
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        for pictures in (degraded, targets, mattes)
    )


class Restorer(nn.Module):
    """Gain and offset of every place, a quarter of the picture's size: 52,000 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.near = nn.Conv2d(64, 48, 3, padding=1), nn.Conv2d(48, 48, 3, padding=1)
        self.overall, self.leave = nn.Linear(48, 48), nn.Conv2d(48, 6, 3, padding=1)

    def forward(self, picture: Tensor, matte: Tensor) -> Tensor:
        """(N, 3, H, W): the picture, restored where the person is."""
        seen = functional.relu(self.enter(functional.pixel_unshuffle(torch.cat([picture, matte], dim=1), 4)))
        seen = functional.relu(self.near(seen) + self.overall(seen.mean((2, 3)))[..., None, None])
        gain, offset = functional.interpolate(self.leave(seen), scale_factor=4, mode="bilinear").chunk(2, dim=1)
        return picture + matte * (picture * gain + offset)


def trained(params: DegradationParams) -> Restorer:
    """A network after its last step; the same every time."""
    degraded, targets, mattes = pairs(range(LEARNED), params)
    torch.manual_seed(5)
    model, generator = Restorer(), torch.Generator().manual_seed(6)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(degraded), (BATCH,), generator=generator)
        answer = model(degraded[chosen], mattes[chosen])
        loss = ((answer - targets[chosen]) ** 2 * mattes[chosen]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model


def psnr(pictures: Tensor, targets: Tensor, mattes: Tensor) -> float:
    """Mean over the pictures of the PSNR of the person, dB."""
    error = ((pictures.clamp(0, 1) - targets) ** 2 * mattes).sum((1, 2, 3)) / (3 * mattes.sum((1, 2, 3)))
    return float((-10 * torch.log10(error)).mean())


def luminance(pictures: Tensor, mattes: Tensor) -> float:
    """Mean linear luminance of the people."""
    levels = (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    linear = linear_from_bytes(np.ascontiguousarray(levels)) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return float(np.average(linear, weights=mattes[:, 0].numpy()))


@pytest.mark.proof
def test_people_never_seen_come_back_and_what_is_right_is_not_brightened() -> None:
    params = DegradationParams.model_validate(CONTRASTY)
    degraded, targets, mattes = pairs(range(LEARNED, LEARNED + HELD_OUT), params)
    model, brightener = trained(params), trained(params.model_copy(update={"exposure": "asLit"}))
    with torch.no_grad():
        restored = psnr(model(degraded, mattes), targets, mattes)
        found = psnr(degraded, targets, mattes)
        own = luminance(targets, mattes)
        kept, brightened = (luminance(each(targets, mattes), mattes) / own for each in (model, brightener))
    print(f"held-out people: found {found:.2f} dB, restored {restored:.2f} dB")
    print(
        f"photographs that are right already become {kept:.2f} as bright; learned from light as it is {brightened:.2f}"
    )
    assert restored >= found + 2
    assert 0.9 <= kept <= 1.1
    assert brightened > 1.15
