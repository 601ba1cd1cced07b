"""Pairs: which there are, who is the reference, what drops one, and how groups are split."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from capture_folders import room_views
from synthetic.world import box_room, cylinder_room

from scenewright_stages.captures import ShotFacts, nearest, pose_distance, shots_of, spread
from scenewright_stages.contract.errors import ConfigurationError, SampleError, SampleRejected
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.samples import Family, Sample
from scenewright_stages.contract.stage import Catalogue, CatalogueEntry, Dropped
from scenewright_stages.difix.catalogue import index_files
from scenewright_stages.difix.gates import Candidate, agreement, measure, sharpness
from scenewright_stages.difix.pair import group_of, pair_facts
from scenewright_stages.difix.params import GateParams, PairsParams, SplitParams
from scenewright_stages.difix.pipeline import META_KEYS
from scenewright_stages.difix.spoil import moved, seen_from_beside
from scenewright_stages.difix.strategies import NO_REFERENCE, pairs, select, shot_names, trainings
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.imaging.metrics import array_psnr
from scenewright_stages.vision.places.captures.pictures import Photograph

PARAMS = PairsParams.model_validate(
    {"strategies": {"sparse": [2, 3], "underfit": [10, 50], "cycle": [5], "crossCamera": True}}
)

ROOM = room_views(box_room(3), 5, (96, 72), 3)


def capture(name: str = "room", count: int = 12, cameras: int = 2, seed: int = 0) -> Sample:
    random = np.random.default_rng(seed)
    shots = []
    for number in range(count):
        rotation = random.normal(size=4)
        rotation /= np.linalg.norm(rotation)
        shots.append([f"f{number:03d}", number % cameras, *random.normal(size=3).tolist(), *rotation.tolist()])
    cameras = {"left": 0, "right": 1}
    about = {"scene": name, "dataset": "", "shots": shots, "time": "", "mark": "m", "cameras": cameras}
    return Sample(name, attributes=about)


def family(sample: Sample, params: PairsParams = PARAMS) -> Family:
    return Family.of(sample, [lambda s: trainings(s, params), lambda s: pairs(s, params)])


def test_pair_names_are_unique_over_strategies_and_levels_and_say_who_is_who() -> None:
    found = family(capture()).leaves
    names = [str(each.attributes["pair"]) for each in found]
    assert len(set(names)) == len(names) > 40
    shots = shots_of(capture())
    for each in found:
        target, reference = (shots[int(each.attributes[name])] for name in ("target", "reference"))
        expected = f"room__tcam{target.camera}__rccam{reference.camera}__tf{target.name}__rf{reference.name}__"
        assert str(each.attributes["pair"]).startswith(expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_reference_is_the_nearest_training_photograph_and_never_the_target(seed: int) -> None:
    sample = capture(seed=seed)
    shots = shots_of(sample)
    for each in family(sample).leaves:
        chosen = select(str(each.attributes["strategy"]), int(each.attributes["level"]), shots)
        target, reference = int(each.attributes["target"]), int(each.attributes["reference"])
        assert reference != target
        assert reference in chosen.trained
        assert target in chosen.targets
        unit = spread(shots)
        distances = {n: pose_distance(shots[target], shots[n], unit) for n in chosen.trained if n != target}
        assert distances[reference] == min(distances.values())


def test_a_reference_may_be_asked_to_come_from_another_camera() -> None:
    params = PairsParams.model_validate({"reference": {"camera": "other", "source": "any"}})
    shots = shots_of(capture())
    for each in family(capture(), params).leaves:
        assert shots[int(each.attributes["target"])].camera != shots[int(each.attributes["reference"])].camera


def test_a_target_without_a_reference_is_dropped_with_its_reason() -> None:
    params = PairsParams.model_validate(
        {"strategies": {"sparse": [3], "underfit": []}, "reference": {"camera": "other"}}
    )
    leaves = family(capture(cameras=1), params).leaves
    assert [each.attributes["reference"] for each in leaves] == [NO_REFERENCE] * 8
    names = {str(each.attributes["pair"]) for each in leaves}
    assert len(names) == 8
    assert all("__rccamnone__" in name for name in names)


def test_a_reference_of_another_moment_is_of_the_same_camera_unless_another_one_is_asked_for() -> None:
    """Fixed cameras stand where they stood, so the nearest of the other moment is the target's own."""
    sample = capture(count=6, cameras=6)
    others = [["earlier", *shot[1:]] for shot in sample.attributes["shots"] if shot[1] != 4]
    sample = replace(sample, attributes={**sample.attributes, "others": others})
    strategies = {"sparse": [2]}
    for wanted in ("any", "same", "other"):
        reference = {"time": "other", "camera": wanted}
        params = PairsParams.model_validate({"strategies": strategies, "reference": reference})
        for each in family(sample, params).leaves:
            target, number = int(each.attributes["target"]), int(each.attributes["reference"])
            if wanted == "same" and target == 4:
                assert number == NO_REFERENCE
                continue
            camera = others[number][1]
            assert f"__rccam{camera}__tff{target:03d}__rfearlier__" in str(each.attributes["pair"])
            assert (camera == target) == (wanted == "same" or (wanted == "any" and target != 4))


def test_the_distance_of_poses_does_not_depend_on_the_captures_scale() -> None:
    shots = shots_of(capture())
    larger = [replace(shot, centre=tuple(10 * value for value in shot.centre)) for shot in shots]
    for target in range(len(shots)):
        assert nearest(shots, target, range(12)) == nearest(larger, target, range(12))
    same = ShotFacts("a", 0, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))
    assert pose_distance(same, replace(same, rotation=(-1.0, 0.0, 0.0, 0.0)), 1.0) == 0


def test_a_new_group_moves_no_other() -> None:
    split = SplitParams(test_fraction=0.3)
    sides = {f"pair{number:02d}": split.side(f"pair{number:02d}") for number in range(400)}
    assert 0.2 < sum(side == "test" for side in sides.values()) / len(sides) < 0.4
    assert SplitParams(test=["pair00"]).side("pair00") == "test"
    assert SplitParams(train=["pair00"], test_fraction=0.9).side("pair00") == "train"


@pytest.mark.parametrize(
    ("pattern", "group"),
    [("", "hi4d_pair00_dance"), (r"pair\d+", "pair00"), (r"_(\w+)_", "pair00"), ("zzz", "hi4d_pair00_dance")],
)
def test_groups_follow_the_scenes_name(pattern: str, group: str) -> None:
    params = PairsParams.model_validate({"groupBy": {"pattern": pattern}})
    assert params.group_by.group_of("hi4d_pair00_dance", {}) == group


SOURCES = {
    "dataset": "mine",
    "sources": [
        {"uri": "hi4d", "dataset": "HI4D", "groupBy": {"field": "pair_id"}},
        {"uri": "./rooms/", "groupBy": {"pattern": r"\d+"}},
        {"dataset": "rest"},
    ],
}


@pytest.mark.parametrize(
    ("folder", "facts", "expected"),
    [
        ("hi4d/pair00/dance/", {"pair_id": "pair00"}, ("HI4D", "pair00")),
        ("rooms/kitchen07/", {}, ("mine", "07")),
        ("garden/", {"pair_id": "pair00"}, ("rest", "kitchen07")),
        ("hi4d2/x/", {}, ("rest", "kitchen07")),
    ],
)
def test_a_source_says_what_its_captures_belong_to(
    folder: str, facts: dict[str, str], expected: tuple[str, str]
) -> None:
    params = PairsParams.model_validate(SOURCES)
    view = Photograph("a", 0, room_views(box_room(3), 1, (16, 12), 3)[0].camera, np.zeros((12, 16, 3), np.uint8))
    about = {"scene": "kitchen07", "dataset": "", "folder": folder, "facts": facts}
    sample = Sample("x", attributes={**about, "pair": "p", "strategy": "sparse", "level": 3})
    found = pair_facts(sample, params, view, replace(view, name="b"))
    assert (found["dataset"], found["group_id"]) == expected


@pytest.mark.parametrize("uri", ["s3://captures/hi4d", "/data/hi4d", "../hi4d", "hi4d:1"])
def test_a_source_elsewhere_is_refused_with_the_remedy(uri: str) -> None:
    with pytest.raises(ValueError, match=r"must be a folder below input\.uri"):
        PairsParams.model_validate({"sources": [{"uri": uri}]})


def test_photographs_of_one_name_give_samples_of_different_names() -> None:
    sample = capture(seed=2)
    names = ["a b", "a_b", "a/b", *("c" * number for number in range(1, 10))]
    shots = [[name, 0, *shot[2:]] for name, shot in zip(names, sample.attributes["shots"], strict=True)]
    twins = replace(sample, attributes={**sample.attributes, "shots": shots})
    assert shot_names(shots_of(twins))[:4] == ["a_b-0", "a_b-1", "a_b-2", "c"]
    found = [str(each.attributes["pair"]) for each in family(twins).leaves]
    assert len(set(found)) == len(found) > 10


def test_a_capture_that_does_not_say_its_group_gives_no_pair() -> None:
    params = PairsParams.model_validate({"groupBy": {"field": "pair_id"}})
    with pytest.raises(SampleRejected, match=r"capture\.json of kitchen has no 'pair_id'") as caught:
        group_of(params, None, "kitchen", {"other": 1})
    assert caught.value.reason == "NoGroup"
    assert group_of(params, None, "kitchen", {"pair_id": 7}) == "7"


# Spoilt trainings.


def wall(distance: float) -> GaussianScene:
    """Opaque Gaussians on a plane before the first camera of a room."""
    camera = ROOM[0].camera
    across = np.linspace(-2 * distance, 2 * distance, 40)
    grid = np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2)
    local = np.concatenate([grid, np.full((len(grid), 1), distance)], axis=1)
    means = local @ camera.world_from_camera[:3, :3].T + camera.position
    colours = torch.full((len(means), 3), 0.5)
    return GaussianScene.from_points(torch.from_numpy(means), colours, torch.full((len(means),), 0.1 * distance), 0.99)


@pytest.mark.parametrize("seed", range(4))
def test_in_a_cycle_cameras_move_towards_what_they_see_without_turning(seed: int) -> None:
    view = View(ROOM[0].camera, torch.zeros(72, 96, 3))
    (seen,) = seen_from_beside(wall(3.0), [view], 0.4, seed, renderer_for("cpu"))
    step = view.camera.world_from_camera[:3, :3].T @ (seen.camera.position - view.camera.position)
    # Two fifths of three metres, as far ahead as to the side.
    np.testing.assert_allclose(np.abs(step), [1.2 / np.sqrt(2), 0, 1.2 / np.sqrt(2)], atol=0.03)
    assert step[2] > 0
    np.testing.assert_array_equal(seen.camera.camera_from_world[:3, :3], view.camera.camera_from_world[:3, :3])


def test_a_cycle_that_would_see_nothing_is_refused_with_the_remedy() -> None:
    away = View(moved(ROOM[0].camera, np.array([0.0, 0.0, 10.0])), torch.zeros(72, 96, 3))
    with pytest.raises(SampleError, match="lower cycle's level") as refused:
        seen_from_beside(wall(3.0), [away], 0.4, 0, renderer_for("cpu"))
    assert refused.value.reason == "NothingSeen"


# Gates.

VIEWS = [np.round(view.srgb * 255).astype(np.uint8) for view in ROOM]
USUAL = float(np.median([sharpness(view) for view in VIEWS]))


def flawed(target: np.ndarray, seed: int) -> np.ndarray:
    """A render at about 22 dB."""
    noise = np.random.default_rng(seed).normal(0, 0.08, target.shape)
    return np.clip(target / 255 + noise, 0, 1).astype(np.float32)


def gate(render: np.ndarray, target: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    shape = target.shape[:2]
    unseen = np.zeros(target.shape, np.float32), np.zeros(shape, np.bool_)
    pair = Candidate(render, np.ones(shape, np.float32), target, reference, *unseen)
    return measure(pair, USUAL, GateParams()).to_json()


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_pair_passes(seed: int) -> None:
    target = VIEWS[seed]
    measured = gate(flawed(target, seed), target, VIEWS[(seed + 1) % 5])
    assert 18 < measured["psnr"] < 26
    assert measured["shift_gain"] < 0.1


def _blur(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 4), np.uint8)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "reason", ["Misregistered", "TooFar", "Blurred", "Flat", "NotFinite", "ReferenceIsTarget", "TooGood"]
)
def test_planted_faults_are_dropped_with_their_reason(reason: str, seed: int) -> None:
    target, reference = VIEWS[seed], VIEWS[(seed + 1) % 5]
    render = flawed(target, seed) * 0.3 + 0.7 * target.astype(np.float32) / 255
    render = np.clip(render + np.random.default_rng(seed).normal(0, 0.05, render.shape), 0, 1).astype(np.float32)
    if reason == "Misregistered":
        render = np.roll(render, 2, axis=1)
    elif reason == "TooFar":
        target = 255 - target
    elif reason == "Blurred":
        target = _blur(target)
    elif reason == "Flat":
        target = np.zeros_like(target)
    elif reason == "NotFinite":
        render = render.copy()
        render[3, 4] = np.nan
    elif reason == "ReferenceIsTarget":
        reference = target.copy()
    else:
        render = target.astype(np.float32) / 255
    with pytest.raises(SampleRejected) as refused:
        gate(render, target, reference)
    assert refused.value.reason == reason


@pytest.mark.parametrize("sigma", [2, 4])
def test_a_blurred_photograph_of_a_smooth_room_is_distinguished_from_a_sharp_one(sigma: int) -> None:
    sharp = [np.round(view.srgb * 255).astype(np.uint8) for view in room_views(cylinder_room(200), 9, (96, 72), 0)]
    usual = float(np.median([sharpness(each) for each in sharp]))
    assert min(sharpness(each) for each in sharp) / usual > 0.6
    assert max(sharpness(np.asarray(cv2.GaussianBlur(each, (0, 0), sigma))) for each in sharp) / usual < 0.3


OTHERS = [np.round(view.srgb * 255).astype(np.uint8) for view in room_views(box_room(4), 5, (96, 72), 4)]


@pytest.mark.parametrize("smooth", [False, True], ids=["sharp", "with less detail"])
@pytest.mark.parametrize("seed", range(5))
def test_a_photograph_of_another_room_is_foreign_though_its_psnr_passes(seed: int, smooth: bool) -> None:
    target, other = VIEWS[seed], _blur(OTHERS[seed]) if smooth else OTHERS[seed]
    render = 0.5 * flawed(target, seed) + 0.5 * other.mean() / 255
    assert array_psnr(render, (other / 255).astype(np.float32)) > 12
    with pytest.raises(SampleRejected) as refused:
        gate(render, other, VIEWS[(seed + 1) % 5])
    assert refused.value.reason == "Foreign"


def test_a_render_that_shows_nothing_yet_is_vouched_for_by_the_warped_reference() -> None:
    target = (VIEWS[0] / 255).astype(np.float32)
    shape = target.shape[:2]
    blank, seen = np.full_like(target, target.mean()), np.zeros(shape, np.bool_)
    seen[:, :40] = True
    warped = np.where(seen[..., None], flawed(VIEWS[0], 0), 0).astype(np.float32)
    pair = Candidate(blank, np.ones(shape, np.float32), VIEWS[0], VIEWS[1], warped, seen)
    assert agreement(pair, target) > 0.6
    assert agreement(replace(pair, valid=np.zeros(shape, np.bool_)), target) == pytest.approx(0, abs=0.1)


# Index files.


def catalogue(scenes: list[str], difix: dict[str, Any]) -> Catalogue:
    params = PairsParams.model_validate(difix)
    entries = []
    for scene in scenes:
        for leaf in family(capture(scene, 6), params).leaves:
            name = str(leaf.attributes["pair"])
            facts = dict.fromkeys(META_KEYS, "") | {
                "sample_id": name, "scene_name": scene, "group_id": scene, "split": params.split.side(scene),
                "image_path": f"samples/{name}/image.png", "psnr": 20.5, "strategy": leaf.attributes["strategy"],
                "level": leaf.attributes["level"],
            }  # fmt: skip
            record = Record(leaf.id, "pair", "k", "done", metrics=facts)
            entries.append(CatalogueEntry(leaf, {"pair": record}))
    dropped = [Dropped(entries[0].sample, "pair", "Blurred", "the target is blurred")] if entries else []
    spec = {"spec": {"difixPairs": difix, "output": {"uri": "/data/pairs"}, "execution": {"seed": 7}}}
    return Catalogue("pairs", entries, spec, dropped)


DIFIX = {"split": {"test": ["c"], "testFraction": 0.0}}


def test_the_index_files_are_those_of_the_seed() -> None:
    files = index_files(catalogue(["a", "b", "c"], DIFIX))
    assert set(files) == {
        "manifests/all_samples.jsonl", "manifests/split_train.jsonl", "manifests/split_test.jsonl",
        "manifests/split_summary.json", "difix/data.json", "meta/generation_config.yaml",
        "meta/generation_stats.json", "meta/dropped_samples.csv",
    }  # fmt: skip
    rows = {name: [json.loads(line) for line in files[f"manifests/{name}.jsonl"].splitlines()] for name in
            ("all_samples", "split_train", "split_test")}  # fmt: skip
    assert all(tuple(row) == META_KEYS for row in rows["all_samples"])
    assert {row["group_id"] for row in rows["split_train"]} == {"a", "b"}
    assert {row["group_id"] for row in rows["split_test"]} == {"c"}
    assert len(rows["all_samples"]) == len(rows["split_train"]) + len(rows["split_test"])
    data = json.loads(files["difix/data.json"])
    assert set(data) == {"train", "test"}
    entry = data["test"][rows["split_test"][0]["sample_id"]]
    assert set(entry) == {"image", "target_image", "ref_image", "prompt"}
    assert entry["prompt"] == "remove degradation"
    assert entry["image"].startswith("samples/c__")
    config = yaml.safe_load(files["meta/generation_config.yaml"])
    assert config.pop("seed") == 7
    assert PairsParams.model_validate(config) == PairsParams.model_validate(DIFIX)
    stats = json.loads(files["meta/generation_stats.json"])
    count = len(rows["all_samples"])
    assert (stats["samples"], stats["dropped"], sum(stats["datasets"].values())) == (count, 1, count)
    assert set(stats["scenes"]) == set(stats["groups"]) == {"a", "b", "c"}
    assert stats["cameras"] == {scene: {"left": 0, "right": 1} for scene in "abc"}
    (row,) = csv.DictReader(io.StringIO(files["meta/dropped_samples.csv"].decode()))
    assert (row["reason"], row["stage"]) == ("Blurred", "pair")
    absolute = index_files(catalogue(["a", "c"], {**DIFIX, "dataJson": {"paths": "absolute"}}))
    assert next(iter(json.loads(absolute["difix/data.json"])["test"].values()))["image"].startswith(
        "/data/pairs/samples/"
    )


def test_a_new_capture_leaves_every_old_line_as_it_was() -> None:
    before, after = (index_files(catalogue(scenes, DIFIX)) for scenes in (["a", "c"], ["a", "b", "c"]))
    for name in ("all_samples", "split_train", "split_test"):
        old, new = (files[f"manifests/{name}.jsonl"].splitlines() for files in (before, after))
        assert [line for line in new if line in set(old)] == old


@pytest.mark.parametrize(("scenes", "side"), [(["a", "b"], "test"), (["c"], "train")])
def test_an_empty_side_is_refused_with_the_remedy(scenes: list[str], side: str) -> None:
    with pytest.raises(ConfigurationError, match="name some of these groups there") as refused:
        index_files(catalogue(scenes, DIFIX))
    assert refused.value.field == f"spec.difixPairs.split.{side}"


def test_where_no_pair_is_left_the_reasons_are_said() -> None:
    known = catalogue(["a"], DIFIX)
    dropped = [Dropped(known.entries[0].sample, "pair", reason, "") for reason in ("TooGood", "Flat", "TooGood")]
    with pytest.raises(ConfigurationError, match=r"'TooGood': 2, 'Flat': 1.*relax gates"):
        index_files(replace(known, entries=[], dropped=dropped))
    with pytest.raises(ConfigurationError, match="crossCamera alone needs several cameras"):
        index_files(replace(known, entries=[], dropped=[]))
