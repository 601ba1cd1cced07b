"""The Rerun recording of a scene, from the pipeline's own types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.scenes.rerun import RerunFrame, RerunScene, RerunView, write_rrd
from scenewright_stages.scenes.splats import SplatCloud
from scenewright_stages.vision.gaussians.scene import GaussianScene


def cloud_of(scene: GaussianScene) -> SplatCloud:
    """The scene's Gaussians with their view-independent colour, as plain arrays."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in scene.tensors.items()}
    return SplatCloud.from_parameters(
        arrays["means"],
        arrays["log_scales"],
        arrays["quaternions"],
        arrays["opacity_logits"],
        arrays["spherical_harmonics"],
    )


def write_recording(
    path: Path, sample_id: str, scene: GaussianScene, frames: Sequence[Frame], flight: Sequence[RerunFrame]
) -> None:
    """Writes ``scene.rrd``: the first frames, the views of the coarse loop, the splats and the final flight."""
    initial = [frame for frame in frames if frame.kind != "coarse"]
    added = [frame for frame in frames if frame.kind == "coarse"]
    write_rrd(
        path,
        RerunScene(
            recording_id=f"vistadream-{sample_id}",
            initial_views=tuple(_view(frame.kind, frame) for frame in initial),
            coarse_views=tuple(_view(f"view {number}", frame) for number, frame in enumerate(added, start=1)),
            splats=cloud_of(scene),
            frames=tuple(flight),
        ),
    )


def _view(name: str, frame: Frame) -> RerunView:
    return RerunView(name, frame.camera, frame.srgb, frame.depth, frame.confident, frame.inpaint)
