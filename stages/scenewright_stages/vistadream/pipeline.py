"""The VistaDream pipeline as data: image -> outpaint -> depth -> Gaussians -> coarse expansion -> scene and video."""

from __future__ import annotations

from collections.abc import Sequence

from scenewright_stages.backends.runtime.choices import BackendChoice, stage_resources
from scenewright_stages.contract.formats import PICTURE_ENDINGS
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import ArrayContract, ImageContract, OutputContract
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, Resources, StageModels, StagePod, StageSpec
from scenewright_stages.exports import formats_stage
from scenewright_stages.vistadream.params import VistaDreamParams

IMAGE_SUFFIXES = (*PICTURE_ENDINGS, ".gif")
SIDECARS = {
    "depth": (
        ".depth.npy",
        ".depth.npz",
        ".depth.pfm",
        ".depth.png",
        ".disparity.npy",
        ".disparity.npz",
        ".disparity.pfm",
        ".disparity.png",
    ),
    "camera": (".camera.json",),
}
WORK = ".scenewright/work/{sample}"
SCENE_GPU_MEMORY_GIB = 8.0
"""What drawing and optimising a scene needs by itself."""

SCENE_ARRAYS = (
    ArrayContract("means", "float32", 2),
    ArrayContract("log_scales", "float32", 2, may_be_constant=True),
    ArrayContract("quaternions", "float32", 2),
    ArrayContract("opacity_logits", "float32", 1, may_be_constant=True),
    ArrayContract("spherical_harmonics", "float32", 3, may_be_constant=True),
)


def outpaint_stage(params: VistaDreamParams) -> StageSpec:
    """Reads the photograph, sizes it, and paints the border unless the mode says not to."""
    paints = params.mode != "noOutpaint"
    return StageSpec(
        name="outpaint",
        title="Prepare and outpaint",
        version=2,  # the classic fill continues the colours around a hole
        implementation="scenewright_stages.vistadream.outpaint:OutpaintStage",
        reads=(Read(INPUT),),
        outputs=(
            OutputContract("input", "{sample}/input.png", "image", image=ImageContract(may_be_constant=True)),
            OutputContract("image", "{sample}/outpaint.png", "image", image=ImageContract(may_be_constant=True)),
            OutputContract(
                "mask", "{sample}/outpaint_mask.png", "image", image=ImageContract(channels=1, may_be_constant=True)
            ),
            OutputContract(
                "layout", f"{WORK}/layout.json", "json", result=False, json_keys=("canvas", "crop", "scale", "mode")
            ),
        ),
        parameters=("max_resolution", "outpaint") if paints else ("max_resolution",),
        models=StageModels(
            backends={"outpaint": params.outpaint.backend} if paints else {},
            backend_parameters={"outpaint": "outpaint.backend"},
        ),
        pod=StagePod(resources=_resources([_outpaint(params)] if paints else []), seconds_per_sample=6.0),
    )


def depth_stage(params: VistaDreamParams) -> StageSpec:
    """One depth pass on the outpainted image; the photograph's depth is cropped from it."""
    return StageSpec(
        name="depth",
        title="Depth",
        version=3,  # the prior continues near surfaces up to their outlines
        implementation="scenewright_stages.vistadream.depth:DepthStage",
        reads=(Read(INPUT), Read("outpaint", ("image", "mask", "layout"))),
        outputs=(
            OutputContract(
                "depth",
                f"{WORK}/depth.npz",
                "arrays",
                result=False,
                arrays=(
                    ArrayContract("depth", "float32", 2, finite=0.05, minimum=0.0),
                    ArrayContract("confidence", "float32", 2, minimum=0.0, maximum=1.0, may_be_constant=True),
                    ArrayContract("far", "bool", 2, may_be_constant=True),
                    ArrayContract("intrinsics", "float64", 2),
                ),
            ),
            OutputContract("preview", "{sample}/depth.png", "image"),
        ),
        parameters=("depth", "field_of_view_degrees", *_scale(params)),
        models=StageModels(backends={"depth": params.depth.backend}, backend_parameters={"depth": "depth.backend"}),
        pod=StagePod(resources=_resources([_depth(params)]), seconds_per_sample=2.0),
    )


def initialize_stage(params: VistaDreamParams) -> StageSpec:
    """Builds the first two frames, lifts their pixels to Gaussians and optimises them together."""
    return StageSpec(
        name="initialize",
        title="Initialise Gaussians",
        version=3,  # the fit covers what is dark
        implementation="scenewright_stages.vistadream.initialize:InitializeStage",
        reads=(Read("outpaint"), Read("depth", ("depth",))),
        outputs=(
            OutputContract("scene", f"{WORK}/initial_scene.npz", "arrays", result=False, arrays=SCENE_ARRAYS),
            OutputContract("frames", f"{WORK}/initial_frames.npz", "arrays", result=False),
        ),
        parameters=("initialize", "depth.edge_threshold", "depth.confidence_threshold"),
        pod=StagePod(
            image="gaussians",
            resources=_resources(
                [], beside=[_inpaint(params), _depth(params)], own_gpu_memory_gib=SCENE_GPU_MEMORY_GIB
            ),
            seconds_per_sample=30.0,
        ),
    )


def coarse_stage(params: VistaDreamParams) -> StageSpec:
    """Looks for poses with holes, fills them, and grows the scene."""
    return StageSpec(
        name="coarse",
        title="Coarse expansion",
        version=7,  # a doubtful prior bears less motion
        implementation="scenewright_stages.vistadream.coarse:CoarseStage",
        reads=(Read("initialize"),),
        keyed_by=("depth",),
        outputs=(
            OutputContract("scene", f"{WORK}/coarse_scene.npz", "arrays", result=False, arrays=SCENE_ARRAYS),
            OutputContract("frames", f"{WORK}/coarse_frames.npz", "arrays", result=False),
            OutputContract("summary", "{sample}/coarse_summary.json", "json", json_keys=("selected_extra_frames",)),
            OutputContract("log", "{sample}/coarse_summary.txt", "text"),
        ),
        parameters=(
            "coarse",
            "trajectory",
            "depth.edge_threshold",
            "depth.confidence_threshold",
            "depth.far_near_ratio",
            "depth.near_metres",
            *_sky(params),
        ),
        models=StageModels(
            backends={"inpaint": params.coarse.inpaint.backend, "depth": params.depth.backend},
            backend_parameters={"inpaint": "coarse.inpaint.backend"},
        ),
        pod=StagePod(
            image="gaussians",
            resources=_resources([_inpaint(params), _depth(params)], own_gpu_memory_gib=SCENE_GPU_MEMORY_GIB),
            seconds_per_sample=25.0 * params.coarse.frames,
        ),
    )


def render_stage(params: VistaDreamParams) -> StageSpec:
    """Flies the final path and writes the scene, the videos and the Rerun recording."""
    last = "coarse" if params.mode == "coarse" else "initialize"
    rerun = (OutputContract("rerun", "{sample}/scene.rrd", "rrd", minimum_bytes=1000),) if params.render.rerun else ()
    return StageSpec(
        name="render",
        title="Render",
        version=5,  # a doubtful prior bears less motion, and warnings say what to set
        implementation="scenewright_stages.vistadream.render:RenderStage",
        reads=(Read(last, ("scene", "frames")), Read("outpaint", ("input",))),
        outputs=(
            OutputContract("ply", f"{{sample}}/{params.render.ply_name()}", "ply", minimum_bytes=500),
            OutputContract("video", "{sample}/orbit.mp4", "video"),
            OutputContract("depth_video", "{sample}/orbit_depth.mp4", "video"),
            OutputContract("contact_sheet", "{sample}/contact_sheet.jpg", "image"),
            OutputContract("metrics", "{sample}/metrics.json", "json", json_keys=("frames", "gaussians")),
            *rerun,
        ),
        parameters=("render", "trajectory", *_sky(params)),
        pod=StagePod(
            image="gaussians",
            resources=_resources(
                [], beside=[_inpaint(params), _depth(params)], own_gpu_memory_gib=SCENE_GPU_MEMORY_GIB
            ),
            seconds_per_sample=20.0,
        ),
    )


def stages(params: VistaDreamParams) -> tuple[StageSpec, ...]:
    """The chain of the mode, in the order in which it runs."""
    chain = [outpaint_stage(params), depth_stage(params), initialize_stage(params)]
    if params.mode == "coarse":
        chain.append(coarse_stage(params))
    formats = formats_stage(
        params.export,
        "scenewright_stages.vistadream.formats:PhotographFormats",
        (Read("render", ("ply",)), Read(chain[-1].name, ("frames",))),
    )
    return (*chain, render_stage(params), *formats)


def _outpaint(params: VistaDreamParams) -> BackendChoice:
    block = params.outpaint
    return BackendChoice("outpaint", (block.backend,), precision=block.precision)


def _inpaint(params: VistaDreamParams) -> BackendChoice:
    block = params.coarse.inpaint
    return BackendChoice("inpaint", (block.backend,), precision=block.precision)


def _depth(params: VistaDreamParams) -> BackendChoice:
    return BackendChoice("depth", (params.depth.backend,), params.depth.variant)


def _scale(params: VistaDreamParams) -> tuple[str, ...]:
    """Depth of unknown scale gets one. The keys of results with other depth stay those of earlier releases."""
    return ("depth.scale",) if params.depth.scale == "unknown" else ()


def _sky(params: VistaDreamParams) -> tuple[str, ...]:
    """Depth in metres that tells no sky from walls bears the motion of a room; other keys stay as they were."""
    return ("depth.marks_sky",) if params.depth.scale == "metric" and not params.depth.marks_sky else ()


def _resources(
    held: Sequence[BackendChoice], beside: Sequence[BackendChoice] = (), own_gpu_memory_gib: float = 0.0
) -> Resources:
    """A GPU only where a model backend is in use: the weightless chain runs on CPUs throughout."""
    return stage_resources(
        held, beside=beside, own_gpu_memory_gib=own_gpu_memory_gib, memory_gib=32.0, scratch_gib=32.0
    )


_LEAST_HOLES = 0.01
"""Share of a view that is worth filling in a photograph without a manifest: small moves uncover little."""


def photograph_block(cpus: int, gpus: int) -> dict[str, object]:
    """The block of a photograph without a manifest: hidden parts are filled, at a size that the machine bears.

    On two CPUs that takes about a minute.
    """
    if gpus:
        coarse = {"frames": 10, "minInpaintRatio": _LEAST_HOLES}
        return {"mode": "coarse", "maxResolution": 512, "coarse": coarse}
    size = next(size for most, size in ((2, 320), (4, 384), (8, 448), (cpus, 512)) if cpus <= most)
    coarse = {"frames": 3, "iterationsPerFrame": 200, "minInpaintRatio": _LEAST_HOLES}
    return {"mode": "coarse", "maxResolution": size, "coarse": coarse}


PIPELINE = Pipeline(
    name="vistadream",
    kind="SceneJob",
    params=VistaDreamParams,
    input=InputKind(suffixes=IMAGE_SUFFIXES, sidecars=SIDECARS),
    stages=stages,
    examples=({"mode": "noOutpaint"}, {"mode": "outpaint"}, {"export": {"to": ["spz"]}}),
    reporter="scenewright_stages.vistadream.report:SceneReporter",
    photograph_block=photograph_block,
)
