"""One photograph of a scaffold: its field of view, its place among the views, and conversions for models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from scenewright_stages.backends.novel_views.interface import PosedPicture
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import SOURCE
from scenewright_stages.contract.stage import StageInputs
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.images.loading import load_sample
from scenewright_stages.vision.places.worlds.gaps import resampled
from scenewright_stages.vision.places.worlds.motions import view_camera
from scenewright_stages.vision.places.worlds.panorama import rays_of
from scenewright_stages.vision.places.worlds.ring import mirrored_ring
from scenewright_stages.vision.types import Float32Array, Mask
from scenewright_stages.worldexplorer.params import WorldExplorerParams

SHAPE_TOLERANCE = 0.01
_USUAL_DEGREES = 60.0


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph that looks along one of the views.

    Attributes:
        srgb: (H, W, 3) float32.
        degrees: horizontal field of view.
        view: number of the view that it looks along.
    """

    srgb: Float32Array
    degrees: float
    view: int = 0

    @property
    def camera(self) -> Camera:
        """The camera that took it, rotated like its view."""
        height, width = self.srgb.shape[:2]
        own = Camera.from_field_of_view(width, height, self.degrees)
        return own.with_pose(view_camera(self.view, 1).camera_from_world)

    def placed(self, size: int) -> tuple[Float32Array, Mask]:
        """The photograph resampled (once) into its (size, size, 3) view, and the (size, size) mask that it covers."""
        camera, own = view_camera(self.view, size), self.camera
        scale = min(1.0, camera.focal[0] / own.focal[0])
        small = (max(1, round(own.width * scale)), max(1, round(own.height * scale)))
        picture = np.asarray(cv2.resize(self.srgb, small, interpolation=cv2.INTER_AREA), np.float32)
        return resampled(picture, own.scaled(*small), rays_of(camera))

    def over(self, view: Float32Array) -> Float32Array:
        """A square view with the photograph pasted where it covers."""
        seen, shown = self.placed(len(view))
        return np.where(shown[..., None], seen, view).astype(np.float32)

    def shown(self, height: int) -> Mask:
        """(height, 2 height) mask of the part of a panorama that it covers."""
        ahead = mirrored_ring(self.srgb, self.degrees, height).photographed
        return np.asarray(np.roll(ahead, -self.view * height // 4, axis=1))

    def square(self, size: int) -> PosedPicture:
        """Its square centre crop, no wider than a scaffold view, resized to `size` pixels."""
        height, width = self.srgb.shape[:2]
        own, whole = self.camera, view_camera(self.view, size)
        widest = round(2 * own.focal[0] * np.tan(np.radians(whole.field_of_view[0] / 2)))
        side = min(width, height, widest)
        left, top = (width - side) // 2, (height - side) // 2
        camera = whole if side == widest else own.cropped(left, top, side, side).scaled(size, size)
        return PosedPicture(resized(self.srgb[top : top + side, left : left + side], size), camera)

    def shape_warnings(self) -> list[str]:
        """A warning if its aspect ratio suggests a panorama."""
        height, width = self.srgb.shape[:2]
        if abs(width / height - 2) < 2 * SHAPE_TOLERANCE:
            return ["the picture is twice as wide as high: a 360-degree panorama needs scaffold.method panorama"]
        return []


def read_photograph(inputs: StageInputs[WorldExplorerParams], role: str = SOURCE, view: int = 0) -> Photograph:
    """Reads the photograph of a role, with the field of view from the parameters or the file.

    Raises:
        SampleError: it is missing or cannot be read.
    """
    photograph = load_sample(picture_path(inputs, role))
    degrees = inputs.params.scaffold.field_of_view_degrees or photograph.horizontal_degrees or _USUAL_DEGREES
    return Photograph(photograph.srgb, degrees, view)


def picture_path(inputs: StageInputs[WorldExplorerParams], role: str = SOURCE) -> Path:
    """Path of a sample's single image.

    Raises:
        SampleError: the sample has none.
    """
    found = inputs.find(INPUT, role)
    if found is not None:
        return found
    method = inputs.params.scaffold.method
    if role != SOURCE:
        raise SampleError(
            "OppositeMissing",
            f"scaffold.method {method} needs a second photograph of what lies behind: 004 beside 000 in a folder, "
            "scaffold.opposite_image of an entry, or views_180/<variant>/index_NNNN_180.* in a curated set",
        )
    raise SampleError(
        "PictureMissing",
        f"scaffold.method {method} takes one picture, and there is none: for a folder with the pictures 000 to 007 set "
        "scaffold.method to provided; for a text alone scaffoldGen, which needs the weights of FLUX.1",
    )


def resized(srgb: Float32Array, size: int) -> Float32Array:
    """Resizes to (size, size, 3), clipped to [0, 1]."""
    if srgb.shape[:2] == (size, size):
        return srgb
    method = cv2.INTER_AREA if srgb.shape[0] > size else cv2.INTER_CUBIC
    return np.clip(cv2.resize(srgb, (size, size), interpolation=method), 0, 1).astype(np.float32)
