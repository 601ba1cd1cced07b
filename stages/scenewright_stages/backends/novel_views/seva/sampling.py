"""SEVA's sampler: noise schedule, denoiser, guidance and steps.

A window is a fixed number of frames, some of them known. The network runs twice at each step, with and without the
known frames. Their difference is scaled by a guidance, which is small for cameras close to a known frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenewright_stages.vision.geometry.cameras import Camera

LEVELS = 1000
_BETAS = (5e-6, 0.012)
_SHIFT = 2.4
_NUDGE = 1e-6
_NEAR_DEGREES, _NEAR_DISTANCE = 10.0, 1e-5

PredictNoise = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""The network: see ``SevaNetwork.forward``."""


@dataclass(frozen=True, eq=False)
class Window:
    """Conditioning of the frames of one window.

    Attributes:
        latents: (T, 4, h, w) of the known frames; 0 elsewhere.
        known: (T,) bool.
        rays: (T, 6, h, w) Plücker coordinates.
        embedding: (C,) of the known pictures.
        guidance: (T,) factor of each frame.
    """

    latents: Tensor
    known: Tensor
    rays: Tensor
    embedding: Tensor
    guidance: Tensor

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return len(self.known)


def noise_levels() -> NDArray[np.float64]:
    """(1000,) all noise levels (standard deviations) of the network, ascending."""
    betas = np.linspace(_BETAS[0] ** 0.5, _BETAS[1] ** 0.5, LEVELS) ** 2
    kept = np.cumprod(1 - betas)
    return np.asarray(np.sqrt((1 - kept) / kept) * np.exp(_SHIFT))


def schedule(steps: int) -> NDArray[np.float64]:
    """(steps + 1,) noise levels of a run, descending to 0.

    Raises:
        ValueError: unless there are 1 to 1000 steps.
    """
    if not 1 <= steps <= LEVELS:
        raise ValueError(f"{steps} denoising steps: there are 1 to {LEVELS}")
    places = (
        np.linspace(LEVELS - 1, 0, steps, endpoint=False).astype(int) if steps < LEVELS else np.arange(LEVELS)[::-1]
    )
    return np.append(noise_levels()[places], 0.0)


def frame_guidance(
    cameras: Sequence[Camera], known: Sequence[bool], guidance: float, least: float, translation_scale: float = 1.0
) -> NDArray[np.float64]:
    """(T,) guidance of each frame of a window: `least` for frames almost identical to known ones.

    That requires a known camera within 10 degrees, one within a distance of 1e-5, and one with the same intrinsics; as
    in the published code these may be different cameras.

    Args:
        cameras: of the frames.
        known: which frames are known.
        guidance: of all others.
        least: of those.
        translation_scale: factor of the cameras' distances.
    """
    poses = np.stack([camera.world_from_camera for camera in cameras])
    lenses = np.stack([camera.intrinsics for camera in cameras])
    inputs = np.flatnonzero(known)
    angle = np.degrees(_angles(poses[:, :3, :3], poses[inputs, :3, :3])).min(axis=1)
    places = poses[:, :3, 3]
    distance = np.linalg.norm(places[:, None] - places[inputs][None], axis=-1).min(axis=1)
    same_lens = np.any(np.all(np.isclose(lenses[:, None], lenses[inputs][None], rtol=1e-6), axis=(-2, -1)), axis=1)
    near = (angle < _NEAR_DEGREES) & (distance * translation_scale < _NEAR_DISTANCE) & same_lens
    return np.where(near, least, guidance)


def rotation_angles(cameras: Sequence[Camera], others: Sequence[Camera]) -> NDArray[np.float64]:
    """(N, M) degrees between the cameras' orientations."""
    if not cameras or not others:
        return np.zeros((len(cameras), len(others)))
    first, second = (np.stack([each.world_from_camera[:3, :3] for each in found]) for found in (cameras, others))
    return np.asarray(np.degrees(_angles(first, second)))


def _angles(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    cosine = (np.einsum("nij,mij->nm", first, second) - 1) / 2
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)))


class Denoiser:
    """The network as a function from noisy latents to clean ones.

    Args:
        predict: the network.
        device: where it runs.
        dtype: what it computes in; latents between the steps stay float32.
    """

    def __init__(self, predict: PredictNoise, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self._predict = predict
        self._device, self._dtype = device, dtype
        # Keep it on the host, because reading a number from the device would synchronise.
        self._levels = noise_levels().astype(np.float32)

    @torch.no_grad()
    def sample(
        self,
        window: Window,
        steps: int,
        generator: torch.Generator,
        stepped: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """(T, 4, h, w) float32 clean latents of all frames of a window, those of the known ones redrawn as well.

        Args:
            window: what is known.
            steps: denoising steps.
            generator: of all noise, on the CPU, so that every device draws the same.
            stepped: called after each step.
        """
        levels = schedule(steps)
        shape = window.latents.shape
        values = torch.randn(shape, generator=generator).to(self._device) * float(np.sqrt(1 + levels[0] ** 2))
        for level, following in pairwise(levels.tolist()):
            raised = level + _NUDGE
            noise = torch.randn(shape, generator=generator).to(self._device)
            values = values + noise * float(np.sqrt(raised**2 - level**2))
            slope = (values - self.denoised(values, raised, window)) / raised
            values = values + slope * (following - raised)
            stepped()
        return values

    def denoised(self, values: Tensor, level: float, window: Window) -> Tensor:
        """(T, 4, h, w) the guided estimate of the clean latents from noisy ones."""
        place = int(np.abs(self._levels - np.float32(level)).argmin())
        sigma = float(self._levels[place])
        known = window.known.to(values.dtype)[:, None, None, None]
        # The unconditional pass withholds the known latents, and the mask marks nothing as known.
        noisy = torch.cat([values, values * (1 - known) + window.latents * known])
        mask = known.expand(-1, 1, *values.shape[-2:])
        rays = window.rays.repeat(2, 1, 1, 1)
        given = torch.cat([noisy / (sigma**2 + 1) ** 0.5, torch.cat([torch.zeros_like(mask), mask]), rays], dim=1)
        context = window.embedding.expand(window.frames, 1, -1)
        predicted = self._predict(
            given.to(self._dtype),
            torch.full((2 * window.frames,), place, device=self._device),
            torch.cat([torch.zeros_like(context), context]).to(self._dtype),
            rays.to(self._dtype),
            window.frames,
        )
        without, with_known = (noisy - sigma * predicted.float()).chunk(2)
        return without + window.guidance[:, None, None, None] * (with_known - without)
