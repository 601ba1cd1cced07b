"""How the camera moves through a scene: from the trajectory block, the depth backend and the scene to a path.

The coarse stage looks for its candidate views on `candidate_path`; the render stage and the report fly `flight_path`.
Without a preset or ratios of the user's the scene decides (`scene_motion`): a prior depth bears small motion only, less
still where it is likely wrong (`doubt`), and a scene under a sky bears more than a room. The facts of the depth backend
say what its depth is, and whether it tells sky from walls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.geometry.points import unproject
from scenewright_stages.vision.geometry.trajectories import (
    Trajectory,
    dolly,
    orbit,
    original_spiral,
    rotate,
    spiral,
    through,
    wobble,
)
from scenewright_stages.vistadream.doubt import Doubt, doubts
from scenewright_stages.vistadream.params import MOTION_PRESETS, MotionPreset, VistaDreamParams

OPEN_SCENE_SHARE = 0.05
"""A photograph with at least this share of sky and far points shows an open scene."""


@dataclass(frozen=True)
class Motion:
    """Forward and backward motion relative to the scene's radius, and the preset that they come from, if any."""

    preset: MotionPreset
    forward: float
    backward: float


def scene_motion(photograph: Frame, params: VistaDreamParams) -> Motion:
    """The ratios in effect: the user's, the preset's, or those that the scene bears."""
    block = params.trajectory
    preset = block.motion_preset or _safe_preset(photograph, params)
    forward, backward = MOTION_PRESETS[preset]
    if block.forward_ratio is None and block.backward_ratio is None:
        share = min((doubt.share for doubt in motion_doubts(photograph, params)), default=1.0)
        return Motion(preset, forward, backward) if share == 1 else Motion("", share * forward, share * backward)
    return Motion(
        "",
        forward if block.forward_ratio is None else block.forward_ratio,
        backward if block.backward_ratio is None else block.backward_ratio,
    )


def motion_doubts(photograph: Frame, params: VistaDreamParams) -> list[Doubt]:
    """Why the motion is smaller than its preset; empty if the user chose it or the depth is no prior."""
    block = params.trajectory
    if params.depth.facts.evidence != "prior" or block.motion_preset:
        return []
    if block.forward_ratio is not None or block.backward_ratio is not None:
        return []
    points = unproject(photograph.depth, photograph.camera)[photograph.near]
    radius = rotate(points, 1, degrees=block.turn_degrees).radius
    return doubts(photograph, MOTION_PRESETS["small"][0] * radius)


def motion_warnings(photograph: Frame, params: VistaDreamParams) -> list[str]:
    """That the motion is smaller because of doubts, and how to have all of it."""
    found = motion_doubts(photograph, params)
    if not found:
        return []
    least = min(found, key=lambda doubt: doubt.share)
    reasons = "; ".join(doubt.reason for doubt in found)
    return [
        f"The camera moves {least.share:.0%} as far as usual because the guessed depth is doubtful: {reasons}. "
        "--set trajectory.motionPreset=small moves it all the way."
    ]


def _safe_preset(photograph: Frame, params: VistaDreamParams) -> MotionPreset:
    if params.depth.scale == "relative":
        return "small"
    open_scene = params.depth.marks_sky and float(photograph.far.mean()) >= OPEN_SCENE_SHARE
    return "outdoor" if open_scene else "indoor"


def candidate_path(frames: Sequence[Frame], params: VistaDreamParams, count: int) -> Trajectory:
    """`count` poses around the photograph, the first frame, among which the coarse loop chooses."""
    photograph, block = frames[0], params.trajectory
    motion = scene_motion(photograph, params)
    points = unproject(photograph.depth, photograph.camera)[photograph.near]
    portrait = photograph.camera.height > photograph.camera.width
    percentages = (block.min_percentage, block.max_percentage)
    if motion.preset == "original":
        return original_spiral(points, count, portrait=portrait)
    if block.type == "orbit":
        return orbit(points, count, ratio=motion.forward, percentages=percentages, portrait=portrait)
    if block.type == "rotate":
        return rotate(points, count, degrees=block.turn_degrees)
    ratios = {"forward_ratio": motion.forward, "backward_ratio": motion.backward}
    if block.type == "dolly":
        return dolly(points, count, percentages=percentages, **ratios)
    if block.type == "wobble":
        return wobble(points, count, percentages=percentages, portrait=portrait, **ratios)
    lower, upper = percentages
    return spiral(points, count, minimum_percentage=lower, maximum_percentage=upper, portrait=portrait, **ratios)


def flight_path(frames: Sequence[Frame], params: VistaDreamParams, count: int) -> Trajectory:
    """`count` poses of the final flight: the candidates' path, or through the views that the loop added.

    An interpolated flight needs two views that were added; without them it is the spiral.
    """
    poses = [frames[0].camera.camera_from_world]
    poses += [frame.camera.camera_from_world for frame in frames if frame.kind == "coarse"]
    if params.trajectory.type != "interpolate" or len(poses) < 3:
        return candidate_path(frames, params, count)
    photograph = frames[0]
    return through(poses, unproject(photograph.depth, photograph.camera)[photograph.near], count)
