"""SEVA as a generator of views, with few random weights in the published formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_seva import LICENCES, save_tiny_seva

from scenewright_stages.backends.novel_views.facts import AUTOENCODER, CLIP, SEVA
from scenewright_stages.backends.novel_views.interface import (
    NOVEL_VIEWS,
    DrawingSettings,
    PathTask,
    PosedPicture,
    ViewGenerator,
)
from scenewright_stages.backends.novel_views.seva import windows
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted, MissingWeights, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.places.worlds.motions import target_cameras, targets_of, view_camera

SIDE = 64


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_seva(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def seva(cache: Path) -> ViewGenerator:
    return ModelPool().load(NOVEL_VIEWS, "seva", ModelContext(cache, "cpu", LICENCES))


def picture(camera: Camera, seed: int) -> PosedPicture:
    draws = np.random.default_rng(seed)
    return PosedPicture(draws.uniform(0, 1, (camera.height, camera.width, 3)).astype(np.float32), camera)


def task(targets: int, seed: int = 1, memory: int = 0, inputs: int = 8) -> PathTask:
    path = targets_of("right", 1)[:targets]
    return PathTask(
        inputs=[picture(view_camera(view, SIDE), view) for view in range(inputs)],
        targets=target_cameras(0, "right", path, 1.0, SIDE),
        memory=[picture(view_camera(number % 8, SIDE), 100 + number) for number in range(memory)],
        settings=DrawingSettings(steps=1, translation_scale=3.0),
        seed=seed,
    )


def test_every_target_gets_a_picture(seva: ViewGenerator) -> None:
    fractions: list[float] = []
    drawn = seva.draw(task(15, memory=6), fractions.append)
    assert len(drawn) == 15
    assert all(each.shape == (SIDE, SIDE, 3) and each.dtype == np.float32 for each in drawn)
    assert all(each.min() >= 0 and each.max() <= 1 and each.std() > 0 for each in drawn)
    # Two windows of anchors and two between them, of one step each.
    assert fractions == pytest.approx(np.arange(1, 5) / 4)


def test_frames_are_grouped_by_the_exact_times_of_the_anchors(
    seva: ViewGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[float], list[int]]] = []

    def noted(anchors: list[float], targets: range) -> list[windows.Window]:
        asked.append((list(anchors), list(targets)))
        return second_pass(anchors, targets)

    second_pass = windows.second_pass
    monkeypatch.setattr(windows, "second_pass", noted)
    seva.draw(task(15))
    assert asked == [(np.linspace(0, 14, 13).tolist(), list(range(15)))]


def test_the_same_seed_draws_the_same_bytes(seva: ViewGenerator) -> None:
    first, again, other = (seva.draw(task(2, seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_what_is_known_matters(seva: ViewGenerator) -> None:
    plain, remembering = seva.draw(task(2)), seva.draw(task(2, memory=6))
    assert not np.array_equal(plain[0], remembering[0])


def test_a_path_without_cameras_is_empty(seva: ViewGenerator) -> None:
    assert seva.draw(task(0)) == []


def test_a_size_that_cannot_be_halved_is_refused(seva: ViewGenerator) -> None:
    camera = view_camera(0, 72)
    with pytest.raises(UnsupportedOption, match="multiples of 64"):
        seva.draw(PathTask([picture(camera, 0)], [camera]))


def test_the_record_names_all_three_sets(seva: ViewGenerator) -> None:
    record = seva.record
    assert record.weights_id.count("+") == 2 and record.weights_id.startswith(SEVA.id)
    assert record.non_commercial and record.precision == "fp32"


def test_the_licence_is_asked_for_by_name(cache: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match="stabilityai-ai-non-commercial") as caught:
        ModelPool().load(NOVEL_VIEWS, "seva", ModelContext(cache, "cpu"))
    assert caught.value.field == "models.acceptLicenses" and caught.value.licence_url in str(caught.value)


@pytest.mark.parametrize("lost", [SEVA.id, AUTOENCODER.id, CLIP.id])
def test_each_set_that_is_missing_is_named(cache: Path, tmp_path: Path, lost: str) -> None:
    for weights in (SEVA, AUTOENCODER, CLIP):
        if weights.id != lost:
            (tmp_path / weights.id).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / weights.id).symlink_to(cache / weights.id)
    with pytest.raises(MissingWeights, match=lost):
        ModelPool().load(NOVEL_VIEWS, "seva", ModelContext(tmp_path, "cpu", LICENCES))
