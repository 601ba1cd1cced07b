"""Frames: what the scene was built from, one view each, as the single-image pipeline defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.archives import save_arrays
from scenewright_stages.vision.cameras import Camera

FrameKind = Literal["input", "outpaint", "coarse"]
_FIELDS = ("srgb", "depth", "inpaint", "inpaint_without_edge", "confident")


@dataclass(frozen=True, eq=False)
class Frame:
    """One view with its buffers.

    Attributes:
        kind: the photograph, the painted border, or a view of the coarse loop.
        srgb: (H, W, 3) float32 sRGB in [0, 1].
        depth: (H, W) float32 z-depth in metres; 0 where there is none.
        inpaint: (H, W) bool; True means that the pixel is supervised in training.
        inpaint_without_edge: (H, W) bool; what is left of `inpaint` after the edge and confidence masks. These pixels
            become Gaussians.
        confident: (H, W) bool; where the depth estimate is trusted.
        camera: intrinsics and `camera_from_world`.
    """

    kind: FrameKind
    srgb: NDArray[np.float32]
    depth: NDArray[np.float32]
    inpaint: NDArray[np.bool_]
    inpaint_without_edge: NDArray[np.bool_]
    confident: NDArray[np.bool_]
    camera: Camera

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        if self.srgb.shape != (*shape, 3):
            raise ValueError(f"srgb has shape {self.srgb.shape}, the camera sees {shape}")
        for name in _FIELDS[1:]:
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, the camera sees {shape}")
        if not np.isfinite(self.depth).all() or (self.depth < 0).any():
            raise ValueError("the depth of a frame is finite and not negative; 0 marks pixels without depth")


def save_frames(path: Path, frames: Sequence[Frame]) -> None:
    """Writes frames to an ``.npz`` file: equal frames give equal bytes."""
    arrays: dict[str, NDArray[np.generic]] = {"kinds": np.array([frame.kind for frame in frames])}
    for number, frame in enumerate(frames):
        for name in _FIELDS:
            arrays[f"{name}_{number}"] = getattr(frame, name)
        arrays[f"intrinsics_{number}"] = frame.camera.intrinsics
        arrays[f"camera_from_world_{number}"] = frame.camera.camera_from_world
    save_arrays(path, arrays)


def load_frames(path: Path) -> list[Frame]:
    """The inverse of :func:`save_frames`."""
    with np.load(path) as arrays:
        return [_frame_from(arrays, number, str(kind)) for number, kind in enumerate(arrays["kinds"])]


def _frame_from(arrays: np.lib.npyio.NpzFile, number: int, kind: str) -> Frame:
    fields = {name: arrays[f"{name}_{number}"] for name in _FIELDS}
    height, width = fields["depth"].shape
    camera = Camera(arrays[f"intrinsics_{number}"], width, height, arrays[f"camera_from_world_{number}"])
    return Frame(kind=kind, camera=camera, **fields)  # type: ignore[arg-type]
