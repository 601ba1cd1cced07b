"""Rounds with a fixer: who sees what, and that only what helps is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from synthetic import box_room, cameras_inside, render
from synthetic.rendering import SyntheticView

from scenewright_stages.backends.fix.interface import Fixer, FlawedView
from scenewright_stages.captures import nearest, pose_distance, spread
from scenewright_stages.contract.keys import stage_keys
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Catalogue, CatalogueEntry
from scenewright_stages.difix.catalogue import chosen_checkpoints
from scenewright_stages.reconstruct.fix import nearest_training, repaired, round_cameras, run_round
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.pipeline import PIPELINE, named_inputs
from scenewright_stages.reconstruct.report import rounds_text
from scenewright_stages.reconstruct.train import capture_roles
from scenewright_stages.reconstruct.views import Roles, along, between, cameras_between, roles_of
from scenewright_stages.scenes.captures import shot_facts, shots_facts, views_of
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import TrainingSettings, train
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs

SIZE = (48, 36)
WORLD = box_room(2)
CPU = renderer_for("cpu")
PARAMS = ReconstructParams.model_validate({
    "training": {"steps": 60, "segment": 30, "maximum": 4000},
    "difix": {"rounds": 1, "roundSteps": 120, "checkpoint": "x.safetensors"},
})  # fmt: skip


def photograph(number: int, view: SyntheticView) -> Photograph:
    return Photograph(f"{number:03d}", 0, view.camera, np.round(view.srgb * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def photographs() -> PosedPhotographs:
    views = [render(WORLD, camera, 2) for camera in cameras_inside(WORLD, 16, *SIZE)]
    shots = tuple(photograph(number, view) for number, view in enumerate(views))
    return PosedPhotographs(shots, np.zeros((0, 3)), np.zeros((0, 3), np.uint8))


@pytest.fixture(scope="module")
def roles() -> Roles:
    """Few photographs train, so that there is something to gain."""
    return Roles(train=(0, 3, 6, 9, 12, 14), gate=(1, 7, 13), held_out=(4, 10))


@pytest.fixture(scope="module")
def scene(photographs: PosedPhotographs, roles: Roles) -> GaussianScene:
    seen = [render(WORLD, photographs.cameras[number], 1) for number in roles.train]
    parts = [
        GaussianScene.from_rgbd(view.srgb[::2, ::2].copy(), view.depth[::2, ::2].copy(), view.camera.scaled(24, 18))
        for view in seen
    ]
    start = GaussianScene.concatenate(parts)
    return train(start, views_of(photographs, roles.train), TrainingSettings(steps=60, segment=60), 0, CPU)


def novel(photographs: PosedPhotographs, roles: Roles, count: int = 12) -> list[Camera]:
    random = np.random.default_rng(0)
    return cameras_between(shots_facts(photographs), photographs.cameras, roles, count, random)


def test_every_photograph_has_one_role() -> None:
    for count in range(4, 60):
        roles = roles_of(count, 6, 6)
        everything = sorted((*roles.train, *roles.gate, *roles.held_out))
        assert everything == list(range(count))
    assert roles_of(18, 6, 6).held_out == (3, 9, 15)


def test_all_photographs_train_where_no_decision_needs_held_out_ones(photographs: PosedPhotographs) -> None:
    plain, rounds, finer = with_rounds(0), with_rounds(1), with_rounds(1, gate_every=3)
    alone, deciding = capture_roles(photographs, plain), capture_roles(photographs, rounds)
    assert alone.gate == ()
    assert deciding.gate
    assert set(alone.train) == {*deciding.train, *deciding.gate}
    assert len({train_key(each) for each in (plain, rounds, finer)}) == 3
    # What does not matter trains nothing again.
    assert train_key(with_rounds(0, gate_every=3)) == train_key(plain)
    assert train_key(with_rounds(2)) == train_key(rounds)


def with_rounds(rounds: int, gate_every: int = 6) -> ReconstructParams:
    block = {"gateEvery": gate_every, "difix": {"rounds": rounds, "checkpoint": "x.safetensors"}}
    return ReconstructParams.model_validate(block)


def train_key(params: ReconstructParams) -> str:
    return stage_keys(PIPELINE, params, {}, 0)["train"]


def test_cameras_between_photographs_know_nothing_of_those_that_judge(
    photographs: PosedPhotographs, roles: Roles
) -> None:
    moved = list(photographs.photographs)
    for number in (*roles.gate, *roles.held_out):
        camera = moved[number].camera
        pose = camera.camera_from_world.copy()
        pose[:3, 3] += 5.0
        moved[number] = replace(moved[number], camera=camera.with_pose(pose))
    elsewhere = replace(photographs, photographs=tuple(moved))
    # The spread of all cameras only scales distances.
    assert spread(shots_facts(elsewhere)) != spread(shots_facts(photographs))
    for first, second in zip(novel(photographs, roles), novel(elsewhere, roles), strict=True):
        np.testing.assert_array_equal(first.camera_from_world, second.camera_from_world)


def test_cameras_stand_in_the_gaps_between_photographs(photographs: PosedPhotographs) -> None:
    """Farther from photographs and from each other than cameras between each photograph and its neighbour."""
    shots = shots_facts(photographs)
    crowded = Roles(train=(0, 1, 2, 3, 8, 12), gate=(9,), held_out=(11,))
    known = [shots[number] for number in crowded.train]
    unit = spread(known)
    random = np.random.default_rng(0)
    near = []
    for number in random.choice(crowded.train, size=12):
        other = nearest(shots, int(number), crowded.train)
        near.append(between(photographs.cameras[number], photographs.cameras[other or 0], random.uniform(0.3, 0.7)))

    def distances(cameras: list[Camera]) -> tuple[float, float]:
        facts = [shot_facts(each) for each in cameras]
        room = np.mean([min(pose_distance(each, other, unit) for other in known) for each in facts])
        gaps = [pose_distance(one, two, unit) for place, one in enumerate(facts) for two in facts[:place]]
        return float(room), min(gaps)

    found, plain = distances(novel(photographs, crowded)), distances(near)
    assert found[0] > 1.5 * plain[0]
    assert found[1] > 10 * plain[1]


class ShowsReference:
    """Gives the warped reference back."""

    def fix(self, view: FlawedView, seed: int = 0) -> np.ndarray:
        """The warped reference."""
        return view.warped


def test_a_view_is_repaired_with_each_of_the_nearest_references(
    photographs: PosedPhotographs, roles: Roles, scene: GaussianScene
) -> None:
    camera = photographs.cameras[4]
    numbers = nearest_training(photographs, roles, camera, 2)
    assert numbers == [3, 6]
    fixer = cast(Fixer, ShowsReference())
    (both,) = repaired(scene, [camera], photographs, roles, fixer, CPU, 2)
    alone = [
        repaired(scene, [camera], photographs, replace(roles, train=(number,)), fixer, CPU)[0] for number in numbers
    ]
    np.testing.assert_allclose(both.fixed, (alone[0].fixed + alone[1].fixed) / 2, atol=1e-6)
    np.testing.assert_array_equal(both.flawed.warped, alone[0].flawed.warped)
    assert np.abs(alone[0].fixed - alone[1].fixed).max() > 0.1


def test_a_camera_between_two_stands_and_looks_between_them(photographs: PosedPhotographs) -> None:
    first, second = photographs.cameras[:2]
    np.testing.assert_allclose(between(first, second, 0.0).camera_from_world, first.camera_from_world, atol=1e-12)
    np.testing.assert_allclose(between(first, second, 1.0).camera_from_world, second.camera_from_world, atol=1e-12)
    middle = between(first, second, 0.5)
    np.testing.assert_allclose(middle.position, (first.position + second.position) / 2)
    path = along(photographs.cameras[:4], 31)
    np.testing.assert_allclose(path[10].position, photographs.cameras[1].position, atol=1e-9)


def truth(camera: Camera) -> torch.Tensor:
    return torch.from_numpy(render(WORLD, camera, 2).srgb)


def test_views_that_are_repaired_well_are_kept_and_learned_from(
    photographs: PosedPhotographs, roles: Roles, scene: GaussianScene
) -> None:
    repairs = [View(camera, truth(camera)) for camera in novel(photographs, roles)]
    _, ended = run_round(scene, photographs, roles, repairs, PARAMS, 5, CPU)
    assert ended.kept
    assert ended.with_fixes > ended.without + 0.1


@pytest.mark.parametrize("fault", ["noise", "grey", "shift"])
def test_fixers_that_do_harm_are_rejected_and_the_scene_is_the_one_without(
    photographs: PosedPhotographs, roles: Roles, scene: GaussianScene, fault: str
) -> None:
    random = np.random.default_rng(1)
    repairs = []
    for camera in novel(photographs, roles):
        with torch.no_grad():
            srgb = CPU.render(scene, [camera]).rgb[0].clamp(0, 1)
        if fault == "noise":
            srgb = torch.from_numpy(random.random((*SIZE[::-1], 3)).astype(np.float32))
        elif fault == "grey":
            srgb = torch.full_like(srgb, 0.5)
        else:
            srgb = srgb.roll(2, dims=1)
        repairs.append(View(camera, srgb))
    result, ended = run_round(scene, photographs, roles, repairs, PARAMS, 5, CPU)
    assert not ended.kept
    other = [View(camera, truth(camera)) for camera in novel(photographs, roles)]
    strict = PARAMS.model_copy(update={"difix": PARAMS.difix.model_copy(update={"gain": 20.0})})
    without, _ = run_round(scene, photographs, roles, other, strict, 5, CPU)
    for name, tensor in without.tensors.items():
        assert torch.equal(tensor, result.tensors[name]), name


def test_the_walk_to_held_out_poses_ends_there_and_only_by_name(photographs: PosedPhotographs, roles: Roles) -> None:
    blind = PARAMS.difix.model_copy(update={"rounds": 2, "views": 4})
    walking = blind.model_copy(update={"walk": "heldOut"})
    goals = [photographs.cameras[number] for number in roles.held_out]

    def distance(camera: Camera, goal: Camera) -> float:
        return float(np.linalg.norm(camera.position - goal.position))

    first, last = (round_cameras(photographs, roles, walking, 0, number) for number in (0, 1))
    for number, goal in enumerate(goals):
        np.testing.assert_allclose(last[number].camera_from_world, goal.camera_from_world, atol=1e-9)
        assert distance(first[number], goal) > 0
    assert min(distance(each, goal) for each in round_cameras(photographs, roles, blind, 0, 1) for goal in goals) > 0.01
    for number in roles.held_out:
        begin = photographs.cameras[nearest(shots_facts(photographs), number, roles.train) or 0]
        place = roles.held_out.index(number)
        assert distance(last[place + 2], goals[place]) == pytest.approx(distance(begin, goals[place]) / 2)


def test_the_checkpoint_is_a_named_input_only_where_rounds_are_asked_for() -> None:
    run = ReconstructParams.model_validate({"difix": {"rounds": 2, "tuningRun": {"name": "fixer", "step": "latest"}}})
    (wanted,) = named_inputs(run)
    assert (wanted.kind, wanted.object, wanted.chosen) == ("TuningRun", "fixer", "latest")
    assert [stage.name for stage in PIPELINE.stages(run)] == ["capture", "train", "difix", "render"]
    plain = ReconstructParams()
    assert named_inputs(plain) == ()
    assert [stage.name for stage in PIPELINE.stages(plain)] == ["capture", "train", "render"]


def test_of_many_checkpoints_the_best_and_the_latest_reach_other_objects() -> None:
    kept = {f"model_{step}.safetensors": (step, f"{step:032x}") for step in range(100, 2100, 100)}
    outputs = {"checkpoints": OutputFile("checkpoints/", sum(size for size, _ in kept.values()), "0" * 32, kept)}
    record = Record("fixer", "tune", "key", "done", outputs=outputs, metrics={"best_step": 300, "latest_step": 2000})
    paths = chosen_checkpoints(Catalogue("fixer", [CatalogueEntry(Sample("fixer"), {"tune": record})], {}))
    report = Report(step="publish", chosen={name: f"{path}@{'0' * 32}" for name, path in paths.items()})
    told = Report.from_bytes(report.to_bytes()).chosen
    assert set(told) == {"best", "latest", *map(str, range(1100, 2100, 100))}
    assert told["best"].startswith("checkpoints/model_300.safetensors@")
    assert told["latest"] == told["2000"]


def test_the_page_names_the_fixer_with_its_checkpoint_and_says_how_each_round_ended(tmp_path: Path) -> None:
    path = tmp_path / "rounds.json"
    fixer = {"backend": "difix", "model": "stabilityai/sd-turbo", "licence": "sai-nc-community", "checkpoint": "ab12"}
    ended = {"before": 20.0, "without": 20.5, "with_fixes": 21.0, "kept": True}
    path.write_text(json.dumps({"fixer": fixer, "rounds": [ended]}))
    first, second = rounds_text({("difix", "rounds"): lambda: path}).splitlines()
    assert first == "repaired by difix, stabilityai/sd-turbo, sai-nc-community, checkpoint ab12"
    assert second.startswith("round 1: gate views 20.00 dB before")
    assert rounds_text({}) == ""
