"""A short tuning run of the tiny difix model by one of several processes."""

from __future__ import annotations

from pathlib import Path

from pair_data import NoState

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, Ranks, StageContext, StageInputs, StageResult
from scenewright_stages.difix.fixer_params import DifixLossParams, DifixTuningParams, FixerParams
from scenewright_stages.difix.pipeline import fixer_stages
from scenewright_stages.difix.tune import TuneStage

PARAMS = FixerParams(
    backend="difix", steps=2, batch=2, learning_rate=5e-5, checkpoint_every=2, state_every=1,
    difix=DifixTuningParams(losses=DifixLossParams(lpips=0, gram=0), gpus=2),
)  # fmt: skip
LICENCES = frozenset({"sai-nc-community"})


def tune(cache: Path, data: Path, workspace: Path, ranks: Ranks) -> StageResult:
    """The result of one process; the workspace is made."""
    workspace.mkdir(parents=True)
    stage = TuneStage(StageContext(fixer_stages(PARAMS)[0], PARAMS, ModelSettings(cache, "cpu", LICENCES)))
    inputs = StageInputs({}, PARAMS, 3, workspace, named={"dataset": data}, state=NoState(), ranks=ranks)
    return stage.process(Sample("tuning"), inputs)
