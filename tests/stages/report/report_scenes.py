"""Small scenes and reports for the tests of this folder."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import ArrayLike

from scenewright_stages.report.data import Failure, Link, Metric, Parameter, Provenance, StageTiming
from scenewright_stages.report.pictures import Video, depth_picture, mask_overlay, photograph
from scenewright_stages.scenes.page import ChosenView, SceneData
from scenewright_stages.scenes.splats import SplatCloud, SplatScene
from scenewright_stages.vision.geometry.cameras import Camera

CAMERA = Camera.from_field_of_view(300, 200, 60)
# World positions (metres, OpenCV axes) whose mirror images hold nothing.
CLUSTERS = {
    (0.9, 0.05, 0.05): (-0.9, -0.45, 3.0),
    (0.05, 0.8, 0.1): (0.75, 0.45, 2.5),
    (0.1, 0.2, 0.95): (-0.2, 0.6, 3.5),
}


def blob(position: ArrayLike, srgb: ArrayLike, radius: float = 0.12, count: int = 200) -> SplatCloud:
    """A round, opaque cluster of Gaussians of one colour."""
    offsets = np.random.default_rng(7).normal(size=(count, 3)) * radius / 3
    return SplatCloud(
        (np.asarray(position) + offsets).astype(np.float32),
        np.full((count, 3), radius / 2.5, np.float32),
        np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        np.full(count, 0.9, np.float32),
        np.tile(np.float32(srgb), (count, 1)),
    )


def joined(*clouds: SplatCloud) -> SplatCloud:
    """All Gaussians of the clouds in one."""
    names = ("means", "scales", "quaternions", "opacities", "srgb")
    return SplatCloud(*(np.concatenate([getattr(cloud, name) for cloud in clouds]) for name in names))


def three_clusters() -> SplatCloud:
    """Red, green and blue at the places that CLUSTERS names."""
    return joined(*(blob(position, colour) for colour, position in CLUSTERS.items()))


def empty_splats() -> SplatCloud:
    """A cloud without Gaussians."""
    return three_clusters().select(np.zeros(0, np.intp))


def projected(position: ArrayLike, camera: Camera, width: float, height: float) -> tuple[float, float]:
    """Where a world point is seen on a canvas that shows all of the camera's picture, centred."""
    x, y, z = camera.camera_from_world[:3, :3] @ np.asarray(position) + camera.camera_from_world[:3, 3]
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    scale = min(width / camera.width, height / camera.height)
    left, top = (width - camera.width * scale) / 2, (height - camera.height * scale) / 2
    return left + (fx * x / z + cx) * scale, top + (fy * y / z + cy) * scale


def small_video(width: int = 64, height: int = 48, frames: int = 8) -> Video:
    """A few frames of changing grey as H.264."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for level in np.linspace(40, 200, frames):
            pixels = np.full((height, width, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return Video(buffer.getvalue(), width, height, "Eight frames")


def gradient_picture(width: int = 60, height: int = 40) -> np.ndarray:
    """(height, width, 3) float32 sRGB ramp."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([x, y, 1 - x], axis=-1).astype(np.float32)


def full_report(title: str = "courtyard", splats: SplatScene | None = None, **changes: object) -> SceneData:
    """A report with every part filled in; changes replace fields."""
    picture = gradient_picture()
    depth = np.linspace(1, 5, 40)[:, None].repeat(60, axis=1)
    mask = picture[..., 0] > 0.7
    view = ChosenView(
        "View 1",
        photograph(picture, "View 1 with gaps", "With gaps"),
        photograph(picture, "View 1 filled", "Filled"),
        depth_picture(depth, "View 1 aligned depth"),
        (("Missing before", "12.3 %"),),
    )
    fields: dict[str, object] = {
        "title": title,
        "pipeline": "VistaDream, coarse",
        "state": "warning",
        "spec_hash": "3f9ac02be11d77a8f0c1",
        "duration": 102.4,
        "subtitle": "A scene from one photograph.",
        "warnings": ("No extra frame was added.",),
        "splats": splats,
        "video": small_video(),
        "images": (photograph(picture, "The photograph", "Input"),),
        "depth": depth_picture(depth, "Depth", "An assumed prior"),
        "masks": (mask_overlay(picture, mask, "Edges", "Left out"),),
        "views": (view,),
        "metrics": (
            Metric("Input view", 33.4, "dB", "higher", 30),
            Metric("Worst frame", 5.1, "%", "lower", 4),
        ),
        "parameters": (Parameter("mode", "coarse", "noOutpaint"), Parameter("seed", "0", "0", "Draws.")),
        "provenance": (Provenance("Depth", "classic", "prior", statement="An assumption."),),
        "stages": (StageTiming("prepare", 0.4), StageTiming("coarse", 71.0)),
        "failures": (Failure("bomb", "prepare", "ImageTooLarge", "Too many pixels."),),
        "links": (Link("Splats", "gf.ply", "PLY"),),
        "log": "[COARSE] Summary\nselected_extra_frames=0/3",
    }
    return SceneData(**{**fields, **changes})  # type: ignore[arg-type]
