"""Draws ground truth along a path: RGB, metric depth, normals and cameras, in the layouts that loaders read.

Depth is z-depth in metres as float32 in ``.npy`` and in millimetres as 16-bit PNG (0: nothing). Normals are of the
surface in camera axes (OpenCV), as PNG ``(n + 1) / 2``. Poses are `camera_from_world` or `world_from_camera`, as each
layout wants; the frame is that of the PLY.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.exports import TARGETS, FramesParams
from scenewright_stages.scenes.export.formats import Written, scene_facts
from scenewright_stages.scenes.export.source import Source, circle
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.surface.fusion import depth_sizes, surface_depth
from scenewright_stages.vision.geometry.cameras import Camera, quaternion_from_rotation

_NEIGHBOURS = 0.05
"""Relative difference in depth up to which neighbouring pixels lie on one surface."""
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_MILLIMETRES, _MOST = 1000.0, 65535


@dataclass(frozen=True, eq=False)
class TruthFrame:
    """One frame of ground truth.

    Attributes:
        camera: in the frame of the PLY.
        srgb: (H, W, 3) uint8.
        depth: (H, W) float32 z-depth in metres; 0 where nothing is seen.
        normal: (H, W, 3) float32 unit vectors in camera axes, towards the camera; 0 where unknown.
    """

    camera: Camera
    srgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]


def write_frames(source: Source, params: FramesParams, folder: Path, renderer: Renderer) -> Written:
    """Writes ``frames/`` in the layout that is asked for, in tar files if shards are."""
    cameras = path_of(source, params)
    root = folder / TARGETS["frames"].files["frames"].rstrip("/")
    root.mkdir()
    scene = source.splats.scene().to(renderer.device)
    sink = _Shards(root, params.shard)
    covered = []
    for number, frame in enumerate(drawn(scene, cameras, renderer)):
        covered.append(float((frame.depth > 0).mean()))
        for name, data in _FILES[params.layout](frame, number):
            sink.add(number, name, data)
    sink.close()
    for name, data in _INDEX[params.layout](cameras):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    facts = {
        **scene_facts(source),
        "layout": params.layout,
        "depth": "z-depth: metres in .npy, millimetres in .png, 0 is nothing",
        "normals": "camera axes, x right, y down, z forward: value / 255 * 2 - 1",
        "frames": len(cameras),
    }
    (root / "README.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    files = [each for each in root.rglob("*") if each.is_file()]
    metrics = {
        "bytes": sum(each.stat().st_size for each in files),
        "frames": len(cameras),
        "with_depth": round(float(np.mean(covered)), 4),
    }
    entry = {
        "path": TARGETS["frames"].files["frames"],
        "layout": params.layout,
        "lost": TARGETS["frames"].lost,
        "opens": TARGETS["frames"].opens,
    }
    return Written({"frames": root}, {"frames": metrics}, {"frames": entry})


def path_of(source: Source, params: FramesParams) -> list[Camera]:
    """The cameras of the frames."""
    flight = source.cameras
    lens = flight[0]
    if params.width is not None:
        lens = lens.scaled(params.width, max(1, round(lens.height * params.width / lens.width)))
    if params.path == "orbit":
        return _orbit(source, lens, params.count)
    # The positions of a longer path lie between those of the flight; each frame takes the nearest.
    picks = np.linspace(0, len(flight) - 1, params.count).round().astype(int)
    return [lens.with_pose(flight[pick].camera_from_world) for pick in picks]


def _orbit(source: Source, lens: Camera, count: int) -> list[Camera]:
    first = source.cameras[0]
    means = np.concatenate([part.means.double().numpy() for part in source.splats.parts()])
    local = means @ first.camera_from_world[:3, :3].T + first.camera_from_world[:3, 3]
    ahead = local[local[:, 2] > 0]
    distance = float(np.median(ahead[:, 2])) if len(ahead) else 1.0
    middle = first.position + distance * first.world_from_camera[:3, 2]
    return circle(middle, source.up, distance, count, lens)


def drawn(scene: GaussianScene, cameras: Sequence[Camera], renderer: Renderer) -> Iterator[TruthFrame]:
    """Renders the colours, depth and normals of each frame."""
    sizes = depth_sizes(scene)
    for camera in cameras:
        with torch.no_grad():
            rgb = renderer.render(scene, [camera]).rgb[0].clamp(0, 1).cpu().numpy()
        depth = surface_depth(sizes, camera, renderer)
        yield TruthFrame(camera, (rgb * 255).round().astype(np.uint8), depth, normals_of(depth, camera))


def normals_of(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """(H, W, 3) normals of the surface in camera axes, from planes through each pixel's neighbourhood.

    Inverse depth is linear in pixel coordinates on a plane, so its smoothed slopes give the normal. Neighbours across a
    jump of depth do not count.
    """
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    known = depth > 0
    inverse = np.where(known, 1 / np.maximum(depth, 1e-9), 0).astype(np.float64)
    moments = np.zeros((6, *depth.shape))
    right = np.zeros((3, *depth.shape))
    reach = 3
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            shift = np.array([[1, 0, -column], [0, 1, -row]], np.float32)
            size = depth.shape[::-1]
            near = cv2.warpAffine(inverse, shift, size, flags=cv2.INTER_NEAREST)
            counts = (near > 0) & known & (np.abs(near - inverse) <= _NEIGHBOURS * inverse)
            weight = counts * np.exp(-(row * row + column * column) / 8.0)
            difference = weight * (near - inverse)
            for place, value in enumerate((1, column, row, column * column, column * row, row * row)):
                moments[place] += weight * value
            for place, value in enumerate((1, column, row)):
                right[place] += difference * value
    matrix = moments[[0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, 3, -1).transpose(2, 0, 1)
    usable = np.abs(np.linalg.det(matrix)) > 1e-3
    slopes = np.zeros((depth.size, 3))
    slopes[usable] = np.linalg.solve(matrix[usable], right.reshape(3, -1).T[usable][..., None])[..., 0]
    level = inverse.ravel() + slopes[:, 0]
    rows, columns = np.indices(depth.shape, np.float64)
    a, b = slopes[:, 1], slopes[:, 2]
    # 1 / z = a u + b v + c gives the plane a fx X + b fy Y + (a cx + b cy + c) Z = 1.
    third = level - a * (columns.ravel() + 0.5 - cx) - b * (rows.ravel() + 0.5 - cy)
    normal = -np.stack([a * fx, b * fy, third], axis=1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    found = np.where(usable[:, None] & (length > 0), normal / np.maximum(length, 1e-30), 0)
    found[~known.ravel()] = 0
    return found.reshape(*depth.shape, 3).astype(np.float32)


Files = Iterator[tuple[str, bytes]]


def _png(values: NDArray[Any]) -> bytes:
    found, data = cv2.imencode(".png", values[..., ::-1] if values.ndim == 3 else values)
    assert found
    return bytes(data.tobytes())


def _npy(values: NDArray[Any]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def _millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.asarray(np.clip(np.rint(depth * _MILLIMETRES), 0, _MOST), np.uint16)


def _coded(normal: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint((normal + 1) / 2 * 255).astype(np.uint8)


def _common(frame: TruthFrame, stem: str, rgb: str, depth: str) -> Files:
    yield f"{rgb}/{stem}.png", _png(frame.srgb)
    yield f"{depth}/{stem}.png", _png(_millimetres(frame.depth))
    yield f"depth_metres/{stem}.npy", _npy(frame.depth)
    yield f"normals/{stem}.png", _png(_coded(frame.normal))


def _nerfstudio_files(frame: TruthFrame, number: int) -> Files:
    yield from _common(frame, f"{number:05d}", "images", "depth")


def _nerfstudio_index(cameras: Sequence[Camera]) -> Files:
    first = cameras[0]
    frames = [
        {
            "file_path": f"images/{number:05d}.png",
            "depth_file_path": f"depth/{number:05d}.png",
            "transform_matrix": (camera.world_from_camera @ _OPENGL).tolist(),
        }
        for number, camera in enumerate(cameras)
    ]
    document = {
        "camera_model": "OPENCV",
        "w": first.width,
        "h": first.height,
        "fl_x": first.focal[0],
        "fl_y": first.focal[1],
        "cx": first.principal_point[0],
        "cy": first.principal_point[1],
        "depth_unit_scale_factor": 1 / _MILLIMETRES,
        "frames": frames,
    }
    yield "transforms.json", (json.dumps(document, indent=1) + "\n").encode()


def _colmap_index(cameras: Sequence[Camera]) -> Files:
    first = cameras[0]
    (fx, fy), (cx, cy) = first.focal, first.principal_point
    yield (
        "sparse/0/cameras.txt",
        f"1 PINHOLE {first.width} {first.height} {fx:.9g} {fy:.9g} {cx:.9g} {cy:.9g}\n".encode(),
    )
    lines = []
    for number, camera in enumerate(cameras):
        turn = quaternion_from_rotation(camera.camera_from_world[:3, :3])
        values = " ".join(f"{value:.12g}" for value in (*turn, *camera.camera_from_world[:3, 3]))
        # Each image has a second line for its points, which is empty.
        lines.append(f"{number + 1} {values} 1 {number:05d}.png\n\n")
    yield "sparse/0/images.txt", "".join(lines).encode()
    yield "sparse/0/points3D.txt", b"# no points: the depth maps hold the surface\n"


def _kitti_files(frame: TruthFrame, number: int) -> Files:
    stem = f"{number:06d}"
    yield from _common(frame, stem, "image_2", "depth_millimetres")
    # KITTI's depth maps hold metres times 256.
    yield f"depth_2/{stem}.png", _png(np.clip(np.rint(frame.depth * 256), 0, _MOST).astype(np.uint16))


def _kitti_index(cameras: Sequence[Camera]) -> Files:
    first = cameras[0]
    projection = np.hstack([first.intrinsics, np.zeros((3, 1))]).ravel()
    row = " ".join(f"{value:.12g}" for value in projection)
    yield "calib.txt", "".join(f"P{number}: {row}\n" for number in range(4)).encode()
    start = first.camera_from_world
    poses = [(start @ camera.world_from_camera)[:3].ravel() for camera in cameras]
    yield "poses.txt", "".join(" ".join(f"{value:.12g}" for value in pose) + "\n" for pose in poses).encode()
    yield (
        "first_camera.json",
        (json.dumps({"world_from_first_camera": first.world_from_camera.tolist()}) + "\n").encode(),
    )


_FILES: dict[str, Callable[[TruthFrame, int], Files]] = {
    "nerfstudio": _nerfstudio_files,
    "colmap": _nerfstudio_files,
    "kitti": _kitti_files,
}
_INDEX: dict[str, Callable[[Sequence[Camera]], Files]] = {
    "nerfstudio": _nerfstudio_index,
    "colmap": _colmap_index,
    "kitti": _kitti_index,
}


class _Shards:
    """Puts files into a folder, or into one tar file for so many frames."""

    def __init__(self, root: Path, frames: int) -> None:
        self._root, self._frames = root, frames
        self._number = -1
        self._archive: tarfile.TarFile | None = None

    def add(self, frame: int, name: str, data: bytes) -> None:
        """Stores one file of a frame."""
        if not self._frames:
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return
        if frame // self._frames != self._number:
            self.close()
            self._number = frame // self._frames
            path = self._root / f"frames-{self._number:05d}.tar"
            self._archive = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by close()
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        assert self._archive is not None
        self._archive.addfile(entry, BytesIO(data))

    def close(self) -> None:
        """Completes the last tar file."""
        if self._archive is not None:
            self._archive.close()
