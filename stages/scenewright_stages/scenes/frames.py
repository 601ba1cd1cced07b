"""Frames, the views that a scene is built from, and their storage.

A frame becomes Gaussians (`gaussians_of`) and a view that supervises training (`training_view`). The stages of a scene
pipeline pass frames to each other as one ``.npz`` file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.contract.stage import ModelSettings
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.archives import save_arrays

_FIELDS = ("srgb", "depth", "inpaint", "inpaint_without_edge", "confident", "far")


@dataclass(frozen=True, eq=False)
class Frame:
    """One view with its buffers.

    Attributes:
        kind: origin of the view, defined by the pipeline, such as ``input`` for the photograph.
        srgb: (H, W, 3) float32 sRGB in [0, 1].
        depth: (H, W) float32 z-depth in metres; 0 if unknown.
        inpaint: (H, W) bool; True for pixels that are supervised in training.
        inpaint_without_edge: (H, W) bool; `inpaint` without the edge and confidence masks. These pixels become
            Gaussians.
        confident: (H, W) bool; where the depth estimate is trusted.
        camera: intrinsics and `camera_from_world`.
        far: (H, W) bool; sky and other points on the far shell, which scene measurements ignore. None by default.

    Raises:
        ValueError: a buffer's size differs from the camera's, or a depth is negative or not finite.
    """

    kind: str
    srgb: NDArray[np.float32]
    depth: NDArray[np.float32]
    inpaint: NDArray[np.bool_]
    inpaint_without_edge: NDArray[np.bool_]
    confident: NDArray[np.bool_]
    camera: Camera
    far: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_))

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        if not self.far.size:
            object.__setattr__(self, "far", np.zeros(shape, np.bool_))
        if self.srgb.shape != (*shape, 3):
            raise ValueError(f"srgb has shape {self.srgb.shape}, the camera sees {shape}")
        for name in _FIELDS[1:]:
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, the camera sees {shape}")
        if not np.isfinite(self.depth).all() or (self.depth < 0).any():
            raise ValueError("the depth of a frame is finite and not negative; 0 marks pixels without depth")

    @property
    def near(self) -> NDArray[np.bool_]:
        """(H, W) bool: pixels with depth that are not far; if there are none, all pixels with depth."""
        seen = self.depth > 0
        near = seen & ~self.far
        return near if near.any() else seen

    @property
    def median_depth(self) -> float:
        """Median depth of the near pixels in metres; 1 without any depth. Training scales lengths by it."""
        near = self.near
        return float(np.median(self.depth[near])) if near.any() else 1.0


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


def gaussians_of(frame: Frame, opacity: float, device: torch.device | str = "cpu") -> GaussianScene:
    """One Gaussian per pixel that passes the frame's masks."""
    buffers = (frame.srgb, frame.depth, frame.inpaint_without_edge)
    srgb, depth, mask = (torch.as_tensor(buffer, device=device) for buffer in buffers)
    return GaussianScene.from_rgbd(srgb, depth, frame.camera, mask, opacity)


def training_view(frame: Frame, device: torch.device) -> View:
    """The frame as a training view: its colour and the mask of supervised pixels."""
    return View(
        camera=frame.camera,
        srgb=torch.as_tensor(frame.srgb, device=device),
        mask=torch.as_tensor(frame.inpaint, device=device),
    )


def stage_renderer(settings: ModelSettings) -> Renderer:
    """The renderer for the device on which the job's models run."""
    return renderer_for("auto", None if settings.device == "auto" else settings.device)


def _frame_from(arrays: np.lib.npyio.NpzFile, number: int, kind: str) -> Frame:
    fields = {name: arrays[f"{name}_{number}"] for name in _FIELDS}
    height, width = fields["depth"].shape
    camera = Camera(arrays[f"intrinsics_{number}"], width, height, arrays[f"camera_from_world_{number}"])
    return Frame(kind=kind, camera=camera, **fields)
