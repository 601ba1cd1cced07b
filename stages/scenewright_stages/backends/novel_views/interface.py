"""Interface of view generators: images along a camera path, from images with known cameras.

Images are float32 sRGB in [0, 1]. All cameras of a task share one world frame, in the caller's unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float32Array

Progress = Callable[[float], None]
"""Called with the fraction that is done."""


def ignore(progress: float) -> None:
    """Default that discards progress."""


@dataclass(frozen=True, eq=False)
class PosedPicture:
    """An image (H, W, 3) and its camera, of the same size."""

    srgb: Float32Array
    camera: Camera


@dataclass(frozen=True)
class DrawingSettings:
    """Settings of a generator.

    Attributes:
        steps: denoising steps.
        guidance: of the anchor frames, which are generated first along the whole path.
        guidance_between: of the frames between anchors.
        guidance_near: of frames that are almost identical to an input.
        translation_scale: factor of all distances between cameras, only for the generator.
    """

    steps: int = 50
    guidance: float = 3.0
    guidance_between: float = 2.3
    guidance_near: float = 1.2
    translation_scale: float = 1.0


@dataclass(frozen=True, eq=False)
class PathTask:
    """A camera path to generate.

    Attributes:
        inputs: images of the place; at least one.
        targets: cameras along the path in order, all of one size.
        memory: images generated earlier.
        usable: which of `memory` the generator may use; all if empty.
        anchors: how many frames to generate first; 0 for the generator's own choice.
        settings: see :class:`DrawingSettings`.
        seed: of all random draws.
    """

    inputs: Sequence[PosedPicture]
    targets: Sequence[Camera]
    memory: Sequence[PosedPicture] = ()
    usable: Sequence[bool] = ()
    anchors: int = 0
    settings: DrawingSettings = DrawingSettings()
    seed: int = 0


@runtime_checkable
class ViewGenerator(Backend, Protocol):
    """Generates images for new cameras."""

    def draw(self, task: PathTask, progress: Progress = ignore) -> list[Float32Array]:
        """An image (H, W, 3) per target.

        Raises:
            UnsupportedOption: the generator does not support the image size.
            BackendContractError: the result is not finite.
        """

    def anchors_of(self, targets: int, inputs: int) -> tuple[int, ...]:
        """Numbers of the targets that are generated first, which later paths use as memory."""


NOVEL_VIEWS = Capability("novel-views", ViewGenerator)


def check_picture(picture: Float32Array) -> Float32Array:
    """The image clipped to [0, 1]. Raises BackendContractError unless it is finite."""
    if not np.isfinite(picture).all():
        raise BackendContractError("a drawn picture holds values that are not finite")
    return np.clip(picture, 0, 1).astype(np.float32)
