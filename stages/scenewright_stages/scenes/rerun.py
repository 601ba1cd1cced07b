"""Writes a scene as a Rerun recording (.rrd) with its layout: one tab each for start, growth and result.

The SDK puts clock times and random ids into the file. Equal scenes therefore give equal data but not equal bytes; this
is the only exception to the rule that the same spec gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from numpy.typing import NDArray

from scenewright_stages.scenes.recorded import RerunScene, RerunView
from scenewright_stages.scenes.splats import drawable
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.colour import uint8_from_unit

APPLICATION_ID = "scenewright"
TABS = ("Initialization", "Coarse Scene", "Final Scene")
FRAME_TIMELINE = "frame"
_JPEG_QUALITY = 88
_DEPTH_LEVELS = 65535
# Depth in the video is only for viewing; fewer levels halve the file size.
_VIDEO_DEPTH_LEVELS = 4095
# Radius of discs in standard deviations; leaves no gaps between splats of neighbouring pixels.
_COVERING_RADIUS = 1.4
_BACKGROUND = (18, 20, 24)
_PANELS = {
    "rgb": "RGB",
    "depth": "Depth",
    "confidence": "Confidence",
    "inpaint_mask": "Inpaint mask",
    "inpaint_wo_edge": "Inpaint mask without edges",
}


def write_rrd(path: Path, scene: RerunScene) -> None:
    """Writes the recording atomically; starts no viewer.

    Raises:
        ValueError: the scene has no views, or two views in a tab share a name.
        RuntimeError: the environment variable RERUN disables the SDK.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_bytes(rrd_bytes(scene))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def rrd_bytes(scene: RerunScene) -> bytes:
    """The recording as the bytes of an .rrd file; raises like `write_rrd`."""
    _check(scene)
    recording = rr.RecordingStream(
        APPLICATION_ID,
        recording_id=scene.recording_id,
        send_properties=False,
        # One chunk per entity, independent of timing.
        batcher_config=rr.ChunkBatcherConfig.NEVER(),
    )
    if not rr.is_enabled(recording):
        raise RuntimeError("the Rerun SDK is switched off: unset the environment variable RERUN")
    recording.set_log_time_enabled(False)
    recording.set_log_tick_enabled(False)
    stream = rr.binary_stream(recording=recording)
    recording.send_blueprint(layout(scene))
    log_scene(recording, scene, frustum_size(scene))
    data = stream.read(flush=True)
    recording.disconnect()
    return data or b""


def _check(scene: RerunScene) -> None:
    if not scene.initial_views:
        raise ValueError("a recording needs at least one initial view")
    for views in (scene.initial_views, scene.coarse_views):
        names = [view.name for view in views]
        if len(set(names)) != len(names):
            raise ValueError(f"view names must differ: {names}")


def log_scene(recording: rr.RecordingStream, scene: RerunScene, frustum: float) -> None:
    """Logs views, splats and frames; `frustum` is the drawn length of cameras in metres."""
    recording.log("/world", rr.ViewCoordinates.RDF, static=True)
    for tab, views in (("initialization", scene.initial_views), ("coarse", scene.coarse_views)):
        for view in views:
            _log_view(recording, _camera_path(tab, view.name), view, frustum)
    if scene.splats is not None:
        cloud = drawable(scene.splats)
        radii = _COVERING_RADIUS * cloud.scales.mean(axis=1)
        recording.log("/world/splats", _points(cloud.means, cloud.srgb, radii), static=True)
    for number, frame in enumerate(scene.frames):
        recording.set_time(FRAME_TIMELINE, sequence=number)
        _log_camera(recording, "/world/final/camera", frame.camera, frustum, static=False)
        recording.log("/world/final/camera/rgb", _jpeg(frame.srgb))
        recording.log("/world/final/camera/depth", _depth_image(frame.depth, _VIDEO_DEPTH_LEVELS))


def _log_view(recording: rr.RecordingStream, path: str, view: RerunView, frustum: float) -> None:
    _log_camera(recording, path, view.camera, frustum, static=True)
    recording.log(f"{path}/rgb", _jpeg(view.srgb), static=True)
    if view.depth is not None:
        recording.log(f"{path}/depth", _depth_image(view.depth), static=True)
        points = path.replace("/cameras/", "/points/", 1)
        recording.log(points, _unprojected(view, view.depth), static=True)
    for panel in ("confidence", "inpaint_mask", "inpaint_wo_edge"):
        values = getattr(view, panel)
        if values is not None:
            recording.log(f"{path}/{panel}", _grey(values), static=True)


def _log_camera(recording: rr.RecordingStream, path: str, camera: Camera, frustum: float, *, static: bool) -> None:
    pose = camera.world_from_camera
    recording.log(path, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]), static=static)
    pinhole = rr.Pinhole(
        image_from_camera=camera.intrinsics,
        resolution=[camera.width, camera.height],
        camera_xyz=rr.ViewCoordinates.RDF,
        image_plane_distance=frustum,
    )
    recording.log(path, pinhole, static=static)


def _camera_path(tab: str, name: str) -> str:
    return f"/world/{tab}/cameras/{rr.escape_entity_path_part(name)}"


def frustum_size(scene: RerunScene) -> float:
    """Length of the drawn cameras: a tenth of the scene's median depth."""
    depth = scene.initial_views[0].depth
    known = depth[np.isfinite(depth) & (depth > 0)] if depth is not None else np.empty(0)
    return float(np.median(known)) / 10 if known.size else 0.1


def _unprojected(view: RerunView, depth: NDArray[np.floating]) -> rr.Points3D:
    """The supervised pixels with depth, as points in the world frame."""
    chosen = np.isfinite(depth) & (depth > 0)
    if view.inpaint_mask is not None:
        chosen &= view.inpaint_mask
    rows, columns = np.nonzero(chosen)
    z = depth[rows, columns].astype(np.float64)
    (fx, fy), (cx, cy) = view.camera.focal, view.camera.principal_point
    points = np.stack([(columns + 0.5 - cx) / fx * z, (rows + 0.5 - cy) / fy * z, z], axis=1)
    pose = view.camera.world_from_camera
    return _points(
        points @ pose[:3, :3].T + pose[:3, 3], view.srgb[rows, columns], z / fx * _COVERING_RADIUS / np.sqrt(2)
    )


def _points(positions: NDArray[np.floating], srgb: NDArray[np.floating], radii: NDArray[np.floating]) -> rr.Points3D:
    colours = uint8_from_unit(srgb)
    return rr.Points3D(positions.astype(np.float32), colors=colours, radii=radii.astype(np.float32))


def _jpeg(srgb: NDArray[np.floating]) -> rr.EncodedImage:
    bgr = uint8_from_unit(srgb)[..., ::-1]
    _, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    return rr.EncodedImage(contents=data.tobytes(), media_type="image/jpeg")


def _grey(values: NDArray[np.generic]) -> rr.EncodedImage:
    pixels = np.rint(np.clip(values.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    _, data = cv2.imencode(".png", pixels)
    return rr.EncodedImage(contents=data.tobytes(), media_type="image/png")


def _depth_image(depth: NDArray[np.floating], most: int = _DEPTH_LEVELS) -> rr.EncodedDepthImage:
    """16-bit PNG scaled so that the farthest pixel has level `most`; unknown depth is 0."""
    known = np.isfinite(depth) & (depth > 0)
    farthest = float(depth[known].max()) if known.any() else 1.0
    units_per_metre = most / farthest
    levels = np.where(known, np.rint(np.where(known, depth, 0) * units_per_metre), 0)
    _, data = cv2.imencode(".png", levels.astype(np.uint16))
    return rr.EncodedDepthImage(data.tobytes(), media_type="image/png", meter=units_per_metre, colormap="turbo")


def layout(scene: RerunScene) -> rrb.Blueprint:
    """The three tabs; panels are wider for landscape images than for portrait ones."""
    width, height = scene.initial_views[0].camera.width, scene.initial_views[0].camera.height
    shares = column_shares(width, height)
    tabs = [
        _views_tab(TABS[0], "initialization", scene, scene.initial_views, shares),
        _views_tab(TABS[1], "coarse", scene, scene.coarse_views, shares),
        _final_tab(scene, shares),
    ]
    active = 2 if scene.frames else 0
    return rrb.Blueprint(
        rrb.Tabs(*tabs, active_tab=active),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline=FRAME_TIMELINE),
        auto_layout=False,
        auto_views=False,
    )


def column_shares(width: int, height: int) -> tuple[float, float]:
    """Width shares of the 3D view and the image panels, for images of that size.

    Panels are two images wide; a share proportional to the aspect ratio wastes the least space.
    """
    return 1.0, float(np.clip(0.7 * width / height, 0.4, 1.2))


def _views_tab(
    title: str, tab: str, scene: RerunScene, views: Sequence[RerunView], shares: tuple[float, float]
) -> rrb.Container | rrb.View:
    paths = [_camera_path(tab, view.name) for view in views]
    space = _space_view(scene, [f"/world/{tab}/**"], paths)
    if not views:
        text = rrb.TextDocumentView(name="No views were added", origin="/none")
        return rrb.Horizontal(space, text, column_shares=shares, name=title)
    panels = [_camera_panel(view, path) for view, path in zip(views, paths, strict=True)]
    stack = rrb.Vertical(*panels) if len(panels) <= 2 else rrb.Tabs(*panels)
    return rrb.Horizontal(space, stack, column_shares=shares, name=title)


def _final_tab(scene: RerunScene, shares: tuple[float, float]) -> rrb.Container:
    camera = "/world/final/camera"
    space = _space_view(scene, ["/world/splats", "/world/final/**"], [camera])
    pictures = [
        rrb.Spatial2DView(name=_PANELS[panel], origin=camera, contents=f"{camera}/{panel}", background=_BACKGROUND)
        for panel in ("rgb", "depth")
    ]
    return rrb.Horizontal(space, rrb.Vertical(*pictures), column_shares=shares, name=TABS[2])


def _space_view(scene: RerunScene, shown: Iterable[str], cameras: Iterable[str]) -> rrb.Spatial3DView:
    """Points, frusta and their photographs; no depth or mask tensors. Opens behind the input camera."""
    hidden = [f"- {camera}/{panel}" for camera in cameras for panel in _PANELS if panel != "rgb"]
    contents = ["+ /world", *(f"+ {path}" for path in shown), *hidden]
    eye = _eye_behind(scene.initial_views[0].camera, 3 * frustum_size(scene))
    return rrb.Spatial3DView(name="Scene", origin="/world", contents=contents, eye_controls=eye, background=_BACKGROUND)


def _eye_behind(camera: Camera, distance: float) -> rrb.EyeControls3D:
    """An eye `distance` metres behind and slightly above the camera, so that the camera's frustum is visible."""
    right, down, forward = camera.world_from_camera[:3, :3].T
    position = camera.position + distance * (0.3 * right - 0.4 * down - forward)
    target = camera.position + 3 * distance * forward
    return rrb.EyeControls3D(position=position, look_target=target, eye_up=-down)


def _camera_panel(view: RerunView, path: str) -> rrb.Grid:
    pictures = [
        rrb.Spatial2DView(name=f"{view.name}: {title}", origin=path, contents=f"{path}/{panel}", background=_BACKGROUND)
        for panel, title in _PANELS.items()
        if panel == "rgb" or getattr(view, panel) is not None
    ]
    return rrb.Grid(*pictures, grid_columns=2, name=view.name)
