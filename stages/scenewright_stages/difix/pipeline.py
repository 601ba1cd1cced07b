"""The two pipelines around fixers as data: pairs of artefact and truth, and the run that tunes a fixer on them."""

from __future__ import annotations

from scenewright_stages.captures import CAPTURES, SCENE_ARRAYS, WORK, capture_stage
from scenewright_stages.contract.outputs import ArrayContract, OutputContract
from scenewright_stages.contract.pipeline import Pipeline, Read, StageSpec
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
CONDITIONS = (
    ArrayContract("alpha", "uint8", 2, may_be_constant=True),
    ArrayContract("warped", "uint8", 3, may_be_constant=True),
    ArrayContract("valid", "uint8", 2, may_be_constant=True),
)
"""How far the render is covered, the reference as the target's camera would see it, and where it shows something."""


def spoil_stage(params: PairsParams) -> StageSpec:
    """Trains a scene that shows artefacts."""
    return StageSpec(
        name="spoil",
        title="Train a spoilt scene",
        version=1,
        implementation="scenewright_stages.difix.spoil:SpoilStage",
        reads=(Read("capture"),),
        outputs=(OutputContract("scene", f"{WORK}/scene.npz", "arrays", result=False, arrays=SCENE_ARRAYS),),
        parameters=("training", "strategies"),
        attributes=("strategy", "level", "shots"),
        expands=lambda sample: trainings(sample, params),
        keeps_state=True,
        seconds_per_sample=60.0,
    )


def pair_stage(params: PairsParams) -> StageSpec:
    """Renders one target view, compares it with the photograph, and writes the pair."""
    return StageSpec(
        name="pair",
        title="Make pairs",
        version=1,
        implementation="scenewright_stages.difix.pair:PairStage",
        reads=(Read("capture"), Read("spoil")),
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
        parameters=("dataset", "gates", "group_by", "split", "reference", "pairs_per_training"),
        attributes=("scene", "dataset", "time", "shots", "strategy", "level", "pair", "target", "reference"),
        expands=lambda sample: pairs(sample, params),
        seconds_per_sample=0.5,
    )


def pairs_stages(params: PairsParams) -> tuple[StageSpec, ...]:
    """capture -> spoil (of each strategy and level) -> pair (of each target)."""
    return capture_stage(), spoil_stage(params), pair_stage(params)


PAIRS = Pipeline(
    name="difixPairs",
    kind="DatasetJob",
    params=PairsParams,
    input=CAPTURES,
    stages=pairs_stages,
    examples=({"strategies": {"cycle": [10], "crossCamera": True}},),
    catalogue="scenewright_stages.difix.catalogue:index_files",
    hosts=(TUNING_RUNS,),
)

PIPELINES = (PAIRS,)
