"""Exports the surface of a scene: a collider as GLB and STL, and the floor on which one can walk.

Views of the scene are chosen, their depth is fused, and the triangles are checked by reading the files back and by a
capsule that walks at random and must stay inside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.exports import TARGETS, MeshParams
from scenewright_stages.scenes.export.formats import Written, scene_facts
from scenewright_stages.scenes.export.source import Y_UP, Source
from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.surface.fusion import DistanceField, depth_views, fused
from scenewright_stages.vision.gaussians.surface.meshes import (
    Mesh,
    read_mesh_glb,
    read_stl,
    triangulated,
    write_mesh_glb,
    write_stl,
)
from scenewright_stages.vision.gaussians.surface.walking import Capsule, Walkable, walkable
from scenewright_stages.vision.geometry.cameras import Camera, invert_rigid, rigid

_FACE, _PROBE = 192, 48
"""Pixels of a view of a room, and of one that finds out whether it is a room."""
_FACE_DEGREES = 100.0
_ENCLOSED = 0.7
"""Share of all directions that must show a surface for a place to be a room."""
_LARGEST_SIDE = 384
"""Pixels of a view along a flight."""
_STEPS = 10_000
_MANY_UNSEEN = 0.02
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""From y up to z up, as slicers and robots expect in STL files."""


def write_surface(source: Source, params: MeshParams, folder: Path, renderer: Renderer) -> Written:
    """Writes ``collider.glb`` (y up), ``collider.stl`` (z up) and ``walkable.json`` (y up).

    Raises:
        FormatError: the scene has no surface, or a file does not hold it when read back.
    """
    scene = source.splats.scene().to(renderer.device)
    turn = np.asarray(Y_UP @ source.level, np.float64)
    cameras = surveying(scene, source, params.views, renderer)
    try:
        field = fused(list(depth_views(scene, cameras, turn, renderer)), params.voxel)
        mesh = triangulated(field, params.triangles)
    except ValueError as problem:
        raise FormatError(f"collider.glb: {problem}") from problem
    stood = np.stack([camera.position for camera in source.cameras]) @ turn.T
    floor = walkable(mesh, field, params.radius, params.height, stood)
    paths = {name: folder / file for name, file in TARGETS["mesh"].files.items()}
    facts = {**scene_facts(source), "up": [0, 1, 0], "scene_from_file": turn.T.round(9).tolist()}
    write_mesh_glb(mesh, paths["collider_glb"], facts, source.copyright)
    write_stl(mesh.turned(Z_UP), paths["collider_stl"])
    paths["walkable"].write_text(json.dumps(_walkable_file(floor, params), indent=1) + "\n")
    _check(mesh, paths)
    walk, notes = _walked(mesh, field, floor, params)
    metrics = {
        "bytes": sum(path.stat().st_size for path in paths.values()),
        "triangles": len(mesh.faces),
        "voxel": round(field.voxel, 5),
        "views": len(cameras),
        "walkable_square_metres": round(floor.area, 3),
        "capsule": walk,
    }
    axes = {"collider_glb": "y up", "collider_stl": "z up", "walkable": "y up, as in collider.glb"}
    entry = {
        "path": paths["collider_glb"].name,
        "axes": axes,
        "file_from_scene": turn.round(9).tolist(),
        "lost": TARGETS["mesh"].lost,
        "opens": TARGETS["mesh"].opens,
    }
    return Written(dict(paths), {"mesh": metrics}, {"mesh": entry}, notes)


def surveying(scene: GaussianScene, source: Source, count: int, renderer: Renderer) -> list[Camera]:
    """At most `count` cameras that show the scene's surface.

    In a room they look in all directions from places on the flight. Elsewhere nothing behind the flight was ever made,
    so they are those of the flight.
    """
    flight = list(source.cameras)
    middle = flight[len(flight) // 2]
    turn = np.asarray(Y_UP @ source.level, np.float64)
    probe = list(_around(middle.position, turn, _PROBE, 0.0))
    with torch.no_grad():
        seen = renderer.render(scene, probe).alpha > 0.9
    if source.flown == "flight" and float(seen.float().mean()) >= _ENCLOSED:
        places = _evenly(flight, max(1, count // 6))
        return [
            camera
            for number, place in enumerate(places)
            for camera in _around(place.position, turn, _FACE, 45.0 * (number % 2))
        ]
    return [_smaller(camera) for camera in _evenly(flight, count)]


def _around(position: NDArray[np.float64], turn: NDArray[np.float64], size: int, yaw: float) -> Iterator[Camera]:
    """Six cameras at a place: four around, one up, one down; in the frame of the scene.

    Args:
        turn: (3, 3) rotation from that frame to one with y up.
        yaw: degrees by which all are turned.
    """
    lens = Camera.from_field_of_view(size, size, _FACE_DEGREES)
    for pitch, angles in ((0.0, (0.0, 90.0, 180.0, 270.0)), (90.0, (0.0,)), (-90.0, (0.0,))):
        for angle in angles:
            a, b = np.radians(angle + yaw), np.radians(pitch)
            around = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
            over = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
            world_from_camera = turn.T @ around @ over @ Y_UP
            yield lens.with_pose(invert_rigid(rigid(world_from_camera, position)))


def _evenly(cameras: Sequence[Camera], count: int) -> list[Camera]:
    picks = np.unique(np.linspace(0, len(cameras) - 1, min(count, len(cameras))).round().astype(int))
    return [cameras[pick] for pick in picks]


def _smaller(camera: Camera) -> Camera:
    return camera.resized(min(1.0, _LARGEST_SIDE / max(camera.width, camera.height)))


def _walkable_file(floor: Walkable, params: MeshParams) -> dict[str, Any]:
    return {
        "unit": "metre",
        "up": [0, 1, 0],
        "area": round(floor.area, 3),
        "capsule": {"radius": params.radius, "height": params.height},
        "outlines": floor.outlines(),
    }


def _check(mesh: Mesh, paths: dict[str, Path]) -> None:
    """Reads both files back. Raises FormatError if they hold another mesh."""
    read = read_mesh_glb(paths["collider_glb"])
    same = read.faces.shape == mesh.faces.shape and np.allclose(read.vertices, mesh.vertices, atol=1e-3)
    if not same:
        raise FormatError("collider.glb does not hold the surface when read back")
    corners = read_stl(paths["collider_stl"])
    expected = mesh.turned(Z_UP)
    if len(corners) != len(mesh.faces) or not np.allclose(corners, expected.vertices[expected.faces], atol=1e-3):
        raise FormatError("collider.stl does not hold the surface when read back")


def _walked(mesh: Mesh, field: DistanceField, floor: Walkable, params: MeshParams) -> tuple[dict[str, Any], list[str]]:
    """What became of a capsule that walks at random, and notes for the user."""
    if not floor.free.any():
        note = (
            f"mesh: there is no floor on which a capsule of {params.radius:g} m by {params.height:g} m can stand: set "
            "mesh.radius and mesh.height to the size of what shall walk, or export.up to the axis that points up"
        )
        return {"steps": 0, "stopped": 0, "unseen": 0, "outside": 0}, [note]
    x, z = np.nonzero(floor.free)
    middle = np.argmin((x - x.mean()) ** 2 + (z - z.mean()) ** 2)
    start = np.array(
        [
            floor.origin[0] + x[middle] * floor.cell,
            floor.height[x[middle], z[middle]],
            floor.origin[1] + z[middle] * floor.cell,
        ]
    )
    capsule = Capsule(mesh, params.radius, params.height)
    places, stopped = capsule.walk(start, _STEPS, seed=0)
    waist = places + np.array([0, params.height / 2, 0])
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    outside = int(((waist < low) | (waist > high)).any(axis=1).sum())
    unseen = int((~field.is_free(waist)).sum())
    notes = []
    if outside:
        notes.append(
            f"mesh: a capsule that walks at random leaves what was seen ({outside} of {_STEPS} steps are "
            "outside): there is a gap, or the scene is open; keep to the area of walkable.json"
        )
    elif unseen > _MANY_UNSEEN * _STEPS:
        notes.append(
            f"mesh: {unseen / _STEPS:.0%} of a random walk is behind things, where no view has seen whether there is "
            "a surface; keep to the area of walkable.json"
        )
    facts = {"steps": _STEPS, "stopped": stopped, "unseen": unseen, "outside": outside}
    return facts, notes
