"""Triangles of a distance field: marching cubes, without specks, at most so many, coloured, as GLB and STL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from scenewright_stages.vision.gaussians.surface.fusion import DistanceField

_LEAST_SHARE = 0.002
"""Of all triangles: a smaller piece is a speck."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles whose front faces free space.

    Attributes:
        vertices: (V, 3) float64 metres.
        faces: (F, 3) int64, counter-clockwise from the front.
        srgb: (V, 3) uint8.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    srgb: NDArray[np.uint8]

    @property
    def normals(self) -> NDArray[np.float64]:
        """(F, 3) unit normals of the faces."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        cross = np.cross(b - a, c - a)
        return np.asarray(cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-18))

    @property
    def areas(self) -> NDArray[np.float64]:
        """(F,) square metres."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)

    def turned(self, turn: NDArray[np.float64]) -> Mesh:
        """The mesh with every vertex v moved to R v."""
        return replace(self, vertices=self.vertices @ turn.T)

    def samples(self, spacing: float) -> NDArray[np.float64]:
        """(N, 3) points on the triangles, no farther than about `spacing` from each other."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        longest = np.sqrt(np.max([((p - q) ** 2).sum(axis=1) for p, q in ((a, b), (b, c), (c, a))], axis=0))
        parts = np.maximum(1, np.ceil(longest / spacing)).astype(int)
        found: list[NDArray[np.float64]] = []
        for count in np.unique(parts):
            rows = parts == count
            for u in range(count + 1):
                along = a[rows] + (b - a)[rows] * (u / count)
                found.extend(along + (c - a)[rows] * (v / count) for v in range(count + 1 - u))
        return np.concatenate(found)


def triangulated(field: DistanceField, most: int) -> Mesh:
    """The surface of a field, in its frame.

    Raises:
        ValueError: the field has no surface.
    """
    import fast_simplification
    from skimage.measure import marching_cubes

    try:
        vertices, faces, _, _ = marching_cubes(  # type: ignore[no-untyped-call]
            field.distance, 0.0, mask=_known_cubes(field.weight > 0), gradient_direction="descent"
        )
    except (ValueError, RuntimeError) as problem:
        raise ValueError(f"the views show no closed piece of surface: {problem}") from problem
    vertices, faces = _without_specks(vertices, faces.astype(np.int64))
    if len(faces) > most:
        for aggression in (3, 5, 7, 9):
            # Mild simplification keeps more of the shape and may stop above its target.
            fewer = fast_simplification.simplify(
                vertices.astype(np.float32), faces.astype(np.int32), target_count=most, agg=aggression
            )
            vertices, faces = _without_slivers(fewer[0], fewer[1].astype(np.int64))
            if len(faces) <= most:
                break
    x, y, z = np.clip(np.rint(vertices).astype(int), 0, np.array(field.distance.shape) - 1).T
    srgb = np.rint(field.srgb[x, y, z] * 255).astype(np.uint8)
    return Mesh(field.origin + vertices.astype(np.float64) * field.voxel, faces, srgb)


def _known_cubes(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Marks the last corner, which `marching_cubes` looks at, of every cube whose eight corners are known."""
    found = np.zeros_like(known)
    whole = np.ones([size - 1 for size in known.shape], bool)
    for x in (slice(None, -1), slice(1, None)):
        for y in (slice(None, -1), slice(1, None)):
            for z in (slice(None, -1), slice(1, None)):
                whole &= known[x, y, z]
    found[1:, 1:, 1:] = whole
    return found


def _without_specks(vertices: NDArray[Any], faces: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Keeps connected pieces of some size, and at least the largest."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = coo_matrix((np.ones(len(edges), np.int8), edges.T), shape=(len(vertices),) * 2)
    _, label = connected_components(links, directed=False)
    count = np.bincount(label[faces[:, 0]], minlength=label.max() + 1)
    kept = count >= min(count.max(), max(50, _LEAST_SHARE * len(faces)))
    return _compact(vertices, faces[kept[label[faces[:, 0]]]])


def _without_slivers(vertices: NDArray[Any], faces: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Drops triangles that simplification has collapsed."""
    a, b, c = faces.T
    return _compact(vertices, faces[(a != b) & (b != c) & (c != a)])


def _compact(vertices: NDArray[Any], faces: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    used, index = np.unique(faces, return_inverse=True)
    return vertices[used], index.reshape(faces.shape)


def write_mesh_glb(mesh: Mesh, path: Path, extras: dict[str, Any], copyright_text: str) -> None:
    """Writes a mesh with y up and colours of its vertices as GLB."""
    from scenewright_stages.vision.gaussians.formats.glb import annotate_glb

    path.write_bytes(_trimesh(mesh).export(file_type="glb"))
    annotate_glb(path, copyright_text, extras)


def write_stl(mesh: Mesh, path: Path) -> None:
    """Writes the triangles as a binary STL, which has no colours, unit or axes."""
    path.write_bytes(_trimesh(mesh).export(file_type="stl"))


def read_mesh_glb(path: Path) -> Mesh:
    """Reads the mesh of a GLB file with our own reader."""
    from scenewright_stages.vision.gaussians.formats.glb import accessor, read_glb_parts

    document, binary = read_glb_parts(path)
    primitive = document["meshes"][0]["primitives"][0]
    attributes = primitive["attributes"]
    colours = accessor(document, binary, attributes["COLOR_0"])[:, :3]
    return Mesh(
        np.array(accessor(document, binary, attributes["POSITION"]), np.float64),
        np.array(accessor(document, binary, primitive["indices"]), np.int64).reshape(-1, 3),
        np.array(colours, np.uint8),
    )


def read_stl(path: Path) -> NDArray[np.float32]:
    """(F, 3, 3) corners of the triangles of a binary STL. Raises ValueError if it is cut off."""
    data = path.read_bytes()
    count = int.from_bytes(data[80:84], "little")
    if len(data) != 84 + 50 * count:
        raise ValueError(f"{path.name} holds {len(data)} bytes instead of {84 + 50 * count}")
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    return np.asarray(np.frombuffer(data, record, count, 84)["corners"])


def _trimesh(mesh: Mesh) -> Any:
    import trimesh

    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=mesh.srgb, process=False)
