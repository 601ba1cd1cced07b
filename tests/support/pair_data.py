"""Data sets of pairs made in this process by the pipeline's own stages, from photographs of synthetic worlds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from capture_folders import room_views
from synthetic.world import World

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.samples import Family, Sample
from scenewright_stages.contract.stage import ModelSettings, Pixels, StageContext, StageInputs, StageResult
from scenewright_stages.difix.catalogue import PROMPT
from scenewright_stages.difix.pair import PairStage
from scenewright_stages.difix.params import PairsParams
from scenewright_stages.difix.pipeline import pairs_stages
from scenewright_stages.difix.spoil import SpoilStage
from scenewright_stages.difix.strategies import pairs, trainings
from scenewright_stages.scenes.captures import shots_facts
from scenewright_stages.vision.geometry.points import unproject
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs

POINTS_PER_VIEW = 40
PARAMS = PairsParams.model_validate({
    "training": {"steps": 400, "segment": 100, "startPoints": 3000, "maximum": 8000},
    "strategies": {"sparse": [4], "underfit": [20]},
})  # fmt: skip
"""Those of examples/difix-pairs.yaml."""


class NoState:
    """Durable state that nobody asks for."""

    step = 0
    files: Mapping[str, Path] = {}

    def save(self, step: int, files: Mapping[str, Path]) -> None:
        """Keeps nothing."""


@dataclass
class PairData:
    """A data set of pairs.

    Attributes:
        root: with ``difix/data.json`` and what it names.
        rows: facts of the pairs that passed the gates.
        dropped: strategy and reason of those that did not.
    """

    root: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)

    def pass_rates(self) -> dict[str, float]:
        """Share of the rendered pairs that passed, by strategy."""
        kept = Counter(str(row["strategy"]) for row in self.rows)
        lost = Counter(strategy for strategy, _ in self.dropped)
        return {name: kept[name] / (kept[name] + lost[name]) for name in sorted(kept | lost)}

    def write_index(self) -> None:
        """Writes ``difix/data.json``."""
        entries: dict[str, dict[str, dict[str, str]]] = {"train": {}, "test": {}}
        for row in self.rows:
            entries[row["split"]][row["sample_id"]] = {
                "image": row["image_path"],
                "target_image": row["target_image_path"],
                "ref_image": row["ref_image_path"],
                "prompt": PROMPT,
            }
        path = self.root / "difix" / "data.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entries))


def photographs_of(world: World, count: int, size: tuple[int, int], seed: int, cameras: int = 1) -> PosedPhotographs:
    """Photographs of a world and points as structure from motion finds them; `cameras` take turns."""
    views = room_views(world, count, size, seed)
    random = np.random.default_rng([seed, 7])
    shots, points, colours = [], [], []
    for number, view in enumerate(views):
        levels = np.round(view.srgb * 255).astype(np.uint8)
        shots.append(Photograph(f"{number:03d}", number % cameras, view.camera, levels))
        chosen = random.choice(view.depth.size, POINTS_PER_VIEW, replace=False)
        places = unproject(view.depth, view.camera).reshape(-1, 3)[chosen]
        points.append(places + random.normal(size=places.shape) * 0.005)
        colours.append(levels.reshape(-1, 3)[chosen])
    return PosedPhotographs(tuple(shots), np.concatenate(points), np.concatenate(colours))


def capture_sample(name: str, photographs: PosedPhotographs) -> Sample:
    """The sample that the index would make of a capture."""
    shots = [[each.name, each.camera, *each.centre, *each.rotation] for each in shots_facts(photographs)]
    facts = {"scene": name, "dataset": "", "folder": "", "facts": {}, "time": ""}
    return Sample(name, attributes={**facts, "shots": shots})


def add_capture(data: PairData, name: str, photographs: PosedPhotographs, params: PairsParams = PARAMS) -> None:
    """Makes all pairs of a capture and adds them to the data set."""
    _, spoil, pair = pairs_stages(params)
    settings = ModelSettings(device="cpu")
    spoiling = SpoilStage(StageContext(spoil, params, settings))
    pairing = PairStage(StageContext(pair, params, settings))
    capture = data.root / ".captures" / f"{name}.npz"
    capture.parent.mkdir(parents=True, exist_ok=True)
    photographs.save(capture)
    expansions = (lambda sample: trainings(sample, params), lambda sample: pairs(sample, params))
    family = Family.of(capture_sample(name, photographs), expansions)
    for number, training in enumerate(family.levels[1]):
        workspace = _workspace(data, training.id)
        files: dict[tuple[str, str], Any] = {("capture", "photographs"): capture}
        made = spoiling.process(training, StageInputs(files, params, number, workspace, state=NoState()))
        files["spoil", "scene"] = made.outputs["scene"]
        for each in family.levels[2]:
            if each.parent == training:
                _add_pair(data, each, lambda sample: pairing.process(
                    sample, StageInputs(files, params, 0, _workspace(data, sample.id))  # noqa: B023
                ))  # fmt: skip


def _add_pair(data: PairData, sample: Sample, make: Callable[[Sample], StageResult]) -> None:
    try:
        made = make(sample)
    except SampleRejected as problem:
        data.dropped.append((str(sample.attributes["strategy"]), problem.reason))
        return
    row = dict(made.metrics)
    image = made.outputs["image"]
    assert isinstance(image, Pixels)
    (data.root / row["image_path"]).parent.mkdir(parents=True)
    cv2.imwrite(str(data.root / row["image_path"]), image.values[..., ::-1])
    places = {"target": row["target_image_path"], "reference": row["ref_image_path"]}
    places["meta"] = f"samples/{row['sample_id']}/meta.json"
    places["conditions"] = f".scenewright/work/pairs/{row['sample_id']}.npz"
    for name, place in places.items():
        source = made.outputs[name]
        assert isinstance(source, Path)
        (data.root / place).parent.mkdir(parents=True, exist_ok=True)
        source.rename(data.root / place)
    data.rows.append(row)


def _workspace(data: PairData, name: str) -> Path:
    folder = data.root / ".workspaces" / name
    folder.mkdir(parents=True)
    return folder
