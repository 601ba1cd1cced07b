"""Adds learned matches to COLMAP's database, for pairs of photographs that SIFT matched hardly or not at all.

`estimation` calls it after SIFT. The keypoints stay SIFT's, which are exact; only what matches is found by XFeat and
LighterGlue, which see more of what lies between two photographs. Pairs that SIFT matched well keep their matches: those
of the networks are less exact, and cameras that stood on them alone were turned by a degree and more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.matching.photographs import Progress, chosen_pairs, features_of, matches_of

_LEAST_MATCHES = 15
"""Fewer matches never pass COLMAP's verification."""
_ENOUGH = 40
"""Verified matches of SIFT with which a pair needs no others."""
_LARGEST_ERROR = 2.0
"""Of a learned match, in pixels of a photograph of 1280 pixels; SIFT's may be wrong by 4."""
_SIDE = 1280


def add_learned_matches(
    database: Path,
    pictures: Path,
    names: Sequence[str],
    *,
    longest_side: int,
    in_order: bool,
    verification: pycolmap.TwoViewGeometryOptions,
    progress: Progress,
) -> int:
    """Writes matches and two-view geometries of badly matched pairs, and returns how many pairs gained.

    Args:
        database: with photographs, their SIFT keypoints and verified matches.
        pictures: folder of the photographs.
        names: of the photographs, in order.
        longest_side: in pixels, to which larger photographs are reduced.
        in_order: whether the photographs follow each other as the frames of a video.
        verification: thresholds and seed; its largest error is replaced.
        progress: called between the steps with a fraction from 0 to 1 and a message.

    Raises:
        CaptureError: a photograph cannot be read (``Unreadable``).
        ModelsNotInstalled: the weights are missing.
    """
    opened = pycolmap.Database.open(database)
    images: list[Any] = [opened.read_image_with_name(name) for name in names]
    numbers = [image.image_id for image in images]
    keypoints = [np.asarray(opened.read_keypoints(number), np.float32)[:, :2] for number in numbers]
    lens = opened.read_camera(images[0].camera_id)
    readers = [lambda name=name: _picture(pictures / name) for name in names]
    features = features_of(readers, keypoints, longest_side, lambda share, said: progress(0.2 * share, said))
    pairs = [
        (one, other)
        for one, other in chosen_pairs(features, in_order)
        if _verified(opened, numbers[one], numbers[other]) < _ENOUGH
    ]
    matches = matches_of(features, pairs, lambda share, said: progress(0.2 + 0.7 * share, said))
    lines = []
    for (one, other), rows in zip(pairs, matches, strict=True):
        if len(rows) >= max(_LEAST_MATCHES, _verified(opened, numbers[one], numbers[other]) + 1):
            _replace(opened, numbers[one], numbers[other], rows)
            lines.append(f"{names[one]} {names[other]}\n")
    opened.close()
    progress(0.9, f"verifying {len(lines)} pairs of photographs")
    if lines:
        listed = database.with_name("pairs.txt")
        listed.write_text("".join(lines))
        verification.ransac.max_error = _LARGEST_ERROR * max(lens.width, lens.height) / _SIDE
        pycolmap.verify_matches(database, listed, verification)
    return len(lines)


def _verified(database: pycolmap.Database, one: int, other: int) -> int:
    """How many verified matches a pair has."""
    if not database.exists_two_view_geometry(one, other):
        return 0
    return len(database.read_two_view_geometry(one, other).inlier_matches)


def _replace(database: pycolmap.Database, one: int, other: int, rows: NDArray[np.uint32]) -> None:
    """Replaces the matches of a pair; verification writes their geometry."""
    if database.exists_matches(one, other):
        database.delete_matches(one, other)
    if database.exists_two_view_geometry(one, other):
        database.delete_two_view_geometry(one, other)
    database.write_matches(one, other, rows)


def _picture(path: Path) -> NDArray[np.uint8]:
    """A photograph as COLMAP reads it, not turned by EXIF."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise CaptureError("Unreadable", f"{path.name} cannot be read as a photograph")
    return np.ascontiguousarray(picture[..., ::-1])
