"""Albedo without weights: Retinex, lightness or gradients, whichever the backend's name says."""

from __future__ import annotations

from scenewright_stages.backends.capability import FloatImage
from scenewright_stages.backends.errors import UnsupportedOption
from scenewright_stages.backends.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.albedo import AlbedoOptions, estimate_albedo


class ClassicAlbedo(WeightlessBackend):
    """Retinex, lightness or gradients, by the backend's name.

    Raises:
        UnsupportedOption: a value that the method cannot use.
    """

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._method = request.facts.name
        try:
            self._options = AlbedoOptions.from_mapping(request.context.options)
        except (TypeError, ValueError) as error:
            field = f"albedo.{request.facts.name}"
            raise UnsupportedOption(field, dict(request.context.options), [str(error)]) from error

    def estimate(self, srgb: FloatImage, alpha: FloatImage, seed: int = 0) -> tuple[FloatImage, FloatImage | None]:
        """See ``AlbedoEstimator.estimate``; nothing is drawn."""
        return estimate_albedo(srgb, alpha, self._method, self._options)
