"""Cutting out by a model: what it is told, and what happens when it finds nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from test_white import product_photo

from scenewright_stages.backends.segment.interface import Subject
from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import SOURCE, Sample
from scenewright_stages.contract.stage import BackendUse, StageContext, StageInputs, StageResult
from scenewright_stages.reference import white
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.pipeline import white_stage
from scenewright_stages.reference.white import WhiteStage
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte


class Model:
    """A chain whose backend draws a fixed ellipse, or finds nothing, and notes what it was told."""

    def __init__(self, finds: bool = True) -> None:
        self.finds = finds
        self.told: list[Subject] = []

    def call(self, use: Any) -> tuple[SubjectMatte, BackendUse]:
        return use(self), BackendUse("segment", "sam2", "facebook/sam2.1-hiera-large")

    def segment(self, srgb: NDArray[np.float32], subject: Subject) -> SubjectMatte:
        self.told.append(subject)
        if not self.finds:
            raise NoSubject("nothing there")
        alpha = np.zeros(srgb.shape[:2], np.float32)
        cv2.ellipse(alpha, (160, 120), (60, 40), 0, 0, 360, 1.0, -1)
        return SubjectMatte(alpha, alpha >= 0.5, 0.9, "sam2")


def cut(
    folder: Path, monkeypatch: pytest.MonkeyPatch, backend: str, model: Model, plain: bool = True, **hints: Any
) -> StageResult:
    monkeypatch.setattr(white, "BackendChain", lambda *given, **options: model)
    picture = product_photo(1)[0] if plain else np.random.default_rng(0).random((240, 320, 3), dtype=np.float32)
    source = folder / "vase.png"
    cv2.imwrite(str(source), np.rint(picture[..., ::-1] * 255).astype(np.uint8))
    params = ReferenceObjectParams.model_validate({"white": {"backend": backend}, "objectName": "blue vase"})
    sample = Sample("vase", attributes={"class": "", "title": "vase", "roster": [["", "vase"]], "home": "", **hints})
    stage = WhiteStage(StageContext(white_stage(params), params))
    return stage.process(sample, StageInputs({(INPUT, SOURCE): source}, params, 0, folder))


def test_sam2_gets_box_and_points_and_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    made = cut(tmp_path, monkeypatch, "sam2", model, box=[0.25, 0.25, 0.75, 0.75], points=[[0.5, 0.5], [0.1, 0.1, 0]])
    (subject,) = model.told
    assert subject.box == (80, 60, 240, 180) and subject.text == ""
    assert [(point.x, point.y, point.inside) for point in subject.points] == [(160, 120, True), (32, 24, False)]
    assert made.metrics["mask_from"] == "sam2" and made.metrics["score"] == 0.9
    assert [(use.capability, use.backend) for use in made.backends] == [("cutout", "sam2")]


def test_without_a_hint_sam2_gets_what_stands_out_and_never_guesses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    cut(tmp_path, monkeypatch, "sam2", model)
    (subject,) = model.told
    assert subject.box is not None and len(subject.points) == 1
    with pytest.raises(SampleRejected) as refused:
        cut(tmp_path, monkeypatch, "sam2", model, plain=False)
    assert refused.value.reason == "no-clear-object" and len(model.told) == 1


def test_sam3_gets_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    cut(tmp_path, monkeypatch, "sam3", model, plain=False)
    assert [subject.text for subject in model.told] == ["blue vase"]


def test_a_model_that_finds_nothing_leaves_no_clear_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SampleRejected) as refused:
        cut(tmp_path, monkeypatch, "sam3", Model(finds=False))
    assert refused.value.reason == "no-clear-object"


def test_what_the_stage_needs_follows_from_its_backend() -> None:
    def stage(backend: str) -> Any:
        return white_stage(ReferenceObjectParams.model_validate({"white": {"backend": backend}}))

    assert stage("classic").models.backends == {} and stage("classic").pod.resources.gpus == 0
    assert stage("sam2").models.backends == {"segment": "sam2"} and stage("sam2").pod.resources.gpus == 1
    assert "object_name" in stage("sam3").parameters and "object_name" not in stage("sam2").parameters
