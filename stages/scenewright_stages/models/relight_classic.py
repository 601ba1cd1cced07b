"""The relighting backends without weights, as the same interfaces as the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scenewright_stages.models.errors import BackendContractError, UnsupportedOption
from scenewright_stages.models.interfaces import BackendRecord, FloatImage
from scenewright_stages.models.loading import LoadRequest
from scenewright_stages.models.relight_interfaces import Box

if TYPE_CHECKING:
    from scenewright_stages.vision.people import PersonMask


class ClassicBackend:
    """Holds a record and nothing else."""

    def __init__(self, request: LoadRequest) -> None:
        self.record: BackendRecord = request.record

    def release(self) -> None:
        """Nothing is held."""


class ClassicSegmenter(ClassicBackend):
    """Finds the person with the clearest face, or the one in a box; a prompt is not understood."""

    def segment(self, srgb: FloatImage, prompt: str, box: Box | None = None, seed: int = 0) -> PersonMask:
        """See ``Segmenter.segment``. Raises NoSubject."""
        from scenewright_stages.vision.people import find_person

        return find_person(srgb, box, seed)


class SuppliedMask(ClassicBackend):
    """The mask beside the image; the stage reads it, as only it knows the file."""

    def segment(self, srgb: FloatImage, prompt: str, box: Box | None = None, seed: int = 0) -> PersonMask:
        """Raises BackendContractError: there is nothing to find in the picture itself."""
        raise BackendContractError("the mask backend takes the mask from a file beside the image")


class ClassicAlbedo(ClassicBackend):
    """Retinex, lightness or gradients, by the backend's name.

    Raises:
        UnsupportedOption: a value that the method cannot use.
    """

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        from scenewright_stages.vision.albedo import AlbedoOptions

        self._method = request.spec.name
        try:
            self._options = AlbedoOptions.from_mapping(request.context.options)
        except (TypeError, ValueError) as error:
            field = f"albedo.{request.spec.name}"
            raise UnsupportedOption(field, dict(request.context.options), [str(error)]) from error

    def estimate(self, srgb: FloatImage, alpha: FloatImage, seed: int = 0) -> tuple[FloatImage, FloatImage | None]:
        """See ``AlbedoEstimator.estimate``; nothing is drawn."""
        from scenewright_stages.vision.albedo import estimate_albedo

        return estimate_albedo(srgb, alpha, self._method, self._options)


class ClassicNormals(ClassicBackend):
    """The inflated silhouette."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._detail = float(request.context.option("detail", 1.0))

    def estimate(self, srgb: FloatImage, alpha: FloatImage) -> FloatImage:
        """See ``NormalEstimator.estimate``; brightness is the green channel, most of the luminance."""
        from scenewright_stages.vision.normals import inflated_normals

        return inflated_normals(alpha, np.ascontiguousarray(srgb[..., 1]), self._detail)


class KnownLightCaption(ClassicBackend):
    """The caption from the light that is known; the stage writes it, as only it knows the light."""

    def caption(self, srgb: FloatImage, instruction: str) -> str:
        """Raises BackendContractError: nothing is seen in the picture itself."""
        raise BackendContractError("the classic caption is made from the light's parameters, not from the picture")
