"""Steps whose pictures a model paints: what it is told and shown, and what the stages make of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pipeline_steps import Steps
from test_white import product_photo

from scenewright_stages.contract.errors import ConfigurationError, SampleError, SampleRejected
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import SOURCE, Sample
from scenewright_stages.contract.stage import BackendUse, Pixels, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import bytes_from_unit, read_rgb
from scenewright_stages.reference import painted_scenes, painted_views, vary, white
from scenewright_stages.reference.annotate import AnnotateStage
from scenewright_stages.reference.family import scene_children, views
from scenewright_stages.reference.files import read_cutout, write_png
from scenewright_stages.reference.params import VARIATIONS, ReferenceObjectParams
from scenewright_stages.reference.pipeline import stages

Floats = NDArray[np.float32]
GREY = 127 / 255


class Painter:
    """Serves as editor, filler and painter of views: draws a red disc, and notes what it was asked."""

    def __init__(self, level: float = 1.0, blind: int = 0, finds: bool = True) -> None:
        self.level, self.blind, self.finds = level, blind, finds
        self.asked: list[tuple[Any, ...]] = []

    def call(self, use: Any) -> tuple[Any, BackendUse]:
        return use(self), BackendUse("edit", "qwen-edit", "Qwen/Qwen-Image-Edit-2511", "abc", "apache-2.0")

    def edit(self, srgb: Floats, instruction: str, seed: int = 0, size: tuple[int, int] | None = None) -> Floats:
        self.asked.append((srgb.copy(), instruction, seed, size))
        width, height = size or (srgb.shape[1], srgb.shape[0])
        return self._disc(height, width)

    def fill(self, srgb: Floats, hole: Any, prompt: str = "", seed: int = 0, guide: Any = None) -> Floats:
        self.asked.append((srgb.copy(), hole.copy(), prompt, seed))
        filled = srgb.copy()
        filled[hole] = np.random.default_rng(seed).random((int(hole.sum()), 3), dtype=np.float32)
        return filled

    def views(self, srgb: Floats, alpha: Floats, cameras: Any, seed: int, on_view: Any) -> list[Floats]:
        self.asked.append((srgb.copy(), alpha.copy(), list(cameras), seed))
        on_view(len(cameras))
        found = [self._disc(*alpha.shape) for _ in cameras]
        if self.blind:
            self.blind -= 1
            found[0] = np.full_like(found[0], self.level)
        return found

    def _disc(self, height: int, width: int) -> Floats:
        picture = np.full((height, width, 3), self.level, np.float32)
        # A model's white is never quite white.
        picture -= np.random.default_rng(0).random(picture.shape, dtype=np.float32) * np.float32(0.01)
        if self.finds:
            cv2.circle(picture, (width // 2, height // 2), min(height, width) // 4, (0.8, 0.1, 0.1), -1, cv2.LINE_AA)
        return np.clip(picture, 0, 1)


class Painted(Steps):
    """Steps of which one or another is painted by the same painter."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, painter: Painter, block: dict[str, Any]) -> None:
        for module in (white, painted_views, painted_scenes, vary):
            monkeypatch.setattr(module, "BackendChain", lambda *given, **options: painter)
        picture, mask = product_photo(1)[:2]
        super().__init__(folder, bytes_from_unit(picture), mask, block)

    def painted_scene(self, number: int) -> tuple[Sample, StageResult]:
        child = scene_children(self.params, self.sample)[number]
        sample = Sample(f"thing{child.ending}", attributes={**self.sample.attributes, **child.attributes})
        files = dict(self.files)
        files["perspectives", "cutouts"] = self.files["perspectives", "cutouts"] / child.attributes["view_part"]
        if "view_file" in child.attributes:
            files["perspectives", "views"] = self.files["perspectives", "views"] / child.attributes["view_file"]
        files["prompts", "fields"] = self.files["prompts", "fields"] / child.attributes["prompt_file"]
        workspace = self.folder / f"scene{number}"
        workspace.mkdir(exist_ok=True)
        stage = self.stage_class("scenes")(self.context("scenes"))
        made = stage.process(sample, StageInputs(files, self.params, self.seed, workspace))
        return sample, made


def test_white_is_asked_in_the_words_of_the_script_and_becomes_exactly_white(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = Painter()
    steps = Painted(tmp_path, monkeypatch, painter, {"white": {"backend": "qwen-edit"}, "objectName": "blue vase"})
    assert painter.asked[0][1] == "blue vase with white background, while maintaining object's features and shape"
    assert painter.asked[0][2] == steps.seed
    shown = read_rgb(steps.files["white", "white"])
    inside = read_rgb(steps.files["white", "mask"])[..., 0] > 0
    assert (shown[~cv2.dilate(inside.astype(np.uint8), np.ones((9, 9))).astype(bool)] == 255).all()
    height, width = inside.shape
    assert inside[height // 2, width // 2] and shown[height // 2, width // 2, 0] > 150
    # Those who search for the object are shown the photo and its own mask.
    exemplar = cv2.imread(str(steps.files["white", "exemplar"]), cv2.IMREAD_UNCHANGED)
    photo = cv2.imread(str(steps.files[INPUT, SOURCE]))
    np.testing.assert_array_equal(exemplar[..., :3], photo)
    assert ((exemplar[..., 3] > 127) == product_photo(1)[1]).mean() > 0.99


def test_white_without_an_object_in_the_answer_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SampleRejected, match="clear"):
        Painted(tmp_path, monkeypatch, Painter(finds=False), {"white": {"backend": "qwen-edit"}})


def test_multicamera_views_are_cut_out_and_put_on_white(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painter = Painter()
    steps = Painted(tmp_path, monkeypatch, painter, {"perspectives": {"backend": "qwen-multicamera"}})
    assert len(painter.asked[-1][2]) == 6 and {camera.elevation for camera in painter.asked[-1][2]} == {30}
    assert [camera.azimuth for camera in painter.asked[-1][2]] == [0, 45, 90, 180, 270, 315]
    names = sorted(path.name for path in steps.files["perspectives", "views"].iterdir())
    assert names == [view.file for view in views(steps.params)]
    assert names[1] == "perspective_01_front_right__elevated.png"
    _, alpha, base = read_cutout(steps.files["perspectives", "cutouts"] / views(steps.params)[0].part)
    assert base.pitch == pytest.approx(30)
    disc = (alpha >= 128).sum() / alpha.size
    assert disc == pytest.approx(np.pi / 16, rel=0.05)
    corner = read_rgb(steps.files["perspectives", "views"] / names[0])[:20, :20]
    assert (corner == 255).all()


def test_zero123_views_lose_their_grey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painter = Painter(level=GREY)
    steps = Painted(tmp_path, monkeypatch, painter, {"perspectives": {"backend": "zero123"}})
    assert len(painter.asked) == 1
    assert [(camera.azimuth, camera.elevation) for camera in painter.asked[0][2]] == [
        (30, 20), (90, -10), (150, 20), (210, -10), (270, 20), (330, -10),
    ]  # fmt: skip
    shown = read_rgb(steps.files["perspectives", "views"] / views(steps.params)[0].file)
    assert (shown[:20] == 255).all()
    near_grey = np.abs(shown.astype(int) - 127).max(axis=2) < 8
    assert near_grey.mean() < 0.001
    srgb, alpha = painter.asked[0][:2]
    assert srgb.shape[0] == srgb.shape[1] and alpha[0].max() == 0 and alpha[:, 0].max() == 0


@pytest.mark.slow
def test_a_view_without_an_object_is_painted_again_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = Painter(blind=1)
    Painted(tmp_path, monkeypatch, painter, {"perspectives": {"backend": "qwen-multicamera"}})
    assert [len(asked[2]) for asked in painter.asked] == [6, 1]
    assert painter.asked[0][3] != painter.asked[1][3]
    painter.blind = 9
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(SampleError, match="perspective_00_front__elevated"):
        Painted(again, monkeypatch, painter, {"perspectives": {"backend": "qwen-multicamera"}})


def test_flux_fill_paints_around_the_view_and_keeps_its_mask_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = Painter()
    block = {"scenes": {"backend": "flux-fill", "size": [192, 160]}, "prompts": {"count": 2}}
    steps = Painted(tmp_path, monkeypatch, painter, block)
    sample, made = steps.painted_scene(0)
    srgb, hole, prompt, _ = painter.asked[-1]
    image, mask = made.outputs["image"].values, made.outputs["mask"].values > 127
    assert image.shape == (160, 192, 3) and prompt == made.metrics["prompt"]
    np.testing.assert_array_equal(image[~hole], bytes_from_unit(srgb)[~hole])
    assert mask[~hole].all() and 0.02 < mask.mean() < 0.5
    # Beyond the soft outline nothing of the object is left.
    assert (mask & hole).sum() < 0.2 * mask.sum()
    again = steps.painted_scene(0)[1]
    np.testing.assert_array_equal(again.outputs["image"].values, image)
    other = steps.painted_scene(1)[1]
    assert other.metrics["box"] != made.metrics["box"]
    assert made.metrics["place"] == f"prompt {sample.attributes['prompt']}"


def test_an_empty_scene_of_flux_fill_has_the_object_painted_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = Painter()
    block = {"scenes": {"backend": "flux-fill", "size": [192, 160]}, "prompts": {"count": 2}, "objectName": "blue vase"}
    steps = Painted(tmp_path, monkeypatch, painter, block)
    children = scene_children(steps.params, steps.sample)
    number = next(place for place, child in enumerate(children) if child.attributes["empty"])
    _, made = steps.painted_scene(number)
    first, second = painter.asked
    assert not made.outputs["mask"].values.any() and made.metrics["box"] == []
    assert (second[1] | first[1]).all() and second[1].mean() < 0.6
    assert "vase" in first[2] and "vase" not in second[2]


def test_qwen_edit_scenes_get_the_prompt_and_have_no_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painter = Painter()
    block = {
        "scenes": {"backend": "qwen-edit", "size": [192, 160]},
        "annotate": {"backend": "match"},
        "prompts": {"count": 2},
        "objectName": "blue vase",
    }
    steps = Painted(tmp_path, monkeypatch, painter, block)
    _, made = steps.painted_scene(0)
    view, told, _, size = painter.asked[-1]
    assert size == (192, 160) and told == made.metrics["prompt"] and "blue vase" in told
    np.testing.assert_array_equal(
        bytes_from_unit(view), read_rgb(steps.files["perspectives", "views"] / views(steps.params)[0].file)
    )
    assert set(made.outputs) == {"image", "facts"} and "box" not in made.metrics
    children = scene_children(steps.params, steps.sample)
    number = next(place for place, child in enumerate(children) if child.attributes["empty"])
    steps.painted_scene(number)
    assert "vase" not in painter.asked[-1][1] and painter.asked[-1][0].min() == 1
    seeds = {steps.painted_scene(place)[0].attributes["scene_seed"] for place in range(3)}
    assert len({asked[2] for asked in painter.asked[-3:]}) == len(seeds) == 3


class Locator:
    """Finds the red disc of a painter, or nothing."""

    def __init__(self, finds: bool) -> None:
        self.finds = finds

    def find(self, exemplar: Any, name: str, srgb: Floats) -> Any:
        from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte

        if not self.finds:
            raise NoSubject("not there")
        mask = (srgb[..., 0] > 0.5) & (srgb[..., 1] < 0.4)
        return SubjectMatte(mask.astype(np.float32), mask, 0.9, "match"), [BackendUse("locate", "match")]


@pytest.mark.parametrize("finds", [True, False])
def test_painted_scenes_are_labelled_by_who_finds_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finds: bool
) -> None:
    block = {
        "scenes": {"backend": "qwen-edit", "size": [192, 160]},
        "annotate": {"backend": "match"},
        "prompts": {"count": 2},
    }
    steps = Painted(tmp_path, monkeypatch, Painter(), block)
    annotate = stages(steps.params)[4]
    assert annotate.name == "annotate" and [read.outputs for read in annotate.reads if read.stage == "scenes"] == [
        ("image",)
    ]
    children = scene_children(steps.params, steps.sample)
    empty = next(place for place, child in enumerate(children) if child.attributes["empty"])
    stage = AnnotateStage(StageContext(annotate, steps.params))
    monkeypatch.setattr(stage, "_locator", Locator(finds))
    results = []
    for number in (0, empty):
        sample, made = steps.painted_scene(number)
        image = made.outputs["image"]
        assert isinstance(image, Pixels)
        path = write_png(tmp_path / f"image{number}.png", image.values)
        files = {**steps.files, ("scenes", "image"): path}
        workspace = tmp_path / f"annotate{number}"
        workspace.mkdir()
        inputs = StageInputs(files, steps.params, 0, workspace)
        if not finds and number == 0:
            with pytest.raises(SampleRejected, match="not there"):
                stage.process(sample, inputs)
            continue
        results.append(stage.process(sample, inputs))
    labels = [made.outputs["label"].read_text() for made in results]
    assert labels[-1] == "" and results[-1].metrics["false_alarm"] is finds
    if finds:
        assert labels[0].startswith("0 ") and "overlap" not in results[0].metrics
        assert results[0].metrics["area"] == pytest.approx(np.pi * 40**2, rel=0.05)


def _varied(folder: Path, monkeypatch: pytest.MonkeyPatch, painter: Painter, named: dict[str, Path]) -> StageResult:
    monkeypatch.setattr(vary, "BackendChain", lambda *given, **options: painter)
    block = {"vary": {"enabled": True, "backend": "qwen-edit"}, "annotate": {"backend": "match"}}
    params = ReferenceObjectParams.model_validate(block)
    declared = next(each for each in stages(params) if each.name == "vary")
    scene = write_png(folder / "scene.png", np.full((40, 60, 3), 90, np.uint8))
    inputs = StageInputs({("scenes", "image"): scene}, params, 7, folder, named=named)
    stage = vary.VaryStage(StageContext(declared, params))
    made: StageResult = stage.process(Sample("thing", attributes={"variation": 1}), inputs)
    return made


def test_variations_follow_one_of_our_lines_or_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painter = Painter()
    made = _varied(tmp_path, monkeypatch, painter, {})
    own = Path(vary.__file__).parent / "texts" / "qwen_edit_augmentations.txt"
    assert painter.asked[-1][1] in own.read_text().splitlines() and painter.asked[-1][2] == 7
    assert made.metrics["weather"] == painter.asked[-1][1] and set(made.outputs) == {"combined", "varied"}
    lines = tmp_path / "lines.txt"
    lines.write_text("\n  under  water\n")
    _varied(tmp_path, monkeypatch, painter, {VARIATIONS: lines})
    assert painter.asked[-1][1] == "under water"
    lines.write_text("\n")
    with pytest.raises(ConfigurationError, match="one instruction"):
        _varied(tmp_path, monkeypatch, painter, {VARIATIONS: lines})


def test_the_square_that_a_model_sees_has_the_thing_in_its_middle() -> None:
    alpha = np.zeros((50, 90), np.uint8)
    alpha[10:30, 5:85] = 255
    srgb, cover = painted_views.squared(np.full((50, 90, 3), 200, np.uint8), alpha)
    assert srgb.shape == (*cover.shape, 3) and cover.shape[0] == cover.shape[1] == 112
    rows, columns = np.nonzero(cover)
    assert abs(rows.min() + rows.max() - 111) <= 1 and abs(columns.min() + columns.max() - 111) <= 1
    np.testing.assert_allclose(srgb, np.full_like(srgb, 200 / 255), atol=1e-6)


def test_annotate_must_find_what_a_model_paints_and_views_are_counted() -> None:
    for block in (
        {"scenes": {"backend": "qwen-edit"}},
        {"vary": {"enabled": True, "backend": "qwen-edit"}},
        {"white": {"backend": "qwen-edit"}, "scenes": {"background": "own"}},
        {"scenes": {"backend": "flux-fill", "background": "own"}},
        {"annotate": {"group": "view"}, "perspectives": {"backend": "qwen-multicamera", "cameraViews": ["front"]}},
    ):
        with pytest.raises(ValueError, match=r"exact knows|own needs|drawn by classic|two views"):
            ReferenceObjectParams.model_validate(block)
    allowed = ReferenceObjectParams.model_validate({"scenes": {"backend": "flux-fill", "places": ["city"]}})
    assert allowed.scene_groups() == allowed.prompts.count and allowed.annotate.backend == "exact"
    every = {"backend": "qwen-multicamera", "cameraDistances": ["close-up", "medium", "wide"]}
    wide = ReferenceObjectParams.model_validate({"perspectives": every})
    assert wide.perspectives.count() == len(views(wide)) == 18
