"""What a stage may ask of a generator of views: pictures along a path of cameras, from pictures of known cameras.

Pictures are float32 sRGB in [0, 1]. All cameras of a task share one world; its unit is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.capability import Backend, Capability, FloatImage
from scenewright_stages.backends.errors import BackendContractError
from scenewright_stages.vision.cameras import Camera

Progress = Callable[[float], None]
"""Called with the fraction that is done."""


def ignore(progress: float) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class PosedPicture:
    """A picture (H, W, 3) and the camera that took it, of the same size."""

    srgb: FloatImage
    camera: Camera


@dataclass(frozen=True)
class DrawingSettings:
    """How a generator works.

    Attributes:
        steps: denoising steps.
        guidance: of the frames that are drawn first, along the whole path.
        guidance_between: of the frames between those.
        guidance_near: of frames that an input already shows nearly the same.
        translation_scale: factor of all distances between cameras, for the generator alone.
    """

    steps: int = 50
    guidance: float = 3.0
    guidance_between: float = 2.3
    guidance_near: float = 1.2
    translation_scale: float = 1.0


@dataclass(frozen=True, eq=False)
class PathTask:
    """A path of cameras to draw.

    Attributes:
        inputs: pictures of the place; at least one.
        targets: cameras along the path in order, all of one size.
        memory: pictures that were drawn before.
        usable: which of them may be shown to the generator; all of them when empty.
        anchors: how many frames to draw first; 0 for the generator's own choice.
        settings: see there.
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
    """Draws pictures from cameras where nobody took one."""

    def draw(self, task: PathTask, progress: Progress = ignore) -> list[FloatImage]:
        """A picture (H, W, 3) of each target.

        Raises:
            UnsupportedOption: pictures of a size that the generator cannot draw.
            BackendContractError: the answer is not finite.
        """

    def anchors_of(self, targets: int, inputs: int) -> tuple[int, ...]:
        """Which of so many targets are drawn first, for later paths to remember."""


NOVEL_VIEWS = Capability("novel-views", ViewGenerator)


def check_picture(picture: FloatImage) -> FloatImage:
    """The picture clipped to [0, 1]. Raises BackendContractError unless it is finite."""
    if not np.isfinite(picture).all():
        raise BackendContractError("a drawn picture holds values that are not finite")
    return np.clip(picture, 0, 1).astype(np.float32)
