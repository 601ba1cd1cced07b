"""Photographs of different exposure: the difference is measured at the capture's points, evened out, or told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pair_data import photographs_of
from synthetic import box_room

from scenewright_stages.captures import TrainingParams
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, StageContext, StageInputs, StageResult
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.pipeline import stages
from scenewright_stages.reconstruct.render import exposure_facts
from scenewright_stages.reconstruct.views import Roles
from scenewright_stages.scenes import captures
from scenewright_stages.scenes.captures import CaptureStage, start_of, training_settings, views_of
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.training import train
from scenewright_stages.vision.places.captures.exposure import exposure_gains, exposure_span, matched
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs

CPU = renderer_for("cpu")
COUNT = 12
HELD_OUT = (3, 9)
TRAIN = tuple(number for number in range(COUNT) if number not in HELD_OUT)


@pytest.fixture(scope="module")
def true() -> PosedPhotographs:
    return photographs_of(box_room(3), COUNT, (64, 48), 3)


@pytest.fixture(scope="module")
def taken(true: PosedPhotographs) -> PosedPhotographs:
    """As a camera takes them that chooses exposure and white balance anew for each."""
    return exposed(true, true_gains())


def true_gains() -> NDArray[np.float64]:
    random = np.random.default_rng(5)
    logs = random.normal(0, 0.2, (COUNT, 1)) + random.normal(0, 0.04, (COUNT, 3))
    return np.asarray(np.exp(logs - logs.mean(axis=0)))


def exposed(photographs: PosedPhotographs, gains: NDArray[np.float64]) -> PosedPhotographs:
    """The photographs times gains (N, 3)."""
    return replace(matched(photographs, 1 / gains), gains=None)


def test_gains_are_found_at_the_points(true: PosedPhotographs, taken: PosedPhotographs) -> None:
    found = exposure_gains(taken)
    np.testing.assert_allclose(found, true_gains(), rtol=0.02)
    assert exposure_span(found) > 1.5
    assert exposure_span(exposure_gains(true)) < 1.03
    evened = matched(taken, found)
    pairs = [
        (a.srgb, b.srgb, c.srgb)
        for a, b, c in zip(true.photographs, taken.photographs, evened.photographs, strict=True)
    ]
    before, after = (np.mean([np.abs(p[0].astype(float) - p[n]).mean() for p in pairs]) for n in (1, 2))
    assert after < 0.3 * before


def test_a_scene_of_matched_photographs_shows_held_out_ones_better(
    true: PosedPhotographs, taken: PosedPhotographs
) -> None:
    params = TrainingParams.model_validate({"steps": 120, "segment": 60, "startPoints": 1500, "maximum": 3000})
    scores = {}
    for name, each in {"as taken": taken, "matched": matched(taken, exposure_gains(taken))}.items():
        scene = train(start_of(each, TRAIN, params, 1), views_of(each, TRAIN), training_settings(params), 1, CPU)
        scores[name] = evaluate(scene, views_of(each, HELD_OUT), CPU).psnr
        scores[f"{name}, against the truth"] = evaluate(scene, views_of(true, HELD_OUT), CPU).psnr
        facts = exposure_facts(scene, each, Roles(TRAIN, (), HELD_OUT), CPU)
        if each.gains is None:
            assert facts == {}
        else:
            raw = evaluate(scene, views_of(taken, HELD_OUT), CPU).psnr
            assert facts["exposure"]["held_out_psnr_as_taken"] == pytest.approx(raw, abs=0.1)
    print(f"\n{scores}")
    assert scores["matched"] > scores["as taken"] + 2
    assert scores["matched, against the truth"] > scores["as taken, against the truth"] + 1


def test_a_photograph_that_shows_no_common_point_stays_as_it_is(taken: PosedPhotographs) -> None:
    camera = taken.photographs[0].camera
    pose = camera.camera_from_world.copy()
    pose[:3, 3] += 1e3
    away = replace(taken.photographs[0], camera=camera.with_pose(pose))
    photographs = replace(taken, photographs=(away, *taken.photographs[1:]))
    gains = exposure_gains(photographs)
    assert np.isnan(gains[0]).all()
    assert np.isfinite(gains[1:]).all()
    np.testing.assert_array_equal(matched(photographs, gains).photographs[0].srgb, away.srgb)


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., StageResult]:
    """Runs the stage on photographs that lie in memory."""

    def run(photographs: PosedPhotographs, **changes: Any) -> StageResult:
        monkeypatch.setattr(captures, "read_capture", lambda *_: SimpleNamespace(notes=(), shots=(), points=()))
        monkeypatch.setattr(captures, "load_photographs", lambda *_: photographs)
        params = ReconstructParams.model_validate(changes)
        stage = CaptureStage(StageContext(stages(params)[0], params, ModelSettings(device="cpu")))
        sample = Sample("room", attributes={"mark": "transforms.json", "time": ""})
        return stage.process(sample, StageInputs({}, params, 0, tmp_path))

    return run


def test_the_stage_matches_where_asked_and_else_tells(
    capture: Callable[..., StageResult], true: PosedPhotographs, taken: PosedPhotographs
) -> None:
    made = capture(taken, exposure="matched")
    loaded = PosedPhotographs.load(made.outputs["photographs"])
    assert loaded.gains is not None
    np.testing.assert_allclose(loaded.gains, exposure_gains(taken))
    assert not made.warnings
    plain = capture(taken)
    assert PosedPhotographs.load(plain.outputs["photographs"]).gains is None
    (warning,) = plain.warnings
    assert "times as bright as another: exposure: matched" in warning
    assert not capture(true).warnings


def test_matching_without_points_is_refused(capture: Callable[..., StageResult], taken: PosedPhotographs) -> None:
    bare = replace(taken, points=np.zeros((0, 3)), colours=np.zeros((0, 3), np.uint8))
    with pytest.raises(SampleError, match="needs points"):
        capture(bare, exposure="matched")
    assert not capture(bare).warnings
