"""The two fixer pipelines as data: training pairs from captures, and the run that tunes a fixer on them."""

from __future__ import annotations

from scenewright_stages.backends.runtime.choices import BackendChoice, stage_resources
from scenewright_stages.captures import BESIDE, CAPTURES, SCENE_ARRAYS, WORK, capture_stage
from scenewright_stages.contract.outputs import ArrayContract, OutputContract
from scenewright_stages.contract.pipeline import Pipeline, Read, Resources, StageModels, StagePod, StageSpec
from scenewright_stages.difix.fixer_params import FixerParams
from scenewright_stages.difix.params import PairsParams
from scenewright_stages.difix.strategies import pairs, trainings

TUNING_RUNS = "tuning_runs/"
META_KEYS = (
    "sample_id",
    "dataset",
    "scene_name",
    "group_id",
    "target_cam_id",
    "reference_cam_id",
    "target_fname",
    "reference_fname",
    "image_path",
    "target_image_path",
    "ref_image_path",
)
PAIR_ATTRIBUTES = ("strategy", "level", "pair", "target", "reference")
CONDITIONS = (
    ArrayContract("alpha", "uint8", 2, may_be_constant=True),
    ArrayContract("warped", "uint8", 3, may_be_constant=True),
    ArrayContract("valid", "uint8", 2, may_be_constant=True),
)
"""How far the render is covered, the reference as the target's camera would see it, and where it shows something."""


def spoil_stage(params: PairsParams) -> StageSpec:
    """Trains a scene with artefacts."""
    return StageSpec(
        name="spoil",
        title="Train a spoilt scene",
        version=3,
        implementation="scenewright_stages.difix.spoil:SpoilStage",
        reads=(Read("capture"),),
        outputs=(OutputContract("scene", f"{WORK}/scene.npz", "arrays", result=False, arrays=SCENE_ARRAYS),),
        # The samples themselves carry strategy and level, so adding a level does not rerun the others.
        parameters=("training",),
        attributes=("strategy", "level", "shots"),
        expands=lambda sample: trainings(sample, params),
        keeps_state=True,
        pod=StagePod(image="gaussians", seconds_per_sample=60.0),
    )


def pair_stage(params: PairsParams) -> StageSpec:
    """Renders one target view, compares it with the photograph, and writes the pair."""
    return StageSpec(
        name="pair",
        title="Make pairs",
        version=3,
        implementation="scenewright_stages.difix.pair:PairStage",
        reads=(Read("capture"), *((Read(BESIDE),) if _captures_beside(params) else ()), Read("spoil")),
        outputs=(
            OutputContract("image", "samples/{pair}/image.png", "image"),
            OutputContract("target", "samples/{pair}/target_image.jpg", "image"),
            OutputContract("reference", "samples/{pair}/ref_image.jpg", "image"),
            OutputContract("meta", "samples/{pair}/meta.json", "json", json_keys=META_KEYS),
            OutputContract(
                "conditions",
                ".scenewright/work/pairs/{pair}.npz",
                "arrays",
                result=False,
                offered=True,
                arrays=CONDITIONS,
            ),
        ),
        parameters=("dataset", "gates", "group_by", "sources", "split"),
        attributes=("scene", "dataset", "folder", "facts", "time", "shots", "others", *PAIR_ATTRIBUTES),
        expands=lambda sample: pairs(sample, params),
        pod=StagePod(seconds_per_sample=0.5),
    )


def pairs_stages(params: PairsParams) -> tuple[StageSpec, ...]:
    """capture (with a neighbouring moment if references come from it) -> spoil (per strategy and level) -> pair (per
    target).
    """
    beside = (capture_stage(beside=True),) if _captures_beside(params) else ()
    return capture_stage(), *beside, spoil_stage(params), pair_stage(params)


def _captures_beside(params: PairsParams) -> bool:
    """Whether references come from another moment."""
    return params.reference.time == "other"


PAIRS = Pipeline(
    name="difixPairs",
    kind="DatasetJob",
    params=PairsParams,
    input=CAPTURES,
    stages=pairs_stages,
    examples=({"strategies": {"cycle": [40], "crossCamera": True}, "reference": {"time": "other"}},),
    reporter="scenewright_stages.difix.report:PairsReporter",
    sample_pages=False,
    catalogue="scenewright_stages.difix.catalogue:index_files",
    hosts=(TUNING_RUNS,),
)


def tune_stage(params: FixerParams) -> StageSpec:
    """Trains the fixer."""
    return StageSpec(
        name="tune",
        title="Tune the fixer",
        version=3,
        implementation="scenewright_stages.difix.tune:TuneStage",
        reads=(),
        outputs=(
            OutputContract("checkpoints", "checkpoints/", "bytes", form="folder", minimum_files=2),
            OutputContract("config", "train_config.json", "json", json_keys=("backend", "parameters", "seed", "data")),
            OutputContract("loss", "loss.csv", "text"),
            OutputContract("curve", "loss.png", "image"),
        ),
        parameters=(
            "backend",
            "variant",
            "steps",
            "batch",
            "crop",
            "learning_rate",
            "weight_decay",
            "ema",
            "losses",
            # The number of GPUs and compilation are left out, because they change only the speed.
            "difix.losses",
            "difix.keep_optimiser",
            "use_reference",
            "checkpoint_every",
            "validation_fraction",
            "patience",
        ),
        inputs=("dataset",),
        keeps_state=True,
        models=_models(params),
        pod=StagePod(
            image="gaussians",
            resources=_resources(params, params.difix.gpus),
            processes=params.difix.gpus,
            seconds_per_sample=0.3 * params.steps,
        ),
    )


def evaluate_stage(params: FixerParams) -> StageSpec:
    """Evaluates the best checkpoint on the test groups."""
    return StageSpec(
        name="evaluate",
        title="Evaluate",
        version=3,  # the page is the publication's, and metrics.json names the strips
        implementation="scenewright_stages.difix.evaluate:EvaluateStage",
        reads=(Read("tune", ("checkpoints", "loss")),),
        outputs=(
            OutputContract("metrics", "eval/metrics.json", "json", json_keys=("all", "groups", "checkpoint")),
            OutputContract("table", "eval/table.md", "text"),
            OutputContract("strips", "eval/strips.png", "image"),
            OutputContract("worst", "eval/worst.png", "image"),
        ),
        parameters=("test_strips",),
        inputs=("dataset",),
        models=_models(params),
        pod=StagePod(image="gaussians", resources=_resources(params)),
    )


def fixer_stages(params: FixerParams) -> tuple[StageSpec, ...]:
    """tune -> evaluate."""
    return tune_stage(params), evaluate_stage(params)


def _models(params: FixerParams) -> StageModels:
    """The fixer's backend, and what its losses ask for; the classic one is no backend."""
    choices = _choices(params)
    used = {choice.capability: choice.names[0] for choice in choices}
    return StageModels(used, {"fix": "backend"} if choices else {})


def _choices(params: FixerParams) -> list[BackendChoice]:
    if params.backend == "classic":
        return []
    choices = [BackendChoice("fix", (params.backend,), params.variant)]
    if params.needs_perception:
        choices.append(BackendChoice("perception", ("lpips-vgg",)))
    return choices


def _resources(params: FixerParams, processes: int = 1) -> Resources:
    choices = _choices(params)
    if not choices:
        return Resources()
    scratch = 48.0 + 16.0 * processes
    return stage_resources(choices, cpu=8.0 * processes, memory_gib=48.0 * processes, scratch_gib=scratch)


_FINE_TUNING_RATE = 2e-5
_TWO_GPUS = {"gpus": 2}
FIXER = Pipeline(
    name="fixer",
    kind="TuningRun",
    params=FixerParams,
    stages=fixer_stages,
    reporter="scenewright_stages.difix.tuning_report:TuningReporter",
    examples=({"backend": "difix", "learningRate": _FINE_TUNING_RATE, "difix": _TWO_GPUS},),
    chosen="scenewright_stages.difix.catalogue:chosen_checkpoints",
    partial_catalogue=True,
)

PIPELINES = (PAIRS, FIXER)
