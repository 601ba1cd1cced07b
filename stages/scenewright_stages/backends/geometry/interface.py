"""Interface of geometry models: the cameras of several images, and the depth of each.

The result is in the model's own coordinate frame with arbitrary axes, origin and unit. The caller aligns it with known
cameras (``vision.similarity``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float32Array


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """A model's result for one image.

    Attributes:
        camera: pose and intrinsics, at the size of the maps.
        depth: (H, W) float32 z-depth, in the model's unit.
        confidence: (H, W) float32, larger is better; comparable within one result only.
    """

    camera: Camera
    depth: Float32Array
    confidence: Float32Array


@runtime_checkable
class GeometryEstimator(Backend, Protocol):
    """Estimates cameras and depth."""

    def estimate(self, pictures: Sequence[Float32Array]) -> list[ViewGeometry]:
        """The geometry of each image.

        Args:
            pictures: (H, W, 3) sRGB in [0, 1], all of one size. The maps may have another size.

        Raises:
            ValueError: there are no images, or their sizes differ.
            BackendContractError: the result has non-finite values, or a depth that is not positive.
        """


GEOMETRY = Capability("geometry", GeometryEstimator)


def check_view_geometry(view: ViewGeometry) -> ViewGeometry:
    """Returns the view. Raises BackendContractError unless its maps are finite and its depth is positive."""
    if not (np.isfinite(view.depth).all() and np.isfinite(view.confidence).all()):
        raise BackendContractError("the geometry of a picture holds values that are not finite")
    if not (view.depth > 0).all():
        raise BackendContractError("the depth of a picture is not positive everywhere")
    return view
