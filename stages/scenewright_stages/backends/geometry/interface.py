"""What a stage may ask of a model of geometry: the cameras of several pictures, and the depth of each.

The answer lives in a world of the model's own: its axes, its origin and its unit of length mean nothing to the caller,
who brings them into the world of known cameras (``vision.similarity``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.capability import Backend, Capability, FloatImage
from scenewright_stages.backends.errors import BackendContractError
from scenewright_stages.vision.cameras import Camera


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """What a model says of one picture.

    Attributes:
        camera: pose and lens, of the size of the maps.
        depth: (H, W) float32 z-depth, in the model's unit.
        confidence: (H, W) float32, larger is surer; comparable within one answer only.
    """

    camera: Camera
    depth: FloatImage
    confidence: FloatImage


@runtime_checkable
class GeometryEstimator(Backend, Protocol):
    """Finds cameras and depth."""

    def estimate(self, pictures: Sequence[FloatImage]) -> list[ViewGeometry]:
        """The geometry of each picture.

        Args:
            pictures: (H, W, 3) sRGB in [0, 1], all of one size. The maps may have another size.

        Raises:
            ValueError: there is no picture, or they differ in size.
            BackendContractError: the answer holds values that are not finite, or a depth that is not positive.
        """


GEOMETRY = Capability("geometry", GeometryEstimator)


def check_view_geometry(view: ViewGeometry) -> ViewGeometry:
    """The same view. Raises BackendContractError unless its maps are finite and its depth is positive."""
    if not (np.isfinite(view.depth).all() and np.isfinite(view.confidence).all()):
        raise BackendContractError("the geometry of a picture holds values that are not finite")
    if not (view.depth > 0).all():
        raise BackendContractError("the depth of a picture is not positive everywhere")
    return view
