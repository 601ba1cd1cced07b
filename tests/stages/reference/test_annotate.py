"""Annotating by search: masks that are not the compositor's, absent objects, and what the records say of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_masks import area_fill, parse_labels
from numpy.typing import NDArray
from pipeline_steps import Scene, Steps
from pydantic import ValidationError
from teaching_world import photo

from scenewright_stages.backends.locate.interface import Exemplar, check_score
from scenewright_stages.backends.segment.interface import subject_of
from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, ModelSettings, Pixels, StageResult
from scenewright_stages.reference.annotate import AnnotateStage
from scenewright_stages.reference.files import write_png
from scenewright_stages.reference.locating import ObjectLocator
from scenewright_stages.reference.params import AnnotateParams, ReferenceObjectParams
from scenewright_stages.reference.pipeline import annotate_stage
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte
from scenewright_stages.vision.imaging.regions import overlap

BLOCK: dict[str, Any] = {
    "perspectives": {"angles": [-15.0, 15.0]},
    "prompts": {"count": 2},
    "scenes": {"iterations": 1, "size": [240, 240], "emptyShare": 0.5, "decoys": [0, 1], "occluderProbability": 0.0},
    "annotate": {"backend": "match"},
}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return Steps(tmp_path_factory.mktemp("steps"), *photo(), BLOCK)


@pytest.fixture(scope="module")
def scenes(steps: Steps) -> list[Scene]:
    return list(steps.scenes([0, 2]))


def annotated(steps: Steps, folder: Path, scene: Scene, empty: bool = False) -> StageResult:
    files = dict(steps.files)
    for name, pixels in (("image", scene.image), ("mask", scene.mask.astype(np.uint8) * np.uint8(255))):
        files["scenes", name] = write_png(folder / f"{name}.png", pixels)
    attributes = {**steps.sample.attributes, "split": "train", "picture": "one", "empty": empty}
    return steps.run("annotate", AnnotateStage, Sample("thing/one", attributes=attributes), files)


def blank(scene: Scene) -> Scene:
    return Scene(np.full_like(scene.image, 128), np.zeros_like(scene.mask), {})


def test_match_labels_what_it_finds_and_records_how_near_the_truth_it_is(
    steps: Steps, scenes: list[Scene], tmp_path: Path
) -> None:
    made = annotated(steps, tmp_path, scenes[0])
    mask = made.outputs["mask"]
    assert isinstance(mask, Pixels)
    found = mask.values > 127
    assert not np.array_equal(found, scenes[0].mask), "the compositor's mask is not copied"
    assert made.metrics["overlap"] == pytest.approx(overlap(found, scenes[0].mask), abs=1e-3)
    assert made.metrics["overlap"] >= 0.8
    assert made.metrics["score"] >= 0.5 and made.metrics["method"] == "match"
    assert [use.backend for use in made.backends] == ["match"]
    (_, polygon), *_ = parse_labels(Path(str(made.outputs["label"])).read_text(), 240, 240)
    assert overlap(area_fill(polygon, 240, 240), found) >= 0.97


def test_an_image_without_the_object_is_left_out_as_absent(steps: Steps, scenes: list[Scene], tmp_path: Path) -> None:
    with pytest.raises(SampleRejected, match="score") as refused:
        annotated(steps, tmp_path, blank(scenes[0]))
    assert refused.value.reason == "object-absent"


def test_an_empty_scene_stays_empty_and_false_alarms_are_counted(
    steps: Steps, scenes: list[Scene], tmp_path: Path
) -> None:
    made = annotated(steps, tmp_path, blank(scenes[0]), empty=True)
    assert made.metrics["false_alarm"] is False
    assert Path(str(made.outputs["label"])).read_bytes() == b""
    wrong = Scene(scenes[0].image, np.zeros_like(scenes[0].mask), {})
    made = annotated(steps, tmp_path, wrong, empty=True)
    assert made.metrics["false_alarm"] is True
    assert Path(str(made.outputs["label"])).read_bytes() == b""


class Halves:
    """A chain whose backend finds the left half, or refines to the right one."""

    def __init__(self, left: bool) -> None:
        self.left, self.asked = left, []

    def call(self, use: Any) -> tuple[SubjectMatte, BackendUse]:
        return use(self), BackendUse("locate", "left" if self.left else "sam2")

    def locate(self, exemplar: Exemplar, srgb: NDArray[np.float32]) -> SubjectMatte:
        return self._matte(srgb.shape)

    def segment(self, srgb: NDArray[np.float32], subject: Any) -> SubjectMatte:
        self.asked.append(subject)
        return self._matte(srgb.shape)

    def _matte(self, shape: tuple[int, ...]) -> SubjectMatte:
        alpha = np.zeros(shape[:2], np.float32)
        half = shape[1] // 2
        alpha[:, slice(0, half) if self.left else slice(half, None)] = 1
        return SubjectMatte(alpha, alpha >= 0.5, 0.8, "left")


def test_sam2_is_asked_by_the_box_and_middle_of_the_first_answer() -> None:
    locator = ObjectLocator(AnnotateParams(backend="match"), ModelSettings())
    first, second = Halves(True), Halves(False)
    locator._locate, locator._refine = first, second  # type: ignore[assignment]
    exemplar = Exemplar("one", np.zeros((4, 4, 3), np.float32), np.ones((4, 4), np.float32))
    found, uses = locator.find(exemplar, "cup", np.zeros((20, 40, 3), np.float32))
    assert found.mask[:, 20:].all() and not found.mask[:, :20].any()
    assert found.method == "left+sam2" and found.score == 0.8
    assert [use.backend for use in uses] == ["left", "sam2"]
    (subject,) = second.asked
    assert subject.box == pytest.approx((0, 0, 20.6, 20)) and subject.points[0].inside
    assert 0 < subject.points[0].x < 20


def test_the_subject_of_a_mask_is_its_box_and_the_place_deepest_inside() -> None:
    mask = np.zeros((50, 60), bool)
    mask[10:40, 20:26] = True
    mask[10:30, 20:50] = True
    subject = subject_of(mask)
    assert subject.box is not None
    left, top, right, bottom = subject.box
    assert left < 20 and top < 10 and right > 50 and bottom > 40
    assert mask[int(subject.points[0].y), int(subject.points[0].x)]


def test_a_score_below_the_threshold_is_no_subject() -> None:
    check_score(0.5, 0.5)
    with pytest.raises(NoSubject, match=r"0\.49"):
        check_score(0.49, 0.5)
    with pytest.raises(NoSubject):
        check_score(float("nan"), 0.5)


@pytest.mark.parametrize("block", [{"refine": "sam2"}, {"refine": "sam2", "backend": "sam3"}])
def test_only_what_was_searched_can_be_refined(block: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="refines what"):
        AnnotateParams.model_validate(block)


def test_what_the_stage_needs_follows_from_its_backend() -> None:
    def stage(**block: str) -> Any:
        return annotate_stage(ReferenceObjectParams.model_validate({"annotate": block}))

    exact, match, persam = stage(), stage(backend="match"), stage(backend="persam-f", refine="sam2")
    assert exact.models.backends == {} and exact.pod.resources.gpus == 0
    assert match.models.backends == {"locate": "match"} and match.pod.resources.gpus == 0
    assert persam.models.backends == {"locate": "persam-f", "segment": "sam2"} and persam.pod.resources.gpus == 1
    assert persam.pod.resources.gpu_memory_gib == pytest.approx(16)
    assert "annotate.persam_epochs" in persam.parameters and "annotate.persam_epochs" not in match.parameters
    assert {read.stage for read in exact.reads} == {"scenes"}
    assert {read.stage for read in match.reads} == {"scenes", "white"}
    assert stage(backend="sam3").models.backends == {"segment": "sam3"}
