"""Says of a capture, before anything is trained, what cannot work in it, and what will work badly.

The capture stage calls `check_views` and `view_notes` with the loaded photographs, the poses stage `copies`. Refused is
what gives no scene at all; everything else is a note that names the photographs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.planes import fitted_plane
from scenewright_stages.vision.geometry.points import inside_picture, project
from scenewright_stages.vision.imaging.metrics import sharpness
from scenewright_stages.vision.places.captures.errors import CaptureError
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs
from scenewright_stages.vision.types import Float64Array, Uint8Array

MINIMUM_POINTS = 100
_POINTS = 2000
_LEAST_DEGREES = 0.5
"""Angle between the outermost rays to the median point. Structure from motion discards points below 1.5 degrees."""
_SAME_PLACE = 1e-9
"""Cameras are in one place if their distances are so small in units of the coordinates."""
_THIN, _STRAIGHT_DEGREES = 0.01, 15.0
"""Spread of the points about a plane relative to its distance, and angle of the cameras to its normal."""
_BLURRED = 0.35
"""Sharpness relative to the capture's median."""
_FINE, _LEAST_FINE = 1 / 80, 0.06
"""Structures finer than this share of the width, and their least share of the contrast.

Sound photographs of trees have 0.5, of a smooth room 0.15. After a blur by 3 % of the width they have less than 0.04.
"""
_THUMBNAIL, _ALIKE, _EQUAL = (32, 24), 1.5, 3.0
"""Size, and root mean square difference in levels: of thumbnails that may be copies, and of pictures that are."""
_FLAT = 3.0
"""Pictures whose levels deviate less than this are all alike."""
_OUT_OF_SIGHT = 0.2
"""Share of points. Structure from motion keeps points that two photographs show; wrong poses lose a quarter or more."""
_MOSTLY = 0.5
_FAR = 1000.0
"""Distance of a camera from the others' middle, in their median distance, beyond which its pose is hardly meant."""
_LEAST_DENSITY, _LEAST_KEPT = 0.1, 0.05
"""Points on what masks keep, relative to its area, below which the masks must be inverted; and the least such area.

Points are found on what is kept, or anywhere if no mask was used: at least as densely as in the whole picture.
"""
_DEPTHS = np.geomspace(0.25, 32.0, 8)
_RAYS, _NEIGHBOURS = 8, 60
_LEAST_SHARED = 0.05


def check_views(photographs: PosedPhotographs) -> None:
    """Refuses cameras that only turn, and photographs that hardly show anything in common.

    Raises:
        CaptureError: reasons PureRotation and NoOverlap.
    """
    cameras = photographs.cameras
    angle = triangulation_degrees(photographs.points, cameras)
    if _in_one_place(cameras) or (angle is not None and angle < _LEAST_DEGREES):
        seen = (
            "all cameras are in one place" if angle is None else f"the median point is seen under {angle:.2f} degrees"
        )
        raise CaptureError(
            "PureRotation",
            f"the camera turned on the spot ({seen}), so nothing tells near from far: take photographs from different "
            "places, or stitch these to a panorama and use worldexplorer",
        )
    alone = lone_views(photographs)
    if len(alone) > len(cameras) / 2:
        raise CaptureError(
            "NoOverlap",
            f"{len(alone)} of {len(cameras)} photographs show nothing that another one shows "
            f"({_named(photographs, alone)}): neighbours must overlap by half or more",
        )
    if (density := density_on_kept(photographs)) < _LEAST_DENSITY:
        raise CaptureError(
            "MaskInverted",
            f"the points of the capture lie where masks or transparency leave pixels out (only {density:.0%} as dense "
            "on what is kept as in the whole picture): black is what masks leave out, so invert them",
        )


def view_notes(photographs: PosedPhotographs) -> list[str]:
    """Notes about views that do not help, and about a scene that they hardly determine."""
    notes = []
    if alone := lone_views(photographs):
        notes.append(f"no other photograph shows what these show: {_named(photographs, alone)}")
    if (lost := points_out_of_sight(photographs)) > _OUT_OF_SIGHT:
        notes.append(
            f"{lost:.0%} of the points are before no photograph: poses and points may be of different frames, poses "
            "may be inverted, or their axes may be another program's"
        )
    notes += masks_notes({each.name: each.valid_share for each in photographs.photographs})
    if far := _far_away(photographs):
        notes.append(
            f"stand more than {_FAR:g} times as far from the others as those from each other: "
            f"{_named(photographs, far)}; their poses may be damaged"
        )
    if flat_and_straight(photographs):
        notes.append(
            "all points lie on one plane, which the cameras see straight on: focal length and distance can hardly be "
            "told apart, and relief is flattened. Some photographs at a slant determine both"
        )
    sharp = np.array([sharpness(each.srgb, each.valid) for each in photographs.photographs])
    usual = float(np.median(sharp))
    fine = float(np.median([_fine_share(each) for each in photographs.photographs]))
    if fine < _LEAST_FINE:
        notes.append(
            f"the photographs are blurred: structures finer than {_FINE:.2%} of their width make {fine:.1%} of the "
            "contrast (sound ones: more than 15%). The scene cannot be sharper than they are"
        )
    if blurred := [number for number, each in enumerate(sharp) if each < _BLURRED * usual]:
        notes.append(
            f"much more blurred than the others, and better left out: {_named(photographs, blurred)} (less than "
            f"{_BLURRED:.0%} of the usual sharpness)"
        )
    return notes


def masks_notes(valid: Mapping[str, float]) -> list[str]:
    """Notes on masks that may be inverted.

    Args:
        valid: share of the pixels that count, by the photograph's name.
    """
    left_out = 1 - float(np.mean([*valid.values()]))
    if left_out > _MOSTLY:
        return [
            f"{left_out:.0%} of all pixels are left out, by masks, transparency or lens: of masks, what is black is"
        ]
    if hidden := [name for name, share in valid.items() if share < 1 - _MOSTLY]:
        return [
            "more than half of their pixels are left out, by masks, transparency or lens: "
            f"{_listed(hidden)}. Of masks, what is black is"
        ]
    return []


def _far_away(photographs: PosedPhotographs) -> list[int]:
    """Numbers of the photographs that stand far from the others."""
    centres = np.stack([camera.position for camera in photographs.cameras])
    distance = np.linalg.norm(centres - np.median(centres, axis=0), axis=1)
    return np.flatnonzero(distance > _FAR * max(float(np.median(distance)), 1e-9)).tolist() if len(centres) else []


def points_out_of_sight(photographs: PosedPhotographs) -> float:
    """Share of the capture's points that no photograph has before it; 0 without enough points."""
    if len(photographs.points) < MINIMUM_POINTS:
        return 0.0
    some = photographs.points[:: max(1, len(photographs.points) // _POINTS)]
    seen = np.zeros(len(some), np.bool_)
    for camera in photographs.cameras:
        pixels, depth = project(some, camera)
        seen |= inside_picture(pixels, depth, camera)
    return float(1 - seen.mean())


def density_on_kept(photographs: PosedPhotographs) -> float:
    """How densely the capture's points lie on what masks keep, relative to the whole picture; 1 if nothing tells."""
    masked = [each for each in photographs.photographs if each.valid is not None and each.valid_share >= _LEAST_KEPT]
    if len(photographs.points) < MINIMUM_POINTS or not masked:
        return 1.0
    some = photographs.points[:: max(1, len(photographs.points) // _POINTS)]
    kept = every = expected = 0.0
    for each in masked:
        pixels, depth = project(some, each.camera)
        inside = inside_picture(pixels, depth, each.camera)
        columns, rows = pixels[inside].astype(np.int64).T
        kept += float(each.counted()[rows, columns].sum())
        every += float(inside.sum())
        expected += float(inside.sum()) * each.valid_share
    return kept / expected if every >= MINIMUM_POINTS else 1.0


def triangulation_degrees(points: Float64Array, cameras: Sequence[Camera]) -> float | None:
    """Median over points of the angle between the two outermost rays from cameras that see it.

    None for fewer than 100 points, or if hardly any point is before two cameras.
    """
    if len(points) < MINIMUM_POINTS:
        return None
    some = points[:: max(1, len(points) // _POINTS)]
    rays, inside = [], []
    for camera in cameras:
        pixels, depth = project(some, camera)
        inside.append(inside_picture(pixels, depth, camera))
        away = some - camera.position
        rays.append(away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-300))
    directions, seen = np.stack(rays, axis=1), np.stack(inside, axis=1)
    shared = np.flatnonzero(seen.sum(axis=1) >= 2)
    if len(shared) < MINIMUM_POINTS // 2:
        return None
    widest = []
    for number in shared:
        own = directions[number][seen[number]]
        # The chord gives small angles exactly, the cosine does not.
        chords = np.linalg.norm(own[:, None] - own[None], axis=-1)
        widest.append(2 * np.degrees(np.arcsin(min(1.0, float(chords.max()) / 2))))
    return float(np.median(widest))


def lone_views(photographs: PosedPhotographs) -> list[int]:
    """Numbers of photographs whose rays enter no other photograph, at whatever depth."""
    cameras = photographs.cameras
    centres = np.stack([camera.position for camera in cameras])
    middle = np.median(centres, axis=0)
    away = photographs.points if len(photographs.points) >= MINIMUM_POINTS else centres
    unit = float(np.median(np.linalg.norm(away - middle, axis=1))) or 1.0
    found = []
    for number, camera in enumerate(cameras):
        places = _ray_points(camera, unit).reshape(-1, 3)
        shared = np.zeros(len(places), np.bool_)
        order = np.argsort(np.linalg.norm(centres - centres[number], axis=1), kind="stable")
        for place in [each for each in order.tolist() if each != number][:_NEIGHBOURS]:
            other = cameras[place]
            pixels, depth = project(places, other)
            shared |= inside_picture(pixels, depth, other)
        if shared.reshape(len(_DEPTHS), -1).mean(axis=1).max() < _LEAST_SHARED:
            found.append(number)
    return found


def flat_and_straight(photographs: PosedPhotographs) -> bool:
    """Whether the points lie on one plane and the cameras look along its normal."""
    plane = fitted_plane(photographs.points)
    if plane is None:
        return False
    cameras = photographs.cameras
    off = np.abs(photographs.points @ plane.normal - plane.offset)
    distance = np.median([abs(float(plane.normal @ camera.position) - plane.offset) for camera in cameras])
    cosines = [abs(float(plane.normal @ camera.camera_from_world[2, :3])) for camera in cameras]
    straight = np.degrees(np.arccos(min(1.0, float(np.median(cosines)))))
    return bool(np.percentile(off, 90) < _THIN * distance and straight < _STRAIGHT_DEGREES)


def copies(pictures: Sequence[Uint8Array]) -> dict[int, int]:
    """Number of the first picture that a later one repeats, by the later one's number.

    Pictures of any sizes; saving one again as JPEG does not hide a copy.
    """
    greys = [
        np.asarray(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) if each.ndim == 3 else each, np.uint8) for each in pictures
    ]
    small = np.stack([_thumbnail(each) for each in greys])
    found: dict[int, int] = {}
    for number in range(1, len(greys)):
        if float(greys[number].std()) < _FLAT:
            continue
        near = np.sqrt(np.mean((small[:number] - small[number]) ** 2, axis=(1, 2))) < _ALIKE
        for earlier in np.flatnonzero(near).tolist():
            if earlier not in found and _same(greys[earlier], greys[number]):
                found[number] = earlier
                break
    return found


def copies_note(repeated: Mapping[int, int], names: Sequence[str]) -> str:
    """Names the copies that are left out."""
    pairs = [f"{names[later]} (of {names[earlier]})" for later, earlier in sorted(repeated.items())]
    return f"{len(pairs)} copies are left out: {_listed(pairs)}"


def _fine_share(photograph: Photograph) -> float:
    grey = cv2.cvtColor(photograph.srgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), _FINE * max(grey.shape))
    counted = photograph.counted()
    return float(fine[counted].std() / max(1.0, float(grey[counted].std()))) if counted.any() else 1.0


def _thumbnail(grey: Uint8Array) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(grey, _THUMBNAIL, interpolation=cv2.INTER_AREA), np.float32)


def _same(first: Uint8Array, second: Uint8Array) -> bool:
    if first.shape != second.shape:
        height, width = min(first.shape, second.shape)
        first, second = (
            np.asarray(cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            for each in (first, second)
        )
    return float(np.sqrt(np.mean((first.astype(np.float32) - second.astype(np.float32)) ** 2))) < _EQUAL


def _in_one_place(cameras: Sequence[Camera]) -> bool:
    centres = np.stack([camera.position for camera in cameras])
    return float(np.ptp(centres, axis=0).max()) <= _SAME_PLACE * max(1.0, float(np.abs(centres).max()))


def _ray_points(camera: Camera, unit: float) -> Float64Array:
    """(depths, rays, 3) points on a grid of rays."""
    columns, rows = np.meshgrid(
        (np.arange(_RAYS) + 0.5) / _RAYS * camera.width, (np.arange(_RAYS) + 0.5) / _RAYS * camera.height
    )
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    rays = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(rows)], axis=-1).reshape(1, -1, 3)
    local = rays * (unit * _DEPTHS)[:, None, None]
    return np.asarray(local @ camera.world_from_camera[:3, :3].T + camera.position)


def _named(photographs: PosedPhotographs, numbers: Sequence[int]) -> str:
    return _listed([photographs.photographs[number].name for number in numbers])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def without_copies(photographs: PosedPhotographs) -> tuple[PosedPhotographs, list[str]]:
    """The photographs with copies marked as left out, and a note that names them."""
    every: tuple[Photograph, ...] = photographs.photographs
    repeated = copies([each.srgb for each in every])
    if not repeated:
        return photographs, []
    note = copies_note(repeated, [each.name for each in every])
    return photographs.leaving_out(sorted(repeated)), [note]
