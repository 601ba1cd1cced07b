"""Normals without weights: a surface inflated from the silhouette."""

from __future__ import annotations

import numpy as np

from scenewright_stages.backends.capability import FloatImage
from scenewright_stages.backends.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.normals import inflated_normals


class ClassicNormals(WeightlessBackend):
    """The inflated silhouette."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._detail = float(request.context.option("detail", 1.0))

    def estimate(self, srgb: FloatImage, alpha: FloatImage) -> FloatImage:
        """See ``NormalEstimator.estimate``; brightness is the green channel, most of the luminance."""
        return inflated_normals(alpha, np.ascontiguousarray(srgb[..., 1]), self._detail)
