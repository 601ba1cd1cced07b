"""What the 3D view's script reads from the page: see viewer/src/embedded.js."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.report.assets import viewer_script
from scenewright_stages.report.data import SplatScene
from scenewright_stages.scenes.splats import SplatCloud, drawable, most_important, spz_bytes
from scenewright_stages.vision.cameras import Camera

# A pivot distance for scenes in which nothing lies in front of the camera.
_FALLBACK_PIVOT = 1.0
# Turns a world with OpenCV axes into one with OpenGL axes; its own inverse.
_FLIP_Y_AND_Z = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class ViewerPayload:
    """Texts to embed.

    Attributes:
        configuration: what readConfiguration() of viewer/src/embedded.js describes.
        splats: base64 of an SPZ file.
        script: base64 of the gzipped viewer script.
        shown, total: how many splats the page carries, and how many visible ones the scene has.
    """

    configuration: dict[str, object]
    splats: str
    script: str
    shown: int
    total: int


def viewer_payload(scene: SplatScene) -> ViewerPayload:
    """The embedded texts of one interactive view.

    Raises:
        ViewerNotBuiltError: if the viewer script is missing from this installation.
    """
    visible = drawable(scene.cloud)
    cloud = most_important(visible, scene.limit, scene.camera.position)
    configuration: dict[str, object] = {
        "camera": {
            "worldFromCamera": _opengl_rows(scene.camera),
            "verticalDegrees": round(scene.camera.field_of_view[1], 6),
            "aspect": scene.camera.width / scene.camera.height,
            "height": scene.camera.height,
        },
        "pivotDistance": _significant(pivot_distance(cloud, scene.camera)),
        "path": [_opengl_rows(camera) for camera in scene.path],
        "pathSeconds": scene.path_seconds,
        "count": len(cloud),
    }
    return ViewerPayload(configuration, _base64(spz_bytes(cloud)), compressed_viewer_script(), len(cloud), len(visible))


def compressed_viewer_script() -> str:
    """base64 of the gzipped viewer script; a third of its size."""
    return _base64(gzip.compress(viewer_script().encode("utf-8"), mtime=0))


def pivot_distance(cloud: SplatCloud, camera: Camera) -> float:
    """Median depth in metres of the splats inside the camera's view: what orbiting turns around."""
    points = np.asarray(cloud.means, np.float64) @ camera.camera_from_world[:3, :3].T
    points += camera.camera_from_world[:3, 3]
    seen = points[points[:, 2] > 0]
    pixels = seen @ camera.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    inside = ((pixels >= 0) & (pixels <= (camera.width, camera.height))).all(axis=1)
    return float(np.median(seen[inside, 2])) if inside.any() else _FALLBACK_PIVOT


def _opengl_rows(camera: Camera) -> list[float]:
    """world_from_camera, row by row, when both world and camera have OpenGL axes."""
    pose: NDArray[np.float64] = _FLIP_Y_AND_Z @ camera.world_from_camera @ _FLIP_Y_AND_Z
    # Adding zero turns -0.0 into 0.0, which keeps the bytes the same whatever produced the zero.
    return [_significant(value) + 0.0 for value in pose.ravel().tolist()]


def _significant(value: float) -> float:
    return float(f"{value:.7g}")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
