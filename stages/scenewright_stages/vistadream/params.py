"""Parameters of the VistaDream pipeline: every switch of the single-image pipeline, typed, with units and ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from scenewright_stages.backends.depth.selection import (
    CAPABILITY,
    Wanted,
    cel_of,
    depth_names,
    examples_of,
    has,
    listing_of,
)
from scenewright_stages.backends.runtime.registry import backend
from scenewright_stages.contract.backends import BackendFacts, DepthTraits, Scale
from scenewright_stages.contract.params import OneOf, Params, Rule
from scenewright_stages.exports import ExportParams

Mode = Literal["noOutpaint", "outpaint", "fine", "coarse"]
MotionPreset = Literal["", "small", "indoor", "outdoor", "original"]

MOTION_PRESETS: dict[MotionPreset, tuple[float, float]] = {
    "small": (0.18, 0.25),
    "indoor": (0.24, 0.45),
    "outdoor": (0.3, 0.7),
    "original": (0.3, 0.4),
}
"""Forward and backward ratio by preset; `original` also has another formula and other percentiles."""


class InpaintParams(Params):
    """Which backend fills missing colour, and how."""

    backend: Literal["classic", "flux-fill"] = Field(
        default="classic",
        description="Who fills missing colour: classic (PatchMatch on the CPU, invents nothing that the picture "
        "does not hold) or flux-fill (FLUX.1 Fill, a generative model).",
    )
    prompt: str = Field(
        default="", max_length=2000, description="Text prompt of flux-fill; the empty prompt needs no text encoders."
    )
    steps: int = Field(default=25, ge=1, le=200, description="Denoising steps of flux-fill.")
    guidance: float = Field(default=30.0, ge=0.0, le=100.0, description="Guidance scale of flux-fill.")
    precision: Literal["bf16", "fp8"] = Field(
        default="bf16",
        description="Arithmetic of flux-fill's transformer on the GPU: bf16, or fp8 with half of its memory.",
    )
    offload: Literal["none", "model"] = Field(
        default="none",
        description="model keeps only the running part of flux-fill on the GPU, for small GPUs: slower, and steps are "
        "not compiled.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "offload",
            "self.offload == 'none' || self.backend == 'flux-fill'",
            "has an effect on flux-fill alone",
            lambda block: block.offload == "none" or block.backend == "flux-fill",
            ({"offload": "model"},),
        ),
    )


class OutpaintParams(InpaintParams):
    """The one pass that paints a border around the photograph."""

    expansion_percent: float = Field(
        default=0.3,
        ge=0.0,
        le=1.0,
        description="Size of the border relative to the image's sides, half of it on each side (0.3: 15 % left, 15 % "
        "right).",
    )


class ProvidedDepthParams(Params):
    """How the depth or disparity map beside the image is read (backend ``provided``)."""

    kind: Literal["", "depth", "disparity"] = Field(
        default="", description="What the map holds; empty: what its name says (.depth. or .disparity.)."
    )
    scale: float = Field(
        default=1.0,
        gt=0.0,
        le=1e6,
        description="Metres per unit of a depth map (0.001 for millimetres); pixels per unit of a disparity map.",
    )


def _is_metric(traits: DepthTraits) -> bool:
    return traits.scale == "metric"


def _has_no_unit(traits: DepthTraits) -> bool:
    return not _is_metric(traits)


def _is_relative(traits: DepthTraits) -> bool:
    return traits.scale == "relative"


def _knows_its_range(traits: DepthTraits) -> bool:
    return not _is_relative(traits)


def _no_effect(field: str, default: float, known: Wanted, is_default: Callable[[Any], bool]) -> Rule:
    """A field of depth that has no effect on backends that know it themselves."""
    return Rule(
        field,
        f"self.{field} == {default} || !({cel_of(known)})",
        "has no effect on a backend that measures its own depth: leave it out, or use a relative backend",
        lambda block: is_default(block) or not has(known, block.backend, block.variant),
        tuple({**example, field: 2.0} for example in examples_of(known)),
    )


class DepthParams(Params):
    """The single depth pass on the outpainted image."""

    backend: Annotated[str, OneOf(depth_names())] = Field(
        default="classic",
        description="classic is a stated prior, no measurement: ground ramp, saliency and haze. provided reads "
        "a depth or disparity map beside the image. The others are models.",
    )
    variant: str = Field(
        default="",
        max_length=64,
        description="Which weights of a model backend, such as small or metric-indoor-large of depth-anything; "
        "empty: the backend's default. `scenewright models` lists them.",
    )
    fill_invalid: bool = Field(
        default=False,
        description="Give pixels without a valid depth one that continues their surroundings (recorded as "
        "extrapolated). False: they make no Gaussian.",
    )
    far_near_ratio: float = Field(
        default=3.0,
        ge=1.2,
        le=20.0,
        description=f"Farthest over nearest depth of relative backends ({listing_of(_is_relative)}), whose range is "
        "assumed; above 3 the camera tears the classic prior's scenes apart.",
    )
    near_metres: float = Field(
        default=1.0,
        gt=0.0,
        le=1000.0,
        description="Depth in metres of the nearest pixels of backends without a scale of their own "
        f"({listing_of(_has_no_unit)}).",
    )
    edge_threshold: float = Field(
        default=0.01,
        gt=0.0,
        le=1.0,
        description="A pixel is a depth edge where the second difference of inverse depth along its row or column "
        "exceeds this share of its own inverse depth (0 on every plane, the jump at a jump).",
    )
    confidence_threshold: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="Pixels of lower depth confidence make no Gaussians: of the border, and of holes whose depth is "
        "predicted. The photograph's own always do.",
    )
    provided: ProvidedDepthParams = ProvidedDepthParams()

    rules: ClassVar[tuple[Rule, ...]] = (
        _no_effect("nearMetres", 1.0, _is_metric, lambda block: block.near_metres == 1.0),
        _no_effect("farNearRatio", 3.0, _knows_its_range, lambda block: block.far_near_ratio == 3.0),
    )

    @property
    def facts(self) -> BackendFacts:
        """The facts of the backend."""
        return backend(CAPABILITY, self.backend)

    @property
    def traits(self) -> DepthTraits:
        """What the depth of the backend's variant is good for; planning refuses unknown variants."""
        return self.facts.depth_traits(self.variant) or DepthTraits("unknown")

    @property
    def scale(self) -> Scale:
        """Unit of the depth."""
        return self.traits.scale

    @property
    def marks_sky(self) -> bool:
        """Whether the depth tells sky from walls."""
        return self.traits.marks_sky


class InitializeParams(Params):
    """The first Gaussians: one a pixel of the input and of the painted border."""

    iterations: int = Field(default=100, ge=0, le=10000, description="Optimisation steps on the first two views.")
    opacity: float = Field(default=0.8, gt=0.0, lt=1.0, description="Opacity of a new Gaussian.")


class TrajectoryParams(Params):
    """The camera path on which candidate views are looked for and the final video is made."""

    type: Literal["spiral", "orbit", "dolly", "rotate", "wobble", "interpolate"] = Field(
        default="spiral",
        description="Shape of the path. spiral: out towards the scene, back behind the start. orbit: a flat loop to "
        "the sides. dolly: straight in and out. rotate: turns on the spot. wobble: the spiral the other way round. "
        "interpolate: the final flight goes through the views that the coarse loop added.",
    )
    motion_preset: MotionPreset = Field(
        default="",
        description="How far the camera goes: small (.18/.25, for prior depth), indoor (.24/.45), outdoor (.3/.7, "
        "for metric depth of open scenes), original (VistaDream's own formula). Empty: small for relative depth, else "
        "outdoor under a sky and indoor without one, unless ratios are given.",
    )
    forward_ratio: float | None = Field(
        default=None,
        ge=0.0,
        le=2.0,
        description="Forward motion relative to the scene's radius, and sideways motion; clamped to half of the "
        "scene's 5th percentile of depth, and the clamp is recorded. Unset: the preset's.",
    )
    backward_ratio: float | None = Field(
        default=None,
        ge=0.0,
        le=2.0,
        description="Backward motion relative to the scene's radius. Unset: the preset's.",
    )
    turn_degrees: float = Field(
        default=10.0, gt=0.0, le=180.0, description="How far the path rotate turns to either side, degrees."
    )
    min_percentage: float = Field(
        default=5.0, ge=0.0, lt=50.0, description="Lower percentile of point positions that the radius is taken from."
    )
    max_percentage: float = Field(
        default=95.0,
        gt=50.0,
        le=100.0,
        description="Upper percentile of point positions that the radius is taken from.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "motionPreset",
            "self.motionPreset == '' || (!has(self.forwardRatio) && !has(self.backwardRatio))",
            "contradicts forwardRatio and backwardRatio: give either the preset or the ratios",
            lambda block: not block.motion_preset or (block.forward_ratio is None and block.backward_ratio is None),
            ({"motionPreset": "small", "forwardRatio": 0.1},),
        ),
        Rule(
            "motionPreset",
            "self.motionPreset != 'original' || "
            "(self.type == 'spiral' && self.minPercentage == 5.0 && self.maxPercentage == 95.0)",
            "original is VistaDream's spiral with its own percentiles: leave type, minPercentage and maxPercentage out",
            lambda block: (
                block.motion_preset != "original"
                or (block.type == "spiral" and (block.min_percentage, block.max_percentage) == (5.0, 95.0))
            ),
            ({"motionPreset": "original", "type": "orbit"}, {"motionPreset": "original", "maxPercentage": 60.0}),
        ),
        Rule(
            "turnDegrees",
            "self.turnDegrees == 10.0 || self.type == 'rotate'",
            "has an effect on the path rotate alone: set type to rotate",
            lambda block: block.turn_degrees == 10.0 or block.type == "rotate",
            ({"turnDegrees": 20.0},),
        ),
    )


class CoarseParams(Params):
    """The loop that looks for holes, fills them and grows the scene."""

    frames: int = Field(default=10, ge=1, le=100, description="Extra views to add.")
    dense_multiplier: int = Field(
        default=10, ge=1, le=100, description="Candidate poses for each extra view; every one is rendered each round."
    )
    max_inpaint_ratio: float = Field(
        default=0.25, ge=0.0, le=1.0, description="Poses with a larger share of hole pixels are not chosen."
    )
    min_inpaint_ratio: float = Field(
        default=0.05, ge=0.0, le=1.0, description="Poses with a smaller share of hole pixels are not chosen."
    )
    adjacent_exclusion: int = Field(
        default=1, ge=0, le=100, description="Poses within this many steps of a chosen one are not chosen."
    )
    fallback_mode: Literal["none", "closest"] = Field(
        default="none",
        description="What happens when no pose lies in the band: stop, or take the pose closest to it (recorded).",
    )
    margin: int = Field(
        default=32, ge=0, le=512, multiple_of=2, description="Pixels by which candidate views are wider and higher."
    )
    iterations_per_frame: int = Field(default=500, ge=0, le=20000, description="Optimisation steps for each new view.")
    gap_views: int = Field(
        default=4,
        ge=0,
        le=100,
        description="After the loop, gaps that are too small for the band are filled at up to this many further "
        "poses, without optimisation, so that the video shows no small holes. 0: leave them.",
    )
    print_summary: bool = Field(
        default=True,
        description="Write [COARSE] Summary to the log. coarse_summary.txt and .json hold it in any case.",
    )
    inpaint: InpaintParams = InpaintParams()

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "minInpaintRatio",
            "self.minInpaintRatio <= self.maxInpaintRatio",
            "must not exceed maxInpaintRatio",
            lambda block: block.min_inpaint_ratio <= block.max_inpaint_ratio,
            ({"minInpaintRatio": 0.26},),
        ),
    )


class RenderParams(Params):
    """The final camera path and what is written of it."""

    max_frames: int = Field(default=150, ge=1, le=2000, description="Most frames of the final video.")
    frames_per_view: int = Field(
        default=25, ge=1, le=500, description="Frames of the video for each view of the scene."
    )
    frames_per_second: int = Field(default=25, ge=1, le=120, description="Frame rate of the videos in 1/s.")
    rerun: bool = Field(default=True, description="Write scene.rrd for the Rerun viewer.")
    gaussians_ply_degree: Literal[0, 3] = Field(
        default=0,
        description="Degree of the spherical harmonics in the PLY file. 3 adds 45 zeros (f_rest_*) to each "
        "Gaussian, for viewers that insist on them.",
    )
    drop_invisible: bool = Field(
        default=False,
        description="Leave Gaussians that are less opaque than 1/255 out of the PLY file: it is smaller and looks the "
        "same, for renderers skip them.",
    )
    gaussians_ply_path: str = Field(
        default="",
        max_length=200,
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*/?)*$",
        description="Where the Gaussians go below the sample's folder: a path ending in .ply names the file, any other "
        "names a folder in which gf.ply is written.",
    )

    def ply_name(self) -> str:
        """Path of the PLY file below the sample's folder."""
        path = self.gaussians_ply_path.strip("/")
        if path.endswith(".ply"):
            return path
        return f"{path}/gf.ply" if path else "gf.ply"


class VistaDreamParams(Params):
    """One photograph becomes an expanded 3D scene of Gaussian splats (VistaDream's single-image pipeline)."""

    mode: Mode = Field(
        default="noOutpaint",
        description="noOutpaint: Gaussians of the photograph alone. outpaint (and fine, its synonym): a border is "
        "painted first. coarse: then hidden parts are filled view by view.",
    )
    max_resolution: int = Field(
        default=512,
        ge=64,
        le=2048,
        description="Longest side of the working image in pixels; sides are multiples of 32.",
    )
    field_of_view_degrees: float | None = Field(
        default=None,
        gt=5.0,
        lt=150.0,
        description="Horizontal field of view of the photograph in degrees. Unset: from the camera file of a "
        "provided map, from EXIF, from the depth model, else 60.",
    )
    outpaint: OutpaintParams = OutpaintParams()
    depth: DepthParams = DepthParams()
    initialize: InitializeParams = InitializeParams()
    trajectory: TrajectoryParams = TrajectoryParams()
    coarse: CoarseParams = CoarseParams()
    render: RenderParams = RenderParams()
    export: ExportParams = ExportParams()
    live_viewer: str = Field(
        default="",
        max_length=200,
        pattern=r"^(rerun(\+https?)?://[^/ ]+:[0-9]+/proxy)?$",
        description="Address of a Rerun viewer, such as rerun+http://10.0.0.5:9876/proxy, that shows the scene while "
        "it grows. Changes no result and fails no run.",
    )
