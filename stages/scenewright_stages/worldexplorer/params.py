"""Parameters of worlds: what the input is, how large the place is, where cameras go, how the scene is trained."""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from scenewright_stages.backends.depth.selection import cel_of, depth_names, examples_of, has
from scenewright_stages.captures import TrainingParams
from scenewright_stages.contract.backends import DepthTraits
from scenewright_stages.contract.params import OneOf, Params, Rule
from scenewright_stages.exports import ExportParams

Motion = Literal["in", "left", "right", "up"]
MOTION_ORDER: tuple[Motion, ...] = ("in", "left", "right", "up")
_ORDERED = [str(list(chosen)) for count in range(1, 5) for chosen in itertools.combinations(get_args(Motion), count)]
"""Every choice of motions in their order, as lists in CEL."""
METRES_PER_UNIT = {"small": 0.3, "indoor": 0.6, "outdoor": 1.5}
_TRANSLATION_SCALE = {"small": 3.0, "indoor": 3.0, "outdoor": 10.0}


MODEL_PICTURES = 150
"""More do not fit beside the network into the GPU memory that its facts ask for."""
_TOO_MANY = MODEL_PICTURES + 1


class SevaParams(Params):
    """How SEVA (Stable Virtual Camera) draws."""

    steps: int = Field(default=50, ge=1, le=1000, description="Denoising steps of each window of 21 frames.")
    guidance: float = Field(
        default=3.0, ge=1.0, le=20.0, description="Guidance scale of the frames that are drawn first, along the path."
    )
    guidance_between: float = Field(
        default=2.3, ge=1.0, le=20.0, description="Guidance scale of the frames between those."
    )
    guidance_near: float = Field(
        default=1.2,
        ge=1.0,
        le=20.0,
        description="Guidance scale of frames within 10 degrees of a picture that was taken from the same place.",
    )
    size: int = Field(
        default=576,
        ge=64,
        le=1152,
        multiple_of=64,
        description="Side of the pictures that are drawn, in pixels. The network was trained at 576.",
    )
    precision: Literal["fp16", "bf16", "fp32"] = Field(default="fp16", description="Arithmetic on the GPU.")


class TurnParams(SevaParams):
    """How SEVA draws while the camera turns in place."""

    guidance: float = Field(
        default=4.0, ge=1.0, le=20.0, description="Guidance scale of the frames that are drawn first, along the path."
    )
    guidance_between: float = Field(
        default=2.0, ge=1.0, le=20.0, description="Guidance scale of the frames between those."
    )


class FluxParams(Params):
    """How views are drawn from texts."""

    backend: Literal["flux", "flux2-klein"] = Field(
        default="flux", description="Who draws views from texts: flux (FLUX.1) or flux2-klein (FLUX.2 klein)."
    )
    steps: int = Field(
        default=100, ge=1, le=1000, description="Denoising steps of each view with flux; flux2-klein takes four."
    )
    guidance: float = Field(
        default=3.5, ge=1.0, le=20.0, description="How closely a view keeps to its text. For flux only."
    )
    precision: Literal["bf16", "fp32"] = Field(default="bf16", description="Arithmetic on the GPU.")


class GapParams(Params):
    """How the views 001, 003, 005 and 007 are completed between their neighbours."""

    backend: Literal["sd2-inpaint", "flux-fill", "flux2-klein", "classic"] = Field(
        default="sd2-inpaint",
        description="Who fills the middle of these views: sd2-inpaint, flux-fill, flux2-klein, or classic (texture of "
        "the view, without weights).",
    )
    prompt: str = Field(default="blend", max_length=1000, description="What to show in the gaps.")
    negative: str = Field(
        default="two images, lines, dividers, frames, text, advertisement, people",
        max_length=1000,
        description="What not to show in the gaps. For sd2-inpaint only.",
    )
    steps: int = Field(default=0, ge=0, le=1000, description="Denoising steps of each fill. 0: the backend's own.")
    guidance: float = Field(
        default=7.0, ge=1.0, le=50.0, description="How closely a fill keeps to the prompt, with mode fast."
    )
    guidances: list[Annotated[float, Field(ge=1.0, le=50.0)]] = Field(
        default=[4.0, 5.0, 6.0, 7.0, 7.5, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0],
        min_length=1,
        max_length=32,
        description="The same of the candidates of the other modes, each with every seed.",
    )
    seeds: int = Field(default=8, ge=1, le=32, description="Candidates of each guidance, with the other modes.")


ScaffoldMethod = Literal["singleImage", "panorama", "provided", "twoImages", "singleImageHybrid", "scaffoldGen"]
GAP_METHODS: tuple[ScaffoldMethod, ...] = ("singleImageHybrid", "scaffoldGen")
"""Methods that draw every other view and fill what lies between them."""
CANDIDATES = "candidates"
"""The stage that does so."""
_PROMPTS = (0, 4)
GAPS = ("001", "003", "005", "007")
"""The views between two others."""


class ScaffoldParams(Params):
    """The eight views at one point from which a world grows."""

    method: ScaffoldMethod = Field(
        default="singleImage",
        description="What the input is: singleImage (one photograph, continued round the camera), panorama (an "
        "equirectangular picture of 360 by 180 degrees), provided (eight pictures 000 to 007, 60 degrees wide, each "
        "turned 45 degrees further to the left), twoImages (what lies ahead and behind; seva draws the sides), "
        "singleImageHybrid (seva draws every other view, the gaps are filled) or scaffoldGen (FLUX draws every other "
        "view from texts, the photograph is the first if there is one, the gaps are filled).",
    )
    mode: Literal["fast", "automatic", "manual"] = Field(
        default="fast",
        description="How gaps are filled: fast (once), automatic (many candidates, the one that CLIP rates best) or "
        "manual (many candidates, a person chooses with `scenewright pick`).",
    )
    theme: str = Field(
        default="",
        max_length=200,
        description="Of scaffoldGen: the place. The views show its kitchen, office, bedroom and living room.",
    )
    prompts: list[Annotated[str, Field(max_length=1000)]] = Field(
        default=[],
        max_length=4,
        description="Of scaffoldGen, instead of a theme: what lies ahead, on the left, behind and on the right.",
    )
    backend: Literal["classic", "seva", "flux2-klein"] = Field(
        default="classic",
        description="Who continues photographs: classic (a single image's own mirror images), seva (a generative "
        "model that turns the camera in place) or flux2-klein (paints the rest of a single image's panorama in views "
        "that overlap, the floor and the ceiling too). Methods without photographs to continue do not use it.",
    )
    precision: Literal["", "bf16", "fp8", "fp32"] = Field(
        default="", description="Arithmetic of flux2-klein; fp8 needs Hopper or newer; empty: bf16."
    )
    prompt: str = Field(
        default="", max_length=1000, description="What flux2-klein is told that the photograph's surroundings show."
    )
    flux: FluxParams = FluxParams()
    gaps: GapParams = GapParams()
    turn_frames: int = Field(
        default=80,
        ge=8,
        le=400,
        multiple_of=8,
        description="Frames of seva's full turn; every eighth part of them is one of the eight views.",
    )
    seva: TurnParams = TurnParams()
    field_of_view_degrees: float = Field(
        default=0.0,
        ge=0.0,
        le=150.0,
        description="Horizontal field of view of a single image in degrees. 0: what the file says, else 60.",
    )
    size: int = Field(default=576, ge=64, le=2048, description="Side of the eight views in pixels.")
    panorama_height: int = Field(
        default=512,
        ge=64,
        le=4096,
        description="Rows of the working panorama in pixels; larger pictures are reduced. A quarter more makes a scene "
        "of half as many Gaussians again.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "backend",
            "self.backend == 'seva' || !(self.method in ['twoImages', 'singleImageHybrid'])",
            "must be seva with the methods twoImages and singleImageHybrid",
            lambda block: block.backend == "seva" or block.method not in ("twoImages", "singleImageHybrid"),
            ({"backend": "classic", "method": "twoImages"},),
        ),
        Rule(
            "prompts",
            "size(self.prompts) == 0 || size(self.prompts) == 4",
            "must be four: what lies ahead, on the left, behind and on the right",
            lambda block: len(block.prompts) in _PROMPTS,
            ({"prompts": ["a kitchen", "a garden"]},),
        ),
    )

    @property
    def has_gaps(self) -> bool:
        """Whether every other view is completed between its neighbours."""
        return self.method in GAP_METHODS

    @property
    def candidates_each(self) -> int:
        """Candidates of each gap."""
        if self.mode == "fast":
            return 1
        # Without weights there is no guidance, and candidates differ by their seed alone.
        return self.gaps.seeds * (1 if self.gaps.backend == "classic" else len(self.gaps.guidances))

    @property
    def turns(self) -> bool:
        """Whether seva draws all views that no photograph shows."""
        return self.backend == "seva" and self.method in ("singleImage", "twoImages")

    @property
    def paints_around(self) -> bool:
        """Whether an inpainter paints all that a single photograph does not show."""
        return self.backend == "flux2-klein" and self.method == "singleImage"


def _is_relative(traits: DepthTraits) -> bool:
    return traits.scale == "relative"


def _can_estimate_views(traits: DepthTraits) -> bool:
    return traits.predicts_new_views and not _is_relative(traits)


_DEPTH_BACKENDS = depth_names(_can_estimate_views)
_RELATIVE = tuple(each for each in examples_of(_is_relative) if each["backend"] in _DEPTH_BACKENDS)


class WorldDepthParams(Params):
    """How far everything is from the middle."""

    method: Literal["classic", "provided", "model"] = Field(
        default="classic",
        description="Where distances come from: classic (a guess: level floor, upright walls, level ceiling or sky), "
        "provided (a .depth.npy beside each picture) or model (a depth model for each of the eight views; one scale "
        "and shift a view makes neighbours agree).",
    )
    backend: Annotated[str, OneOf(_DEPTH_BACKENDS)] = Field(
        default="moge",
        description="Which depth model estimates, with method model. Variants with relative depth are "
        "refused: one scale and shift a view does not undo what they leave open.",
    )
    variant: str = Field(
        default="",
        max_length=100,
        description="Which weights of the depth model; empty: its default. `scenewright models` lists them.",
    )
    camera_height: float = Field(
        default=1.5,
        ge=0.05,
        le=100.0,
        description="Height of the camera above the floor in metres. With the classic method all sizes follow from it, "
        "and with a depth model whose unit is unknown.",
    )
    ceiling: Literal["auto", "yes", "no"] = Field(
        default="auto", description="Whether there is a ceiling; auto: unless the top of the picture looks like sky."
    )
    ceiling_height: float = Field(
        default=0.0,
        ge=0.0,
        le=100.0,
        description="Height of the ceiling above the floor in metres. 0: found in the picture.",
    )
    farthest: float = Field(default=30.0, ge=1.0, le=1000.0, description="Metres to the sky, and the largest distance.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "ceilingHeight",
            "self.ceilingHeight == 0.0 || self.ceilingHeight > self.cameraHeight",
            "must be above the camera: larger than cameraHeight, or 0",
            lambda block: not block.ceiling_height or block.ceiling_height > block.camera_height,
            ({"ceilingHeight": 1.0, "cameraHeight": 1.5},),
        ),
        Rule(
            "variant",
            f"self.method != 'model' || !({cel_of(_is_relative)})",
            "is relative depth, whose range no scale and shift can undo: choose a metric variant of this backend",
            lambda block: block.method != "model" or not has(_is_relative, block.backend, block.variant),
            tuple({"method": "model", **example} for example in _RELATIVE),
        ),
    )


class ExpansionParams(Params):
    """The paths out of the middle, and what is seen from there."""

    backend: Literal["classic", "seva"] = Field(
        default="classic",
        description="Who draws the pictures along the paths: classic (what is known, seen from there, its holes filled "
        "from behind) or seva (a generative model).",
    )
    motions: list[Motion] = Field(
        default=list(MOTION_ORDER),
        min_length=1,
        max_length=4,
        description="Which motions start from each view, always in the order in, left, right, up.",
    )
    stride: int = Field(
        default=9,
        ge=1,
        le=45,
        description="Every how many-th pose of a motion is made. 1: all 45, 135, 135 and 45 of a view.",
    )
    scale: Literal["small", "indoor", "outdoor"] = Field(
        default="indoor",
        description="How far paths reach: 0.3, 0.6 or 1.5 m for each unit of a path, which ends about 1.05 units out.",
    )
    metres_per_unit: float = Field(
        default=0.0, ge=0.0, le=100.0, description="Metres of each unit of a path instead of the preset. 0: the preset."
    )
    clearance: float = Field(
        default=0.25,
        ge=0.01,
        le=10.0,
        description="Metres that cameras keep from every surface. Paths shrink, then stop, before they come nearer.",
    )
    resolution: int = Field(default=288, ge=32, le=2048, description="Side of the pictures along the paths in pixels.")
    anchors: int = Field(
        default=13,
        ge=1,
        le=135,
        description="Poses of a path that the classic backend completes first; the others are drawn from what these "
        "added. seva draws 13 first, more for very long paths.",
    )
    memory_frames: int = Field(
        default=12,
        ge=1,
        le=200,
        description="Earlier pictures that the classic backend draws one picture from at most. seva sees up to 5 at a "
        "time besides the eight views.",
    )
    translation_scale: float = Field(
        default=0.0,
        ge=0.0,
        le=100.0,
        description="Factor of all distances for seva alone, in units of a path: it decides how near the world seems. "
        "0: 3, or 10 when scale is outdoor.",
    )
    seva: SevaParams = SevaParams()

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "motions",
            f"self.motions in [{', '.join(_ORDERED)}]",
            "keep the order in, left, right, up, each at most once: later motions see what earlier ones added",
            lambda block: [each for each in MOTION_ORDER if each in block.motions] == block.motions,
            ({"motions": ["up", "in"]}, {"motions": ["left", "left"]}),
        ),
    )

    @property
    def unit(self) -> float:
        """Metres for each unit of a path, before free space shortens it."""
        return self.metres_per_unit or METRES_PER_UNIT[self.scale]

    @property
    def seva_scale(self) -> float:
        """Factor of metres for SEVA's idea of the cameras."""
        return (self.translation_scale or _TRANSLATION_SCALE[self.scale]) / self.unit


class PointsParams(Params):
    """Where training starts from."""

    method: Literal["scaffold", "planeSweep", "pycolmap", "vggt", "map-anything"] = Field(
        default="scaffold",
        description="Which points training starts from: scaffold (the panorama and what the paths added, at the "
        "scaffold's depth), or the same corrected by what the pictures along the paths show, for pictures that a model "
        "drew: planeSweep (compares them at their known poses), pycolmap (triangulates their features), vggt or "
        "map-anything (models that estimate cameras and depth of all of them; their cameras are brought onto the known "
        "ones).",
    )
    references: int = Field(
        default=64, ge=2, le=2880, description="Pictures that are measured at most, evenly along all paths."
    )
    variant: Literal["commercial", "research"] = Field(
        default="commercial",
        description="Which weights of a model; `scenewright models` lists them with their licences.",
    )
    alignment_limit: float = Field(
        default=0.1,
        gt=0.0,
        le=1.0,
        description="How far a model may put the cameras from where they are: the median distance over the mean "
        "distance of all cameras from their middle. Beyond it a world fails.",
    )
    alignment_limit_degrees: float = Field(
        default=5.0,
        gt=0.0,
        le=90.0,
        description="The same for orientations: the median angle in degrees.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "references",
            f"!(self.method in ['vggt', 'map-anything']) || self.references <= {MODEL_PICTURES}",
            f"must be {MODEL_PICTURES} or less with a model, which sees all pictures together",
            lambda block: not block.by_model or block.references <= MODEL_PICTURES,
            ({"method": "vggt", "references": _TOO_MANY},),
        ),
    )

    @property
    def by_model(self) -> bool:
        """Whether a model estimates cameras and depth; the method is its backend's name."""
        return self.method in ("vggt", "map-anything")


TRAINING_PRESETS: dict[str, TrainingParams] = {
    "preview": TrainingParams(steps=300, segment=300, maximum=500_000, harmonics_degree=0),
    "quality": TrainingParams(
        steps=30_000, segment=500, maximum=1_000_000, harmonics_degree=3, exploration=True, coarse=4
    ),
}
"""What each preset stands for where a field is unset."""


class WorldTrainingParams(Params):
    """How the scene is trained on the views and the pictures along the paths."""

    preset: Literal["preview", "quality"] = Field(
        default="preview",
        description="What the fields stand for that are unset. preview: minutes without a GPU; steps 300, segment 300, "
        "maximum 500000, harmonicsDegree 0, exploration false, coarse 1. quality: needs a GPU; steps 30000, segment "
        "500, maximum 1000000, harmonicsDegree 3, exploration true, coarse 4.",
    )
    steps: int | None = Field(
        default=None, ge=10, le=100_000, description="Optimisation steps, each on one picture. Unset: the preset's."
    )
    segment: int | None = Field(
        default=None,
        ge=10,
        le=5000,
        description="Steps between two changes of the number of Gaussians. The training's state is saved as often. "
        "Unset: the preset's.",
    )
    start_points: int = Field(
        default=400_000, ge=100, le=2_000_000, description="Gaussians to begin with at most; the panorama is reduced."
    )
    maximum: int | None = Field(
        default=None, ge=100, le=5_000_000, description="Gaussians at most. Unset: the preset's."
    )
    harmonics_degree: int | None = Field(
        default=None,
        ge=0,
        le=3,
        description="Degree of the spherical harmonics: how far colour depends on direction. Unset: the preset's.",
    )
    growth: float = Field(
        default=0.3, ge=0.0, le=5.0, description="Gaussians that a change adds at most, relative to those there are."
    )
    exploration: bool | None = Field(
        default=None,
        description="Train as 3DGS-MCMC does: Gaussians wander, and new ones share the place of others. Unset: the "
        "preset's.",
    )
    coarse: int | None = Field(
        default=None,
        ge=1,
        le=8,
        description="How many times smaller the pictures are at first. Their size doubles in equal times until three "
        "tenths of the steps are done, and so does the largest number of Gaussians. Unset: the preset's.",
    )
    held_out_every: int = Field(
        default=8,
        ge=2,
        le=1000,
        description="Every n-th path is held out as a whole, and the quality is reported on it.",
    )

    def settled(self) -> TrainingParams:
        """All fields of the trainer, those that are unset from the preset."""
        stated = self.model_dump(exclude_none=True, include=set(TrainingParams.model_fields))
        return TRAINING_PRESETS[self.preset].model_copy(update=stated)


class WalkParams(Params):
    """The video of a walk through the world."""

    frames: int = Field(default=150, ge=2, le=2000, description="Frames of the video.")
    frames_per_second: int = Field(default=25, ge=1, le=120, description="Frame rate of the video in 1/s.")
    width: int = Field(default=640, ge=32, le=4096, multiple_of=2, description="Width of the video in pixels.")
    height: int = Field(default=400, ge=32, le=4096, multiple_of=2, description="Height of the video in pixels.")
    field_of_view_degrees: float = Field(
        default=80.0, ge=20.0, le=120.0, description="Horizontal field of view in degrees."
    )
    reach: float = Field(
        default=0.5, ge=0.0, le=100.0, description="Metres that the walk goes to each side; less where it is not free."
    )


class WorldExplorerParams(Params):
    """A photograph, a 360-degree picture or eight views become a world to walk in."""

    scaffold: ScaffoldParams = ScaffoldParams()
    depth: WorldDepthParams = WorldDepthParams()
    expansion: ExpansionParams = ExpansionParams()
    points: PointsParams = PointsParams()
    training: WorldTrainingParams = WorldTrainingParams()
    walk: WalkParams = WalkParams()
    export: ExportParams = ExportParams()
