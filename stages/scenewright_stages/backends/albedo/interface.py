"""Interface of albedo backends (the image without lighting), and the classic backends.

Images are float32 sRGB in [0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.imaging.albedo import AlbedoOptions, estimate_albedo
from scenewright_stages.vision.types import Float32Array


@runtime_checkable
class AlbedoEstimator(Backend, Protocol):
    """Removes lighting from an image."""

    def estimate(
        self, srgb: Float32Array, alpha: Float32Array, seed: int = 0
    ) -> tuple[Float32Array, Float32Array | None]:
        """Albedo at the image's size and, if the method provides it, the shading.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            alpha: (H, W) float32 in [0, 1], the subject's matte.
            seed: same image, matte and seed give the same albedo.

        Returns:
            (H, W, 3) float32 sRGB in [0, 1]; (H, W) float32 linear, or None.

        Raises:
            BackendContractError: the result is not finite or has the wrong shape.
        """


ALBEDO = Capability("albedo", AlbedoEstimator)


def check_albedo(albedo_srgb: Float32Array, srgb: Float32Array) -> Float32Array:
    """The albedo clipped to [0, 1]. Raises BackendContractError unless it is finite and as large as the image."""
    if albedo_srgb.shape != srgb.shape or not np.isfinite(albedo_srgb).all():
        raise BackendContractError(f"the albedo {albedo_srgb.shape} does not fit {srgb.shape} or is not finite")
    return np.clip(albedo_srgb, 0, 1).astype(np.float32)


class ClassicAlbedo(WeightlessBackend):
    """Retinex, lightness or gradients, selected by the backend's name.

    Raises:
        UnsupportedOption: an option has an invalid value.
    """

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._method = request.facts.name
        try:
            self._options = AlbedoOptions.from_mapping(request.context.options)
        except (TypeError, ValueError) as error:
            field = f"albedo.{request.facts.name}"
            raise UnsupportedOption(field, dict(request.context.options), [str(error)]) from error

    def estimate(
        self, srgb: Float32Array, alpha: Float32Array, seed: int = 0
    ) -> tuple[Float32Array, Float32Array | None]:
        """See ``AlbedoEstimator.estimate``; ignores the seed."""
        return estimate_albedo(srgb, alpha, self._method, self._options)
