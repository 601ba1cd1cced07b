"""What a relighting stage may ask of a backend. All of them may be called from several threads at once.

Images are float32 sRGB in [0, 1], shape (H, W, 3); directions are in the camera's frame (OpenCV: x right, y down, z
forward).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from scenewright_stages.models.errors import BackendContractError
from scenewright_stages.models.interfaces import Backend, FloatImage

if TYPE_CHECKING:
    from scenewright_stages.vision.people import PersonMask

Box = tuple[float, float, float, float]


@runtime_checkable
class Segmenter(Backend, Protocol):
    """Finds the subject."""

    def segment(self, srgb: FloatImage, prompt: str, box: Box | None = None, seed: int = 0) -> PersonMask:
        """The subject's matte at full size.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            prompt: what to look for, such as ``person``; backends without text understanding find people.
            box: left, top, right, bottom around it in pixels; None: wherever it is.
            seed: same image, prompt, box and seed give the same matte.

        Raises:
            NoSubject: there is none.
            BackendContractError: the answer is unusable.
        """


@runtime_checkable
class AlbedoEstimator(Backend, Protocol):
    """Takes the light off."""

    def estimate(self, srgb: FloatImage, alpha: FloatImage, seed: int = 0) -> tuple[FloatImage, FloatImage | None]:
        """Albedo at the image's size and, where the method knows it, the shading.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            alpha: (H, W) float32 in [0, 1], the subject's matte.
            seed: same image, matte and seed give the same albedo.

        Returns:
            (H, W, 3) float32 sRGB in [0, 1]; (H, W) float32 linear, or None.

        Raises:
            BackendContractError: the answer is not finite or of another shape.
        """


@runtime_checkable
class NormalEstimator(Backend, Protocol):
    """Tells which way the surface faces."""

    def estimate(self, srgb: FloatImage, alpha: FloatImage) -> FloatImage:
        """(H, W, 3) float32 unit normals; a surface that faces the camera has z = -1.

        Raises:
            BackendContractError: the answer is not finite or of another shape.
        """


@runtime_checkable
class Captioner(Backend, Protocol):
    """Describes a picture."""

    def caption(self, srgb: FloatImage, instruction: str) -> str:
        """What the instruction asks for, in one paragraph.

        Raises:
            BackendContractError: the answer is empty.
        """


def check_albedo(albedo_srgb: FloatImage, srgb: FloatImage) -> FloatImage:
    """The albedo clipped to [0, 1]. Raises BackendContractError unless it is finite and as large as the image."""
    if albedo_srgb.shape != srgb.shape or not np.isfinite(albedo_srgb).all():
        raise BackendContractError(f"the albedo {albedo_srgb.shape} does not fit {srgb.shape} or is not finite")
    return np.clip(albedo_srgb, 0, 1).astype(np.float32)


def check_normals(normals: FloatImage, srgb: FloatImage) -> FloatImage:
    """The normals at unit length; those without any direction face the camera.

    Raises:
        BackendContractError: they are not finite or not as large as the image.
    """
    from scenewright_stages.vision.normals.kernels import unit_normals

    if normals.shape != srgb.shape:
        raise BackendContractError(f"the normals {normals.shape} do not fit {srgb.shape}")
    unit, finite = unit_normals(np.ascontiguousarray(normals, np.float32))
    if not finite:
        raise BackendContractError("the normals are not finite")
    result: FloatImage = unit
    return result
