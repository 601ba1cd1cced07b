"""Triangulates points from images with known, fixed poses, with COLMAP.

Runs deterministically on the CPU, like pose estimation. Only images with similar viewing directions are matched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.vision.geometry.cameras import Camera, quaternion_from_rotation
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.estimation import (
    MINIMUM_POINTS,
    EstimationSettings,
    Progress,
    find_features,
    matching_options,
)

_WIDEST_DEGREES = 50.0
_LARGEST_ERROR = 2.0
_PICTURE = "{:05d}.png"


@dataclass(frozen=True, eq=False)
class Triangulation:
    """Triangulated points.

    Attributes:
        points: (N, 3) float64, world coordinates.
        colours: (N, 3) uint8.
        seen: (M, 2) int64 pairs of an image and a point visible in it.
        reprojection_error: mean, in pixels.
    """

    points: NDArray[np.float64]
    colours: NDArray[np.uint8]
    seen: NDArray[np.int64]
    reprojection_error: float


def triangulate(
    pictures: Sequence[NDArray[np.uint8]],
    cameras: Sequence[Camera],
    folder: Path,
    settings: EstimationSettings,
    progress: Progress,
) -> Triangulation:
    """Triangulates points.

    Args:
        pictures: (H, W, 3) sRGB images, all of one size.
        cameras: of the images, with common intrinsics.
        folder: working folder; must be unused.
        settings: COLMAP settings.
        progress: called between the steps with a fraction from 0 to 1 and a message.

    Raises:
        ValueError: the intrinsics differ.
        CaptureError: hardly any point is seen from two viewpoints (``TooFewPoints``).
    """
    if any(not np.allclose(each.intrinsics, cameras[0].intrinsics) for each in cameras):
        raise ValueError("triangulation takes pictures of one lens")
    shown, database = folder / "pictures", folder / "matches.db"
    shown.mkdir(parents=True)
    names = [_PICTURE.format(number) for number in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(shown / name)
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    pycolmap.set_random_seed(settings.seed)
    reader = _reader(cameras[0])
    find_features(database, shown, names, reader, settings, lambda share, said: progress(0.4 * share, said))
    progress(0.4, f"matching {len(names)} pictures")
    _match(database, folder / "pairs.txt", names, cameras, settings)
    progress(0.9, "triangulating")
    return _points(_known(folder / "known", names, cameras), database, shown, folder / "points", settings)


def _reader(camera: Camera) -> pycolmap.ImageReaderOptions:
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model, reader.camera_params = "PINHOLE", f"{fx!r},{fy!r},{cx!r},{cy!r}"
    return reader


def _match(
    database: Path, listed: Path, names: Sequence[str], cameras: Sequence[Camera], settings: EstimationSettings
) -> None:
    forward = np.stack([camera.camera_from_world[2, :3] for camera in cameras])
    alike = np.triu(forward @ forward.T > np.cos(np.radians(_WIDEST_DEGREES)), k=1)
    listed.write_text("".join(f"{names[one]} {names[other]}\n" for one, other in np.argwhere(alike).tolist()))
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = listed
    matching, verification = matching_options(settings)
    pycolmap.match_image_pairs(
        database,
        matching_options=matching,
        pairing_options=pairing,
        verification_options=verification,
        device=pycolmap.Device.cpu,
    )


def _known(folder: Path, names: Sequence[str], cameras: Sequence[Camera]) -> pycolmap.Reconstruction:
    """A model of poses without points."""
    folder.mkdir()
    first = cameras[0]
    lens = " ".join(repr(float(each)) for each in (*first.focal, *first.principal_point))
    (folder / "cameras.txt").write_text(f"1 PINHOLE {first.width} {first.height} {lens}\n")
    lines = []
    for number, (name, camera) in enumerate(zip(names, cameras, strict=True), 1):
        pose = camera.camera_from_world
        numbers = [*quaternion_from_rotation(pose[:3, :3]), *pose[:3, 3]]
        lines.append(f"{number} {' '.join(repr(float(each)) for each in numbers)} 1 {name}\n\n")
    (folder / "images.txt").write_text("".join(lines))
    (folder / "points3D.txt").write_text("")
    model = pycolmap.Reconstruction()
    model.read_text(folder)
    return model


def _points(
    known: pycolmap.Reconstruction, database: Path, pictures: Path, folder: Path, settings: EstimationSettings
) -> Triangulation:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = options.mapper.num_threads = 1
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = settings.seed
    folder.mkdir()
    found = pycolmap.triangulate_points(known, database, pictures, folder, options=options)
    kept = [(number, point) for number, point in sorted(found.points3D.items()) if point.error <= _LARGEST_ERROR]
    if len(kept) < MINIMUM_POINTS:
        raise CaptureError(
            "TooFewPoints",
            f"{len(kept)} points are seen from several places, at least {MINIMUM_POINTS} are needed: the pictures must "
            "show surfaces with detail that agree with each other",
        )
    picture = {number: int(Path(image.name).stem) for number, image in found.images.items()}
    seen = [(picture[element.image_id], at) for at, (_, point) in enumerate(kept) for element in point.track.elements]
    return Triangulation(
        np.stack([point.xyz for _, point in kept]),
        np.stack([point.color for _, point in kept]).astype(np.uint8),
        np.array(sorted(set(seen)), np.int64),
        float(np.mean([point.error for _, point in kept])),
    )
