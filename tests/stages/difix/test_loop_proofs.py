"""What the whole loop is worth (`make proofs`): the examples' fixer makes rooms better that gave no pair."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from pair_data import photographs_of
from synthetic import box_room

from scenewright_stages.backends.fix.classic import ClassicFixer
from scenewright_stages.backends.fix.interface import FIX, FlawedView
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.reconstruct.fix import references_of, repaired, run_round
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.train import capture_roles, scene_settings
from scenewright_stages.reconstruct.views import Roles, cameras_between
from scenewright_stages.scenes.captures import shots_facts, start_of, views_of
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import train
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs

pytestmark = pytest.mark.proof
ROOT = Path(__file__).parents[3]
CPU = renderer_for("cpu")
NAMES = ("difix-pairs", "difix-tuning", "difix-scene")
UNSEEN = (300, 301, 302)
LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Examples:
    """The three examples, run in a folder of their own, and how long that took."""

    folder: Path
    seconds: float


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder = tmp_path_factory.mktemp("examples")
    for name in NAMES:
        shutil.copy(ROOT / "examples" / f"{name}.yaml", folder)
    for name in ("rooms", "unseen"):
        shutil.copytree(ROOT / "examples" / "inputs" / name, folder / "inputs" / name)
    path = os.pathsep.join([str(ROOT / "operator"), str(ROOT / "stages"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "scenewright.cli.main", "run", *(str(folder / f"{name}.yaml") for name in NAMES)]
    begun = time.monotonic()
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    seconds = time.monotonic() - begun
    print(f"\nthe three examples: {seconds:.0f} s\n{done.stdout[-1200:]}")
    return Examples(folder, seconds)


@pytest.fixture(scope="module")
def fixer(examples: Examples) -> ClassicFixer:
    run = examples.folder / "results" / "room-pairs" / "tuning_runs" / "room-fixer"
    print((run / "eval" / "table.md").read_text())
    best = json.loads((run / "eval" / "metrics.json").read_text())["checkpoint"]
    context = ModelContext(cache_dir=examples.folder, options={"checkpoint": str(run / "checkpoints" / best)})
    found = load(FIX, "classic", context)
    assert isinstance(found, ClassicFixer)
    return found


class Unfixed:
    """Gives renders back as they are."""

    def fix(self, view: FlawedView, seed: int = 0) -> np.ndarray:
        """The render."""
        return view.srgb


def after_rounds(
    scene: GaussianScene, photographs: PosedPhotographs, roles: Roles, params: ReconstructParams, fixer: object
) -> GaussianScene:
    """The scene after all rounds, as the stage `difix` runs them."""
    for number in range(params.difix.rounds):
        random = np.random.default_rng([1, number])
        shots = shots_facts(photographs)
        cameras = cameras_between(shots, photographs.cameras, roles, params.difix.views, random)
        count = references_of(params.difix)
        repairs = repaired(scene, cameras, photographs, roles, fixer, CPU, count)  # type: ignore[arg-type]
        views = [each.view() for each in repairs]
        scene, ended = run_round(scene, photographs, roles, views, params, number, CPU)
        print(f"  {type(fixer).__name__}: {ended}")
    return scene


def test_rooms_that_gave_no_pair_gain_by_the_fixer(examples: Examples, fixer: ClassicFixer) -> None:
    block = yaml.safe_load((examples.folder / "difix-scene.yaml").read_text())["spec"]["reconstruct"]
    params = ReconstructParams.model_validate(block)

    def with_gain(gain: float) -> ReconstructParams:
        return params.model_copy(update={"difix": params.difix.model_copy(update={"gain": gain})})

    over_plain, over_unfixed = [], []
    for seed in UNSEEN:
        photographs = photographs_of(box_room(seed), 16, (96, 72), seed)
        roles = capture_roles(photographs, params)
        start = start_of(photographs, roles.train, params.training, seed)
        before = train(
            start, views_of(photographs, roles.train), scene_settings(params.training, len(roles.train)), seed, CPU
        )
        scenes = {
            "before": before,
            "without": after_rounds(before, photographs, roles, with_gain(1e9), Unfixed()),
            "unfixed": after_rounds(before, photographs, roles, with_gain(-1e9), Unfixed()),
            "tuned": after_rounds(before, photographs, roles, params, fixer),
        }
        held_out = views_of(photographs, roles.held_out)
        scores = {name: evaluate(scene, held_out, CPU).psnr for name, scene in scenes.items()}
        print(f"room {seed}: " + ", ".join(f"{name} {score:.2f}" for name, score in scores.items()))
        over_plain.append(scores["tuned"] - max(scores["before"], scores["without"]))
        over_unfixed.append(scores["tuned"] - scores["unfixed"])
    print(f"over plain {np.round(over_plain, 2)}, over unfixed {np.round(over_unfixed, 2)}")
    assert min(over_plain) >= -0.05
    assert np.mean(over_plain) >= 0.3
    assert np.mean(over_unfixed) >= 0.2


def test_the_examples_take_less_than_ten_minutes(examples: Examples) -> None:
    """On two cores that do nothing else."""
    assert examples.seconds < LIMIT_SECONDS
