"""Shared by the pipelines over captures: input listing, training parameters, and distances between photographs.

The operator imports this module with the pipelines, so it needs only pydantic. `vision.captures` reads the captures
themselves, in stage processes only.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from scenewright_stages.contract.formats import PICTURE_ENDINGS, VIDEO_ENDINGS
from scenewright_stages.contract.inputs import InputKind, InputView, Listed
from scenewright_stages.contract.outputs import ArrayContract, OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, Read, StagePod, StageSpec
from scenewright_stages.contract.samples import Sample

WORK = ".scenewright/work/{sample}"
SCENE_ARRAYS = (
    ArrayContract("means", "float32", 2),
    ArrayContract("log_scales", "float32", 2),
    ArrayContract("quaternions", "float32", 2),
    ArrayContract("opacity_logits", "float32", 1),
    ArrayContract("spherical_harmonics", "float32", 3),
)


def list_captures(view: InputView) -> Iterable[Listed] | None:
    """The captures of an input, each moment with a neighbouring one; see ``vision.captures.finding``."""
    found: Iterable[Listed] | None = importlib.import_module(
        "scenewright_stages.vision.places.captures.finding"
    ).list_captures(view, neighbours=True)
    return found


def list_photographs(view: InputView) -> Iterable[Listed] | None:
    """The captures of an input or, if it has none, its folders of photographs without poses."""
    found: Iterable[Listed] | None = importlib.import_module(
        "scenewright_stages.vision.places.captures.finding"
    ).list_photographs(view)
    return found


CAPTURES = InputKind(
    described="a capture is a folder with images/ and sparse/0/, transforms.json or cameras.json", lister=list_captures
)
"""Folders with photographs and their poses."""
PHOTOGRAPHS = InputKind(
    described="a capture is a folder of photographs "
    f"({' '.join(PICTURE_ENDINGS)}) or a video ({' '.join(VIDEO_ENDINGS)})",
    lone=VIDEO_ENDINGS,
    lister=list_photographs,
)
"""Folders with photographs, with or without poses."""
NO_POSES = "the photographs come without poses: set poses.source to estimate"
FRAMES = "frames"
"""Output of the stage that estimates poses: the chosen frames of a video."""
POSES = "poses"
"""Name of the stage that estimates poses."""
BESIDE = "beside"
"""Name of the stage that reads the moment before or after a capture's own; also the attribute that names it."""


def block_for(files: Sequence[str]) -> dict[str, Any]:
    """Poses are estimated for files that bring none; a video trains no longer than two cores take minutes for."""
    names = {name.rpartition("/")[2] for name in files}
    if names & _DESCRIPTIONS:
        return {}
    estimated = {"poses": {"source": "estimate"}}
    is_video = any(name.lower().endswith(VIDEO_ENDINGS) for name in names)
    return {**estimated, "training": dict(_FOR_VIDEOS)} if is_video else estimated


_FOR_VIDEOS = {"steps": 1500, "maximum": 40_000}
"""Training on a video that is named without a manifest. On a rendered walk it reaches 33.1 dB, the defaults 35.0 dB."""
_DESCRIPTIONS = {
    "images.bin", "images.txt", "transforms.json", "transforms_train.json", "cameras.json", "rgb_cameras.npz",
}  # fmt: skip
"""Names of files that bring poses."""


class VideoParams(Params):
    """How a video becomes photographs."""

    frames: int = Field(
        default=32,
        ge=8,
        le=500,
        description="Frames of a video that serve as photographs at most: the sharpest, spread over the camera's path.",
    )


class PosesParams(Params):
    """Where the poses of photographs come from."""

    source: Literal["given", "estimate"] = Field(
        default="given",
        description="given: the files beside the photographs hold them; estimate: they are found by structure from "
        "motion (COLMAP, on the CPU), whatever is beside the photographs.",
    )
    matching: Literal["auto", "learned", "sift"] = Field(
        default="auto",
        description="How photographs are matched, when estimating. sift: with SIFT; learned: pairs that SIFT matched "
        "badly also with XFeat and LighterGlue, small networks that come with the installation; auto: learned where "
        "SIFT alone leaves photographs out. The result that places more counts, and a warning says which it is.",
    )
    features: int = Field(
        default=4096,
        ge=256,
        le=32_768,
        description="Features that are looked for in each photograph, when estimating.",
    )
    max_resolution: int = Field(
        default=1600,
        ge=128,
        le=8192,
        description="Longest side of the photographs when features are looked for, in pixels.",
    )
    video: VideoParams = VideoParams()


Exposure = Literal["asTaken", "matched"]


def exposure_field() -> Any:
    """The parameter of pipelines over captures that says whether photographs of different exposure are matched."""
    return Field(
        default="asTaken",
        description="asTaken: the photographs' colours stay; matched: exposure and white balance, measured at the "
        "capture's points, are evened out, for cameras that chose them anew for each photograph.",
    )


class TrainingParams(Params):
    """How a scene of Gaussians is trained from photographs."""

    steps: int = Field(default=2000, ge=10, le=100_000, description="Optimisation steps, each on one photograph.")
    segment: int = Field(
        default=200,
        ge=10,
        le=5000,
        description="Steps between two changes of the number of Gaussians. The training's state is saved as often.",
    )
    start_points: int = Field(
        default=15_000, ge=100, le=2_000_000, description="Gaussians to begin with, on surfaces between the points."
    )
    maximum: int = Field(default=60_000, ge=100, le=5_000_000, description="Gaussians at most.")
    harmonics_degree: int = Field(
        default=1, ge=0, le=3, description="Degree of the spherical harmonics: how far colour depends on direction."
    )
    growth: float = Field(
        default=0.3, ge=0.0, le=5.0, description="Gaussians that a change adds at most, relative to those there are."
    )
    exploration: bool = Field(
        default=False,
        description="Train as 3DGS-MCMC does: Gaussians wander, and new ones share the place of others. For captures "
        "with few points, together with a growth of 1.",
    )
    coarse: int = Field(
        default=1,
        ge=1,
        le=8,
        description="How many times smaller the photographs are at first. Their size doubles in equal times until "
        "three tenths of the steps are done, and so does the largest number of Gaussians. 4 saves time in long "
        "trainings on photographs with 1000 pixels a side.",
    )


def poses_stage() -> StageSpec:
    """Estimates the poses of photographs as a COLMAP text model; params need `poses`."""
    return StageSpec(
        name=POSES,
        title="Estimate poses",
        version=4,
        implementation="scenewright_stages.scenes.poses:PosesStage",
        reads=(Read(INPUT),),
        outputs=(
            OutputContract("cameras", "{sample}/sparse/0/cameras.txt", "text"),
            OutputContract("images", "{sample}/sparse/0/images.txt", "text"),
            OutputContract("points3D", "{sample}/sparse/0/points3D.txt", "text"),
            OutputContract(FRAMES, "{sample}/images/", "image", form="folder", optional=True),
        ),
        parameters=("poses.matching", "poses.features", "poses.max_resolution", "poses.video"),
        pod=StagePod(seconds_per_sample=120.0),
    )


def capture_stage(estimated: bool = False, beside: bool = False) -> StageSpec:
    """Reads the photographs and poses of a capture; params need `max_resolution` and `exposure`.

    Args:
        estimated: whether the poses come from :func:`poses_stage`.
        beside: whether to also read the neighbouring moment.
    """
    return StageSpec(
        name=BESIDE if beside else "capture",
        title="Read the moment beside" if beside else "Read the capture",
        version=3,
        implementation="scenewright_stages.scenes.captures:CaptureStage",
        reads=(Read(INPUT), Read(POSES)) if estimated else (Read(INPUT),),
        outputs=(
            OutputContract(
                "photographs",
                f"{WORK}/{'beside' if beside else 'photographs'}.npz",
                "arrays",
                result=False,
                arrays=(
                    ArrayContract("intrinsics", "float64", 3),
                    ArrayContract("camera_from_world", "float64", 3),
                    ArrayContract("points", "float64", 2, may_be_empty=True),
                ),
            ),
        ),
        parameters=("max_resolution", "exposure"),
        attributes=("mark", BESIDE if beside else "time"),
        pod=StagePod(seconds_per_sample=3.0),
    )


@dataclass(frozen=True)
class ShotFacts:
    """A photograph as the index knows it.

    Attributes:
        name: file name without its suffix.
        camera: number of the physical camera.
        centre: position of the camera, world coordinates.
        rotation: quaternion wxyz of world_from_camera.
    """

    name: str
    camera: int
    centre: tuple[float, ...]
    rotation: tuple[float, ...]


def shots_of(sample: Sample, attribute: str = "shots") -> list[ShotFacts]:
    """The photographs of a capture's sample, in order; attribute ``others`` has those of the neighbouring moment."""
    listed = sample.attributes.get(attribute, ())
    return [ShotFacts(str(each[0]), int(each[1]), tuple(each[2:5]), tuple(each[5:9])) for each in listed]


def spread(shots: Sequence[ShotFacts]) -> float:
    """Mean distance of the cameras from their centroid; the unit of :func:`pose_distance`."""
    middle = [sum(values) / len(shots) for values in zip(*(shot.centre for shot in shots), strict=True)]
    return max(1e-9, sum(math.dist(shot.centre, middle) for shot in shots) / len(shots))


def pose_distance(first: ShotFacts, second: ShotFacts, unit: float) -> float:
    """Distance between two cameras in units of the capture's spread, plus the angle between them in radians."""
    product = abs(sum(a * b for a, b in zip(first.rotation, second.rotation, strict=True)))
    return math.dist(first.centre, second.centre) / unit + 2 * math.acos(min(1.0, product))


def nearest(shots: Sequence[ShotFacts], target: int, candidates: Iterable[int]) -> int | None:
    """The candidate nearest to a photograph, excluding itself; None without candidates."""
    unit = spread(shots)
    others = [each for each in candidates if each != target]
    return min(others, key=lambda each: (pose_distance(shots[target], shots[each], unit), each), default=None)


def scene_name(sample: Sample) -> str:
    """Name of the scene; several moments of one scene share it."""
    return str(sample.attributes["scene"])
