"""A GPU that runs out of memory: annotating goes on with SAM's next smaller weights, if the cache has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sam import save_tiny_sam

from scenewright_stages.backends.locate.persam import PersamLocator
from scenewright_stages.backends.runtime.errors import MissingWeights
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, StageContext, StageInputs
from scenewright_stages.reference.annotate import AnnotateStage
from scenewright_stages.reference.files import write_png
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.pipeline import annotate_stage
from scenewright_stages.worker.stage.sample_runner import RunningSamples, SampleOutcome, SampleRunner
from scenewright_stages.worker.worklists import WorkItem

SIDE = 96
LARGE, SMALLER = "facebook/sam-vit-huge", "facebook/sam-vit-large"


@pytest.fixture
def no_room_for_the_large_ones(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The weights that were asked, in order; the large ones run out of memory."""
    asked: list[str] = []
    real = PersamLocator.see

    def see(self: PersamLocator, srgb: Any) -> Any:
        asked.append(self.record.weights_id)
        if self.record.weights_id == LARGE:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, srgb)

    monkeypatch.setattr(PersamLocator, "see", see)
    return asked


def annotated(folder: Path, cached: tuple[str, ...], **block: Any) -> SampleOutcome:
    for number, name in enumerate(cached):
        save_tiny_sam(folder / "cache" / name, seed=number)
    block = {"backend": "persam", "scoreThreshold": 0.0, "minimumArea": 0.0, **block}
    params = ReferenceObjectParams.model_validate({"annotate": block})
    rng = np.random.default_rng(0)
    photo, mask = rng.integers(0, 90, (SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    photo[24:72, 30:66] += 150
    mask[24:72, 30:66] = 255
    files = {
        ("white", "photo"): write_png(folder / "photo.png", photo),
        ("white", "cutout"): write_png(folder / "cutout.png", np.dstack([photo, mask])),
        ("scenes", "image"): write_png(folder / "image.png", photo),
        ("scenes", "mask"): write_png(folder / "mask.png", mask),
    }
    models = ModelSettings(cache=folder / "cache", device="cpu")
    stage = AnnotateStage(StageContext(annotate_stage(params), params, models))
    attributes = {
        "class": "",
        "title": "cup",
        "roster": [["", "cup"]],
        "split": "train",
        "picture": "a",
        "empty": False,
    }

    def inputs(item: WorkItem, workspace: Path) -> StageInputs[ReferenceObjectParams]:
        return StageInputs(files, params, 0, workspace)

    runner = SampleRunner(stage, folder / "scratch", 0, RunningSamples(), inputs)
    return runner.run(WorkItem(Sample("cup/a", attributes=attributes), "no record", folder=folder / "inputs"))


def test_vit_l_follows_vit_h(tmp_path: Path, no_room_for_the_large_ones: list[str]) -> None:
    outcome = annotated(tmp_path, (LARGE, SMALLER))
    # Random weights may find nothing, which is a rejection of theirs and no failure of the fallback.
    assert outcome.reason in ("", "object-absent"), outcome.message
    assert no_room_for_the_large_ones[0] == LARGE
    assert set(no_room_for_the_large_ones[1:]) == {SMALLER}
    if outcome.result is not None:
        assert outcome.result.backends[0].model.startswith(SMALLER)


@pytest.mark.parametrize(("cached", "variant"), [((LARGE,), ""), ((LARGE, SMALLER), "vit-b")])
def test_without_smaller_weights_the_sample_fails_for_what_it_is(
    tmp_path: Path, no_room_for_the_large_ones: list[str], cached: tuple[str, ...], variant: str
) -> None:
    if variant:
        with pytest.raises(MissingWeights, match="sam-vit-base"):
            annotated(tmp_path, cached, variant=variant)
        return
    outcome = annotated(tmp_path, cached)
    assert (outcome.reason, no_room_for_the_large_ones) == ("CudaOutOfMemory", [LARGE])


def test_a_revision_is_that_of_the_large_weights_alone(tmp_path: Path, no_room_for_the_large_ones: list[str]) -> None:
    commit = "2" * 40
    held = tmp_path / "cache" / "models--facebook--sam-vit-huge"
    save_tiny_sam(held / "snapshots" / commit)
    (held / "refs").mkdir()
    (held / "refs" / "v9").write_text(commit)
    annotated(tmp_path, (SMALLER,), revision="v9")
    assert no_room_for_the_large_ones[0] == LARGE and set(no_room_for_the_large_ones[1:]) == {SMALLER}
