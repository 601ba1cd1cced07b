"""First stage: eight views at one point, and the panorama that they are part of."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import SOURCE, Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageInputs, StageResult
from scenewright_stages.vision.cameras import Camera, world_from_camera_opengl
from scenewright_stages.vision.colour import uint8_from_unit
from scenewright_stages.vision.images.loading import load_sample
from scenewright_stages.vision.world.motions import VIEWS, view_camera
from scenewright_stages.vision.world.panorama import cut_view, stitch
from scenewright_stages.worldexplorer.params import WorldExplorerParams

Floats = NDArray[np.float32]
PHOTOGRAPHED, INVENTED = 255, 0
"""Levels of ``origin.png``."""
_SHAPE_TOLERANCE = 0.01
_SEAM_RATIO, _SEAM_LEAST = 4.0, 0.06


class ScaffoldStage(Stage[WorldExplorerParams]):
    """Makes the eight views and the panorama."""

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes views, panorama, its origin and the cameras."""
        block = inputs.params.scaffold
        cameras = [view_camera(view, block.size) for view in range(VIEWS)]
        warnings: list[str] = []
        if block.method == "panorama":
            panorama = read_panorama(inputs.path(INPUT, SOURCE), block.panorama_height)
            warnings.extend(seam_warnings(panorama))
            views = [cut_view(panorama, camera) for camera in cameras]
            known = np.ones(panorama.shape[:2], np.bool_)
        else:
            views = read_views(sample, inputs, block.size)
            stitched = stitch(views, cameras, min(block.panorama_height, 3 * block.size))
            panorama, known = with_poles(stitched.srgb, stitched.known), stitched.known
            share = 1 - float(known.mean())
            warnings.append(f"{share:.0%} of the sphere, above and below the eight views, continues their borders")
        path = inputs.workspace / "transforms.json"
        path.write_text(json.dumps(transforms(cameras, [f"final/{view:03d}.png" for view in range(VIEWS)]), indent=1))
        origin = np.where(known, PHOTOGRAPHED, INVENTED).astype(np.uint8)
        metrics = {"method": block.method, "photographed": round(float(known.mean()), 4)}
        return StageResult(
            {
                "views": [Pixels(uint8_from_unit(view)) for view in views],
                "panorama": Pixels(uint8_from_unit(panorama)),
                "origin": Pixels(origin),
                "cameras": path,
            },
            metrics=metrics,
            warnings=warnings,
        )


def read_panorama(path: Path, height: int) -> Floats:
    """(H, 2 H, 3) float32 sRGB of an equirectangular picture, reduced to at most `height` rows.

    Raises:
        SampleError: the picture cannot be read, or is not twice as wide as high.
    """
    picture = load_sample(path).srgb
    rows, columns = picture.shape[:2]
    if abs(columns / rows - 2) > 2 * _SHAPE_TOLERANCE:
        raise SampleError(
            "NotAPanorama",
            f"the picture has {columns}x{rows} pixels, an equirectangular panorama is twice as wide as high: for eight "
            "pictures set scaffold.method to provided; one ordinary photograph suits the pipeline vistadream",
        )
    rows = min(rows, height)
    resized = cv2.resize(picture, (2 * rows, rows), interpolation=cv2.INTER_AREA)
    return np.clip(resized, 0, 1).astype(np.float32)


def seam_warnings(panorama: Floats) -> list[str]:
    """A sentence where the left and the right border do not continue each other."""
    across = float(np.abs(panorama[:, 0] - panorama[:, -1]).mean())
    usual = float(np.abs(np.diff(panorama, axis=1)).mean())
    if across > max(_SEAM_RATIO * usual, _SEAM_LEAST):
        return [
            "the left and right borders of the picture do not fit together: it does not show all 360 degrees, or was "
            "cropped; the world will have a seam behind the first view"
        ]
    return []


def read_views(sample: Sample, inputs: StageInputs[WorldExplorerParams], size: int) -> list[Floats]:
    """The eight pictures at the scaffold's size.

    Raises:
        SampleError: pictures are missing, not square, or of differing sizes.
    """
    names = [f"view_{view}" for view in range(VIEWS)]
    missing = [f"{view:03d}" for view, name in enumerate(names) if name not in sample.files]
    if missing:
        raise SampleError(
            "ViewsMissing",
            f"scaffold.method provided needs a folder with the pictures 000 to 007; missing: {', '.join(missing)}",
        )
    pictures = [load_sample(inputs.path(INPUT, name)).srgb for name in names]
    shapes = {picture.shape[:2] for picture in pictures}
    if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sorted(shapes))
        raise SampleError("ViewsDiffer", f"the eight pictures must be square and of one size, not {listed}")
    method = cv2.INTER_AREA if pictures[0].shape[0] > size else cv2.INTER_CUBIC
    resized = (cv2.resize(picture, (size, size), interpolation=method) for picture in pictures)
    return [np.clip(each, 0, 1).astype(np.float32) for each in resized]


def with_poles(panorama: Floats, known: NDArray[np.bool_]) -> Floats:
    """The panorama with its unknown caps filled: each column's border, ever smoother towards the pole."""
    filled = panorama.copy()
    height = len(panorama)
    for rows in (range(height // 2, -1, -1), range(height // 2, height)):
        before = filled[height // 2]
        for row in rows:
            # Circles shrink towards the poles: an even blur on the sphere is a wider one in columns.
            circle = max(np.cos((0.5 - (row + 0.5) / height) * np.pi), 0.02)
            reach = min(int(0.7 / circle) * 2 + 1, panorama.shape[1] // 2 * 2 - 1)
            wide = np.concatenate([before[-reach:], before, before[:reach]])[None]
            smooth = cv2.blur(wide, (reach, 1))[0, reach:-reach]
            filled[row] = np.where(known[row][:, None], panorama[row], smooth)
            before = filled[row]
    return filled


def transforms(cameras: list[Camera], names: list[str]) -> dict[str, object]:
    """Cameras of one lens as nerfstudio's ``transforms.json`` (OpenGL poses)."""
    first = cameras[0]
    (fx, fy), (cx, cy) = first.focal, first.principal_point
    frames = [
        {"file_path": name, "transform_matrix": world_from_camera_opengl(camera.world_from_camera).tolist()}
        for camera, name in zip(cameras, names, strict=True)
    ]
    lens = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": first.width, "h": first.height}
    return {"camera_model": "OPENCV", **lens, "frames": frames}
