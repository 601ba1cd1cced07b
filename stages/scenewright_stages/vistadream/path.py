"""The camera path of a scene: the same formula proposes candidate views and flies the final video."""

from __future__ import annotations

from collections.abc import Sequence

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.geometry import unproject
from scenewright_stages.vision.trajectories import Trajectory, spiral
from scenewright_stages.vistadream.params import TrajectoryParams


def scene_trajectory(frames: Sequence[Frame], params: TrajectoryParams, count: int) -> Trajectory:
    """`count` poses around the first frame, sized by its points and by the ratios in effect."""
    first = frames[0]
    points = unproject(first.depth, first.camera)[first.depth > 0]
    forward, backward = params.ratios()
    return spiral(
        points,
        count,
        forward_ratio=forward,
        backward_ratio=backward,
        minimum_percentage=params.min_percentage,
        maximum_percentage=params.max_percentage,
        portrait=first.camera.height > first.camera.width,
    )


def cameras_along(frames: Sequence[Frame], trajectory: Trajectory) -> list[Camera]:
    """The input's camera at every pose of the path."""
    return [frames[0].camera.with_pose(pose) for pose in trajectory.camera_from_world]
