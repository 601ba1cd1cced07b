"""Gaussian scenes as torch tensors, the common type of renderers, fitting and files.

Scenes can be made from RGB-D views or points, concatenated, sliced, and stored losslessly as ``.npz``. `ply` writes
files for other programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.archives import save_arrays

HARMONIC_COUNTS = (1, 4, 9, 16)
_COLUMNS = {"means": (3,), "log_scales": (3,), "quaternions": (4,), "opacity_logits": ()}


@dataclass
class GaussianScene:
    """N anisotropic 3D Gaussians with view-dependent colour, world coordinates in metres.

    Attributes:
        means: (N, 3) centres.
        log_scales: (N, 3) natural logarithm of the standard deviations along the Gaussian's own axes.
        quaternions: (N, 4) wxyz rotation of those axes into the world; normalised wherever used.
        opacity_logits: (N,) logit of the opacity.
        spherical_harmonics: (N, K, 3) sRGB coefficients, K in {1, 4, 9, 16}; the colour seen along a
            world direction is ``max(0, sum_k basis_k(direction) * coefficient_k + 0.5)`` (the convention
            of Kerbl et al. 2023, whose basis constants are used).

    All tensors are floating point of one dtype (float32 but for tests) on one device.

    Raises:
        ValueError: the shapes are inconsistent.
    """

    means: torch.Tensor
    log_scales: torch.Tensor
    quaternions: torch.Tensor
    opacity_logits: torch.Tensor
    spherical_harmonics: torch.Tensor

    def __post_init__(self) -> None:
        count = self.means.shape[0]
        for name, columns in _COLUMNS.items():
            shape = tuple(getattr(self, name).shape)
            if shape != (count, *columns):
                raise ValueError(f"{name} has shape {shape}, expected {(count, *columns)}")
        shape = tuple(self.spherical_harmonics.shape)
        if len(shape) != 3 or shape[0] != count or shape[1] not in HARMONIC_COUNTS or shape[2] != 3:
            raise ValueError(f"spherical_harmonics has shape {shape}, expected ({count}, 1|4|9|16, 3)")

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def device(self) -> torch.device:
        return self.means.device

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The five tensors by attribute name, in declaration order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def harmonics_degree(self) -> int:
        """0 to 3."""
        return math.isqrt(self.spherical_harmonics.shape[1]) - 1

    @classmethod
    def from_rgbd(
        cls,
        srgb: torch.Tensor | np.ndarray[Any, Any],
        depth: torch.Tensor | np.ndarray[Any, Any],
        camera: Camera,
        mask: torch.Tensor | np.ndarray[Any, Any] | None = None,
        opacity: float = 0.8,
    ) -> GaussianScene:
        """One isotropic Gaussian per pixel of an RGB-D view (as in VistaDream).

        Its standard deviation is ``depth / fx / sqrt(2)``, its rotation the identity. Pixels without a finite positive
        depth and a finite colour are skipped.

        Args:
            srgb: (H, W, 3) in [0, 1].
            depth: (H, W) z-depth, metres.
            camera: with the size (W, H) of the image.
            mask: (H, W) bool, pixels to use; all if None.
            opacity: in (0, 1).

        Raises:
            ValueError: the shapes differ, or the opacity has no finite logit.
        """
        if not 0 < opacity < 1:
            raise ValueError(f"opacity {opacity} must lie strictly between 0 and 1: its logit is stored")
        colour, metres = _tensor(srgb), _tensor(depth)
        _check_image_shapes(colour, metres, camera)
        usable = torch.isfinite(metres) & (metres > 0) & torch.isfinite(colour).all(dim=-1)
        if mask is not None:
            usable &= torch.as_tensor(mask, dtype=torch.bool, device=usable.device)
        rows, columns = torch.nonzero(usable, as_tuple=True)
        distance = metres[rows, columns].double()
        return cls.from_points(
            backproject(rows, columns, distance, camera),
            colour[rows, columns],
            distance / camera.focal[0] / math.sqrt(2),
            opacity,
        )

    @classmethod
    def unfilled(cls, count: int, coefficients: int) -> GaussianScene:
        """Memory for `count` Gaussians with so many harmonics, to be written to part by part."""
        means, log_scales, quaternions = (torch.empty(count, length) for length in (3, 3, 4))
        return cls(means, log_scales, quaternions, torch.empty(count), torch.empty(count, coefficients, 3))

    @classmethod
    def from_points(
        cls, points: torch.Tensor, srgb: torch.Tensor, sigma: torch.Tensor, opacity: float
    ) -> GaussianScene:
        """Isotropic Gaussians at points (N, 3) with colours srgb (N, 3) and standard deviations sigma (N,), metres."""
        count, device = points.shape[0], points.device
        quaternions = torch.zeros(count, 4, device=device)
        quaternions[:, 0] = 1
        logit = math.log(opacity / (1 - opacity))
        return cls(
            points.float().contiguous(),
            sigma.log().float()[:, None].repeat(1, 3),
            quaternions,
            torch.full((count,), logit, device=device),
            ((srgb.float() - 0.5) / C0)[:, None, :].contiguous(),
        )

    @staticmethod
    def concatenate(scenes: Sequence[GaussianScene]) -> GaussianScene:
        """All Gaussians in order; lower SH degrees are padded with zeros.

        Raises:
            ValueError: the sequence is empty.
        """
        if not scenes:
            raise ValueError("nothing to concatenate")
        harmonics = max(scene.spherical_harmonics.shape[1] for scene in scenes)
        padded = [scene.with_harmonics(harmonics).tensors for scene in scenes]
        return GaussianScene(**{name: torch.cat([part[name] for part in padded]) for name in padded[0]})

    def with_harmonics(self, count: int) -> GaussianScene:
        """The scene with K = count coefficients: zero-padded or cut."""
        have = self.spherical_harmonics.shape[1]
        if count <= have:
            return replace(self, spherical_harmonics=self.spherical_harmonics[:, :count])
        padding = self.spherical_harmonics.new_zeros(len(self), count - have, 3)
        return replace(self, spherical_harmonics=torch.cat([self.spherical_harmonics, padding], dim=1))

    def select(self, index: Any) -> GaussianScene:
        """The rows selected by any one-dimensional torch index (slice, bool or integer tensor)."""
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> GaussianScene:
        return self._map(lambda tensor: tensor.to(device))

    def detach(self) -> GaussianScene:
        return self._map(lambda tensor: tensor.detach())

    def clone(self) -> GaussianScene:
        return self._map(lambda tensor: tensor.clone())

    def save_npz(self, path: Path | str) -> None:
        """Writes a lossless, uncompressed file; equal scenes give equal bytes."""
        save_arrays(path, {name: t.detach().cpu().numpy() for name, t in self.tensors.items()})

    @classmethod
    def load_npz(cls, path: Path | str) -> GaussianScene:
        """Inverse of save_npz.

        Raises:
            ValueError: an array is missing or has the wrong shape.
        """
        with np.load(path, allow_pickle=False) as archive:
            names = [field.name for field in fields(cls)]
            missing = sorted(set(names) - set(archive.files))
            if missing:
                raise ValueError(f"{path} is not a Gaussian scene: it lacks {', '.join(missing)}")
            return cls(**{name: torch.from_numpy(archive[name]) for name in names})

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> GaussianScene:
        return GaussianScene(**{name: function(tensor) for name, tensor in self.tensors.items()})


def _tensor(values: torch.Tensor | np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


def _check_image_shapes(srgb: torch.Tensor, depth: torch.Tensor, camera: Camera) -> None:
    size = (camera.height, camera.width)
    if tuple(depth.shape) != size or tuple(srgb.shape) != (*size, 3):
        raise ValueError(f"srgb {tuple(srgb.shape)}, depth {tuple(depth.shape)}: the camera sees {size}")


def backproject(rows: torch.Tensor, columns: torch.Tensor, depth: torch.Tensor, camera: Camera) -> torch.Tensor:
    """(N, 3) float64 world points of pixel centres at float64 z-depths."""
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    x = (columns.double() + 0.5 - cx) / fx * depth
    y = (rows.double() + 0.5 - cy) / fy * depth
    pose = torch.tensor(camera.world_from_camera, device=depth.device)
    return torch.stack([x, y, depth], dim=1) @ pose[:3, :3].T + pose[:3, 3]
