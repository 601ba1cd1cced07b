"""The reconstruction pipeline as data.

poses, where they are estimated -> capture -> trained scene -> rounds with a fixer -> flight and files
"""

from __future__ import annotations

from scenewright_stages.backends.runtime.choices import BackendChoice, stage_resources
from scenewright_stages.captures import PHOTOGRAPHS, SCENE_ARRAYS, WORK, block_for, capture_stage, poses_stage
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.pipeline import NamedInput, Pipeline, Read, Resources, StageModels, StagePod, StageSpec
from scenewright_stages.exports import formats_stage
from scenewright_stages.reconstruct.params import ReconstructParams

FIXER = "fixer"
"""Name of the checkpoint among the inputs."""
FIXED_VIDEO = OutputContract("fixed_video", "{sample}/flight_fixed.mp4", "video")


def train_stage(params: ReconstructParams) -> StageSpec:
    """Trains the scene on the photographs that are neither held out nor gate views."""
    return StageSpec(
        name="train",
        title="Train the scene",
        version=3,
        implementation="scenewright_stages.reconstruct.train:TrainStage",
        reads=(Read("capture"),),
        outputs=(OutputContract("scene", f"{WORK}/trained_scene.npz", "arrays", result=False, arrays=SCENE_ARRAYS),),
        parameters=("training", *_roles(params)),
        keeps_state=True,
        pod=StagePod(image="gaussians", seconds_per_sample=0.05 * params.training.settled(0).steps),
    )


def fix_stage(params: ReconstructParams) -> StageSpec:
    """Repairs views between photographs and keeps what helps."""
    return StageSpec(
        name="difix",
        title="Repair views",
        version=5,
        implementation="scenewright_stages.reconstruct.fix:FixStage",
        reads=(Read("capture"), Read("train")),
        outputs=(
            OutputContract("scene", f"{WORK}/fixed_scene.npz", "arrays", result=False, arrays=SCENE_ARRAYS),
            OutputContract("rounds", "{sample}/difix_rounds.json", "json", json_keys=("fixer", "rounds")),
            OutputContract("strips", "{sample}/difix_views.png", "image"),
        ),
        parameters=(
            "training",
            *_roles(params),
            "difix.variant",
            "difix.rounds",
            "difix.round_steps",
            "difix.walk",
            "difix.views",
            "difix.weight",
            "difix.share",
            "difix.gain",
        ),
        inputs=_checkpoint(params),
        keeps_state=True,
        models=_models(params),
        pod=StagePod(
            image="gaussians",
            resources=_resources(params),
            seconds_per_sample=0.1 * params.difix.rounds * params.difix.round_steps,
        ),
    )


def render_stage(params: ReconstructParams) -> StageSpec:
    """Measures the scene on the held-out photographs and writes the final files."""
    last = "difix" if params.difix.rounds else "train"
    fixes = params.difix.final_pass
    return StageSpec(
        name="render",
        title="Render",
        version=5,
        implementation="scenewright_stages.reconstruct.render:RenderStage",
        reads=(Read("capture"), Read(last, ("scene",))),
        outputs=(
            OutputContract("ply", "{sample}/gf.ply", "ply", minimum_bytes=500),
            OutputContract("video", "{sample}/flight.mp4", "video"),
            OutputContract("depth_video", "{sample}/flight_depth.mp4", "video"),
            OutputContract("contact_sheet", "{sample}/contact_sheet.jpg", "image"),
            OutputContract("held_out", "{sample}/held_out.png", "image"),
            OutputContract("metrics", "{sample}/metrics.json", "json", json_keys=("held_out", "train")),
            OutputContract("frame", "{sample}/frame.json", "json", json_keys=("world_from_scene",), optional=True),
            *((FIXED_VIDEO,) if fixes else ()),
        ),
        parameters=(
            *_roles(params),
            "render",
            "difix.final_pass",
            *(("difix.variant",) if fixes else ()),
        ),
        inputs=_checkpoint(params) if fixes else (),
        models=_models(params) if fixes else StageModels(),
        pod=StagePod(
            image="gaussians", resources=_resources(params) if fixes else Resources(), seconds_per_sample=20.0
        ),
    )


def _roles(params: ReconstructParams) -> tuple[str, ...]:
    """The parameters that assign roles to photographs; without rounds `gateEvery` has no effect."""
    return ("held_out_every", "gate_every", "deciding_every") if params.difix.rounds else ("held_out_every",)


def _checkpoint(params: ReconstructParams) -> tuple[str, ...]:
    """The named input of a stage that runs the fixer."""
    return (FIXER,) if params.difix.tuned else ()


def _models(params: ReconstructParams) -> StageModels:
    return StageModels({"fix": params.difix.backend}, {"fix": "difix.backend"})


def _resources(params: ReconstructParams) -> Resources:
    choice = BackendChoice("fix", (params.difix.backend,), params.difix.variant)
    return stage_resources([choice], cpu=8.0, memory_gib=32.0)


def stages(params: ReconstructParams) -> tuple[StageSpec, ...]:
    """poses (if estimated) -> capture -> train -> difix (with a fixer) -> render."""
    estimated = params.poses.source == "estimate"
    posing = (poses_stage(),) if estimated else ()
    fixing = (fix_stage(params),) if params.difix.rounds else ()
    formats = formats_stage(
        params.export,
        "scenewright_stages.reconstruct.formats:ReconstructionFormats",
        (Read("render", ("ply", "frame")), Read("capture")),
    )
    return *posing, capture_stage(estimated=estimated), train_stage(params), *fixing, render_stage(params), *formats


def named_inputs(params: ReconstructParams) -> tuple[NamedInput, ...]:
    """The fixer's checkpoint; a released fixer needs none."""
    block = params.difix
    if not (block.fixes and block.tuned):
        return ()
    run = block.tuning_run
    if run.name:
        return (NamedInput(FIXER, kind="TuningRun", object=run.name, chosen=run.step, field="difix.tuningRun"),)
    return (NamedInput(FIXER, uri=block.checkpoint, field="difix.checkpoint"),)


_WITH_FIXER = {"rounds": 1, "finalPass": True, "tuningRun": {"name": "fixer"}}
PIPELINE = Pipeline(
    name="reconstruct",
    kind="SceneJob",
    params=ReconstructParams,
    input=PHOTOGRAPHS,
    stages=stages,
    inputs=named_inputs,
    block_for=block_for,
    uri_parameters=("difix.checkpoint",),
    reporter="scenewright_stages.reconstruct.report:ReconstructionReporter",
    examples=({"poses": {"source": "estimate"}, "difix": _WITH_FIXER}, {"export": {"to": ["spz"]}}),
)
