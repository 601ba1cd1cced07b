"""Scaffolds whose every other view is drawn and the others filled: by texts, by SEVA, with one candidate or many."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_drawing import save_tiny_drawing
from world_chain import TINY, Chain
from world_panoramas import room_panorama

from scenewright_stages.backends.inpaint.interface import FillGuide, Inpainter
from scenewright_stages.backends.novel_views.interface import PathTask, Progress, ignore
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.similarity.interface import SimilarityModel
from scenewright_stages.backends.text_to_image.facts import FLUX
from scenewright_stages.backends.text_to_image.interface import TextToImage
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, Pixels
from scenewright_stages.vision.places.worlds.gaps import seen_between
from scenewright_stages.vision.places.worlds.motions import view_camera
from scenewright_stages.vision.places.worlds.panorama import cut_view, rays_of
from scenewright_stages.vision.types import Float32Array, Mask
from scenewright_stages.worldexplorer import candidates, scaffold
from scenewright_stages.worldexplorer.candidates import fill_settings
from scenewright_stages.worldexplorer.params import ScaffoldParams, WorldExplorerParams
from scenewright_stages.worldexplorer.pipeline import stages
from scenewright_stages.worldexplorer.prompts import drawing_prompts, gap_prompts

ROOM = room_panorama("box", 0).srgb
GAPS = {"backend": "classic", "seeds": 3}
TEXTS = ["a stove", "a desk", "a bed", "a sofa"]


class RoomDrawer:
    """Draws a room whatever the text, and keeps what it was asked."""

    record = BackendRecord("text-to-image", "room", "model")

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def draw(self, prompt: str, size: int, seed: int = 0) -> Float32Array:
        self.asked.append((prompt, seed))
        number = TEXTS.index(prompt.partition(",")[0])
        return cut_view(ROOM, view_camera(2 * number, size))

    def release(self) -> None:
        """Nothing is held."""


class RoomTurner:
    """Draws the room along a turn."""

    record = BackendRecord("novel-views", "room", "model")

    def draw(self, task: PathTask, progress: Progress = ignore) -> list[Float32Array]:
        return [cut_view(ROOM, camera) for camera in task.targets]

    def anchors_of(self, targets: int, inputs: int) -> Sequence[int]:
        return ()

    def release(self) -> None:
        """Nothing is held."""


class SecondBest:
    """Rates the second picture that it sees of each batch highest, and keeps the texts."""

    record = BackendRecord("similarity", "second", "model")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pictures(self, srgb: Sequence[Float32Array]) -> NDArray[np.float32]:
        angles = [0.0 if number == 1 else 1.0 for number in range(len(srgb))]
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return np.tile(np.float32([1, 0]), (len(texts), 1))

    def release(self) -> None:
        """Nothing is held."""


def block_of(**scaffold: Any) -> dict[str, Any]:
    """A tiny world of a scaffold; from texts unless it says otherwise."""
    own = {**TINY["scaffold"], "method": "scaffoldGen", "prompts": TEXTS, "gaps": GAPS, **scaffold}
    return {**TINY, "scaffold": own}


class NoiseFiller:
    """Fills holes with noise of the seed: a hundred times faster than texture."""

    record = BackendRecord("inpaint", "noise", "classic")

    def fill(
        self, srgb: Float32Array, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> Float32Array:
        noise = np.random.default_rng(seed).random(srgb.shape, np.float32)
        return np.where(hole[..., None], noise, srgb)

    def release(self) -> None:
        """Nothing is held."""


@pytest.fixture
def drawer(monkeypatch: pytest.MonkeyPatch) -> RoomDrawer:
    """Instead of FLUX.1; who fills gaps is loaded as usual."""
    drawer, usual = RoomDrawer(), candidates.load

    def load(what: Any, *rest: Any) -> Any:
        return drawer if what.name == "text-to-image" else usual(what, *rest)

    monkeypatch.setattr(candidates, "load", load)
    return drawer


@pytest.fixture
def filler(drawer: RoomDrawer, monkeypatch: pytest.MonkeyPatch) -> NoiseFiller:
    """Instead of what fills gaps, too."""
    filler = NoiseFiller()
    monkeypatch.setattr(candidates, "load", lambda what, *rest: drawer if what.name == "text-to-image" else filler)
    return filler


def photograph(folder: Path, width: int = 96, height: int = 96) -> Path:
    """What lies ahead in the room."""
    srgb = cut_view(ROOM, view_camera(0, width))[(width - height) // 2 :][:height]
    path = folder / "photograph.png"
    cv2.imwrite(str(path), (srgb[..., ::-1] * 255).round().astype(np.uint8))
    return path


def final_views(chain: Chain) -> list[Float32Array]:
    views = chain.made["scaffold", "world"].outputs["views"]
    assert isinstance(views, list)
    return [each.values.astype(np.float32) / 255 for each in views]


def psnr(first: Float32Array, second: Float32Array, mask: Any = slice(None)) -> float:
    return float(-10 * np.log10(np.mean((first[mask] - second[mask]) ** 2)))


@pytest.mark.parametrize("gap", [1, 3, 5, 7])
def test_a_view_between_two_others_is_exact_where_they_show_it(gap: int) -> None:
    """Hidden views of a room: what is known of them is right, and nothing else counts as known."""
    views = [gap - 1, (gap + 1) % 8]
    cameras = [view_camera(view, 400) for view in views]
    camera = view_camera(gap, 400)
    seen, hole = seen_between([cut_view(ROOM, each) for each in cameras], cameras, camera)
    assert psnr(seen, cut_view(ROOM, camera), ~hole) > 30
    # Directions that neither neighbour's square shows, from the angles themselves.
    rays = rays_of(camera)
    unseen = np.ones(hole.shape, np.bool_)
    for each in cameras:
        local = rays @ each.camera_from_world[:3, :3].T
        reach = np.tan(np.radians(30))
        unseen &= ~((local[..., 2] > 0) & (np.abs(local[..., :2]) <= reach * local[..., 2:]).all(axis=-1))
    assert (unseen & hole).sum() / (unseen | hole).sum() >= 0.95
    assert not (unseen & ~hole).any()
    assert 0.25 < unseen.mean() < 0.6


def test_texts_become_eight_views(tmp_path: Path, drawer: RoomDrawer) -> None:
    chain = Chain(tmp_path, block_of(), {}).run(until="scaffold")
    assert [prompt.partition(",")[0] for prompt, _ in drawer.asked] == TEXTS
    assert len({seed for _, seed in drawer.asked}) == 4 and "eye-level" in drawer.asked[0][0]
    made = chain.made["scaffold", "world"]
    assert made.metrics["photographed"] == 0 and "all sides were invented" in made.warnings[0]
    for number, view in enumerate(final_views(chain)):
        expected = cut_view(ROOM, view_camera(number, 64))
        if number % 2 == 0:
            assert psnr(view, expected) > 40
        else:
            assert psnr(view[:, :14], expected[:, :14]) > 22 and psnr(view[:, -14:], expected[:, -14:]) > 22
    assert "sheet" not in chain.files["candidates", "world"]


def test_a_photograph_is_the_first_view_and_not_its_reconstruction(tmp_path: Path, drawer: RoomDrawer) -> None:
    source = photograph(tmp_path, 96, 72)
    chain = Chain(tmp_path / "work", block_of(), {"source": source}).run(until="scaffold")
    assert [prompt.partition(",")[0] for prompt, _ in drawer.asked] == TEXTS[1:]
    first = final_views(chain)[0]
    expected = cut_view(ROOM, view_camera(0, 64))
    assert psnr(first[10:54], expected[10:54]) > 30
    # Above and below it something was filled, and not left grey.
    assert first[:6].std() > 0.01
    made = chain.made["scaffold", "world"]
    assert 0.02 < made.metrics["photographed"] < 0.06
    origin = made.outputs["origin"]
    assert isinstance(origin, Pixels) and set(np.unique(origin.values)) == {0, 255}


def test_a_text_is_needed(tmp_path: Path, drawer: RoomDrawer) -> None:
    with pytest.raises(SampleError, match=r"set scaffold\.theme, or scaffold\.prompts") as caught:
        Chain(tmp_path, block_of(prompts=[]), {}).run(until="candidates")
    assert caught.value.reason == "TextMissing"


def test_a_text_without_a_model_is_refused(tmp_path: Path) -> None:
    for block in (TINY, block_of(method="singleImage")):
        with pytest.raises(SampleError, match="for a text alone scaffoldGen, which needs the weights") as caught:
            Chain(tmp_path, block, {}).run(until="scaffold")
        assert caught.value.reason == "PictureMissing"


def test_a_theme_is_four_rooms_and_prompts_win() -> None:
    theme = ScaffoldParams(theme="farm")
    assert [each.partition(",")[0] for each in drawing_prompts(theme)] == [
        "kitchen of a farm",
        "office of a farm",
        "bedroom of a farm",
        "living room of a farm",
    ]
    assert gap_prompts(ScaffoldParams(theme="farm", prompts=TEXTS))[3] == "a sofa and a stove"
    assert gap_prompts(ScaffoldParams()) == ()


def test_seva_draws_every_other_view_of_a_hybrid(
    tmp_path: Path, filler: NoiseFiller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "load_generator", lambda *rest: RoomTurner())
    block = block_of(method="singleImageHybrid", backend="seva", turnFrames=8, prompts=[])
    chain = Chain(tmp_path / "work", block, {"source": photograph(tmp_path)}).run(until="scaffold")
    views = final_views(chain)
    for number in (0, 2, 4, 6):
        assert psnr(views[number], cut_view(ROOM, view_camera(number, 64))) > 25
    used = {use.backend for use in chain.made["candidates", "world"].backends}
    assert used == {"noise", "room"}


def test_automatic_takes_the_candidate_that_suits_its_neighbours_texts_best(
    tmp_path: Path, filler: NoiseFiller, monkeypatch: pytest.MonkeyPatch
) -> None:
    rater = SecondBest()
    monkeypatch.setattr(scaffold, "load", lambda *rest: rater)
    chain = Chain(tmp_path, block_of(mode="automatic"), {}).run(until="scaffold")
    assert rater.asked == ["a stove and a desk", "a desk and a bed", "a bed and a sofa", "a sofa and a stove"]
    scores = json.loads(Path(str(chain.files["scaffold", "world"]["scores"])).read_text())
    assert [scores[gap]["chosen"] for gap in ("001", "003", "005", "007")] == [1, 4, 7, 10]
    assert scores["003"]["scores"] == {"3": 0.5403, "4": 1.0, "5": 0.5403}
    made = chain.made["candidates", "world"].outputs["pictures"]
    assert isinstance(made, list) and len(made) == 12
    np.testing.assert_array_equal(made[4].values, chain.made["scaffold", "world"].outputs["views"][3].values)  # type: ignore[index, union-attr]


@pytest.mark.slow
def test_weights_in_the_published_formats_draw_fill_and_rate(tmp_path: Path) -> None:
    models = ModelSettings(save_tiny_drawing(tmp_path / "cache"), "cpu", frozenset({FLUX.licence}))
    block = block_of(
        mode="automatic",
        prompts=[],
        theme="farm",
        flux={"steps": 1, "precision": "fp32"},
        gaps={"steps": 1, "guidances": [4, 7], "seeds": 1},
    )
    chain = Chain(tmp_path / "work", block, {}, models).run(until="scaffold")
    used = [use for name in ("candidates", "scaffold") for use in chain.made[name, "world"].backends]
    assert [(use.capability, use.backend) for use in used] == [
        ("inpaint", "sd2-inpaint"),
        ("text-to-image", "flux"),
        ("similarity", "clip"),
    ]
    assert used[1].licence == FLUX.licence and FLUX.id in used[1].model
    scores = json.loads(Path(str(chain.files["scaffold", "world"]["scores"])).read_text())
    for number, (gap, rated) in enumerate(scores.items()):
        assert gap == f"00{2 * number + 1}" and list(rated["scores"]) == [str(2 * number), str(2 * number + 1)]
        assert rated["scores"][str(rated["chosen"])] == max(rated["scores"].values())


def test_a_person_chooses_by_number(tmp_path: Path, filler: NoiseFiller) -> None:
    answer = {"001": "2", "003": "3", "005": "8", "007": "9"}
    chain = Chain(tmp_path, block_of(mode="manual"), {}, answer=answer).run(until="scaffold")
    made = chain.made["candidates", "world"].outputs["pictures"]
    final = chain.made["scaffold", "world"].outputs["views"]
    assert isinstance(made, list) and isinstance(final, list)
    for gap, number in answer.items():
        np.testing.assert_array_equal(final[int(gap)].values, made[int(number)].values)
    sheet = cv2.imread(str(chain.files["candidates", "world"]["sheet"]))
    # A row for each gap, a column for each seed: without weights there is no guidance.
    assert sheet is not None and sheet.shape[0] > sheet.shape[1]
    assert len({picture.values.tobytes() for picture in made}) == 12


def test_candidates_are_every_guidance_with_every_seed() -> None:
    many = ScaffoldParams(method="scaffoldGen", mode="automatic")
    settings = list(fill_settings(many))
    assert len(settings) == len(set(settings)) == many.candidates_each == 88
    assert list(fill_settings(ScaffoldParams(method="scaffoldGen"))) == [(7.0, 0)]


def test_a_world_that_brings_its_views_needs_nothing_drawn(tmp_path: Path, drawer: RoomDrawer) -> None:
    files = {}
    for view in range(8):
        files[f"view_{view}"] = tmp_path / f"00{view}.png"
        srgb = cut_view(ROOM, view_camera(view, 64))
        cv2.imwrite(str(files[f"view_{view}"]), (srgb[..., ::-1] * 255).round().astype(np.uint8))
    chain = Chain(tmp_path / "work", block_of(mode="manual"), files).run(until="scaffold")
    assert not chain.files["candidates", "world"] and not drawer.asked
    assert chain.made["scaffold", "world"].metrics["method"] == "provided"
    assert psnr(final_views(chain)[3], cut_view(ROOM, view_camera(3, 64))) > 40


def test_only_worlds_with_mode_manual_are_asked_about() -> None:
    def asked(job: dict[str, Any], own: dict[str, Any]) -> list[str]:
        (stage,) = (s for s in stages(WorldExplorerParams.model_validate(job)) if s.name == "scaffold")
        sample = replace(Sample("world"), overrides={"scaffold": own} if own else {})
        return [] if stage.asks is None else list(stage.asks.options(sample))

    gaps = ["001", "003", "005", "007"]
    assert asked(block_of(mode="manual"), {}) == gaps
    assert asked(block_of(), {"mode": "manual"}) == gaps
    assert asked(block_of(mode="manual"), {"mode": "fast"}) == []
    assert asked(TINY, {"mode": "manual"}) == []


def test_the_stand_ins_are_what_they_stand_for() -> None:
    assert isinstance(RoomDrawer(), TextToImage) and isinstance(SecondBest(), SimilarityModel)
    assert isinstance(NoiseFiller(), Inpainter)
