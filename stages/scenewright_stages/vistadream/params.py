"""Parameters of the VistaDream pipeline: every switch of the single-image pipeline, typed, with units and ranges."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from scenewright_stages.contract.params import Params, Rule

Mode = Literal["noOutpaint", "outpaint", "fine", "coarse"]
MotionPreset = Literal["", "small", "indoor", "outdoor"]

SEED_FORWARD_RATIO = 0.3
SEED_BACKWARD_RATIO = 0.7


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


class DepthParams(Params):
    """The single depth pass on the outpainted image."""

    backend: Literal["classic", "provided", "depth-pro", "depth-anything", "moge"] = Field(
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
        description="Farthest over nearest depth of the classic prior; above 3 the camera tears the scene apart.",
    )
    near_metres: float = Field(
        default=1.0, gt=0.0, le=1000.0, description="Depth in metres that the classic prior gives the nearest pixels."
    )
    edge_threshold: float = Field(
        default=0.01,
        gt=0.0,
        le=1.0,
        description="A pixel is a depth edge where the second difference of inverse depth along its row or column "
        "exceeds this share of its own inverse depth (0 on every plane, the jump at a jump).",
    )
    confidence_threshold: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Pixels of lower depth confidence make no Gaussians outside the input."
    )
    provided: ProvidedDepthParams = ProvidedDepthParams()


class InitializeParams(Params):
    """The first Gaussians: one a pixel of the input and of the painted border."""

    iterations: int = Field(default=100, ge=0, le=10000, description="Optimisation steps on the first two views.")
    opacity: float = Field(default=0.8, gt=0.0, lt=1.0, description="Opacity of a new Gaussian.")


class TrajectoryParams(Params):
    """The camera path on which candidate views are looked for and the final video is made."""

    type: Literal["spiral"] = Field(default="spiral", description="Shape of the path.")
    motion_preset: MotionPreset = Field(
        default="",
        description="Replaces both ratios: small (.18/.25, for prior depth), indoor (.24/.45), outdoor (.3/.7, "
        "for metric depth of open scenes). Empty: the ratios below hold.",
    )
    forward_ratio: float = Field(
        default=SEED_FORWARD_RATIO,
        ge=0.0,
        le=2.0,
        description="Forward motion relative to the scene's radius; clamped to half of the scene's 5th percentile "
        "of depth, and the clamp is recorded.",
    )
    backward_ratio: float = Field(
        default=SEED_BACKWARD_RATIO, ge=0.0, le=2.0, description="Backward motion relative to the scene's radius."
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
            "self.motionPreset == '' || "
            f"(self.forwardRatio == {SEED_FORWARD_RATIO} && self.backwardRatio == {SEED_BACKWARD_RATIO})",
            "contradicts forwardRatio and backwardRatio: give either the preset or the ratios",
            lambda block: (
                not block.motion_preset
                or (block.forward_ratio, block.backward_ratio) == (SEED_FORWARD_RATIO, SEED_BACKWARD_RATIO)
            ),
            ({"motionPreset": "small", "forwardRatio": 0.1},),
        ),
    )

    def ratios(self) -> tuple[float, float]:
        """Forward and backward ratio in effect."""
        return MOTION_PRESETS.get(self.motion_preset, (self.forward_ratio, self.backward_ratio))


MOTION_PRESETS: dict[str, tuple[float, float]] = {
    "small": (0.18, 0.25),
    "indoor": (0.24, 0.45),
    "outdoor": (SEED_FORWARD_RATIO, SEED_BACKWARD_RATIO),
}
"""Forward and backward ratio by preset."""


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
    print_summary: bool = Field(default=True, description="Write [COARSE] Summary to the log and the result.")
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
