"""The classic fixer learns: from nothing, the same way every time, and with the help of the reference."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from scenewright_stages.backends.fix.classic import ClassicFixer, load_network, run_network, save_checkpoint
from scenewright_stages.backends.fix.interface import FIX, FlawedView
from scenewright_stages.backends.fix.network import FixNetwork
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.difix.baselines import tuned_baselines
from scenewright_stages.difix.evaluate import interval
from scenewright_stages.difix.fixer_params import FixerParams
from scenewright_stages.difix.learning import ClassicLearner, best_checkpoint
from scenewright_stages.difix.pairs_data import PairFiles, load_pair, read_pairs, validation_split
from scenewright_stages.difix.tune import loss_table, read_loss_table
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.imaging.metrics import array_psnr

SIZE = (32, 40)
PARAMS = FixerParams(steps=12, batch=2, crop=24, checkpoint_every=6, state_every=4)


def picture(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).random((*SIZE, 3)).astype(np.float32)
    return np.clip(0.5 + 4 * (cv2.GaussianBlur(values, (0, 0), 1.5) - 0.5), 0, 1)


def write(path: Path, srgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.round(srgb[..., ::-1] * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs of three groups: blurred pictures, and references that show most of the truth."""
    root = tmp_path_factory.mktemp("pairs")
    entries: dict[str, dict[str, dict[str, str]]] = {"train": {}, "test": {}}
    for number in range(6):
        name, truth = f"p{number}", picture(number)
        folder = root / "samples" / name
        write(folder / "image.png", cv2.GaussianBlur(truth, (0, 0), 2.5))
        write(folder / "target_image.png", truth)
        (folder / "meta.json").write_text(json.dumps({"group_id": f"g{number // 2}"}))
        valid = np.ones(SIZE, np.uint8)
        valid[:, :8] = 0
        conditions = root / ".scenewright" / "work" / "pairs" / f"{name}.npz"
        conditions.parent.mkdir(parents=True, exist_ok=True)
        warped = np.round(truth * valid[..., None] * 255).astype(np.uint8)
        save_arrays(conditions, {"alpha": np.full(SIZE, 255, np.uint8), "warped": warped, "valid": valid})
        files = {"image": "image.png", "target_image": "target_image.png"}
        entry = {key: f"samples/{name}/{file}" for key, file in files.items()} | {"prompt": "remove degradation"}
        entries["train" if number < 4 else "test"][name] = entry
    (root / "difix").mkdir()
    (root / "difix" / "data.json").write_text(json.dumps(entries))
    return root


def trained(pairs: list[PairFiles], params: FixerParams, seed: int = 3) -> ClassicLearner:
    learner = ClassicLearner(params, seed)
    for number in range(1, params.steps + 1):
        learner.step(number, pairs)
    return learner


def weights(network: FixNetwork) -> bytes:
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


@pytest.mark.parametrize("size", [(32, 40), (33, 41), (17, 30)])
def test_an_untrained_network_returns_the_render_at_any_size(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    srgb, warped = (random.random((*size, 3)).astype(np.float32) for _ in range(2))
    view = FlawedView(srgb, random.random(size).astype(np.float32), warped, random.random(size) > 0.5)
    np.testing.assert_array_equal(run_network(FixNetwork(), view), srgb)


def test_the_network_is_small() -> None:
    assert sum(value.numel() for value in FixNetwork().parameters()) <= 300_000


@pytest.mark.slow
def test_training_brings_a_gain_and_the_reference_is_used(data: Path) -> None:
    pairs = read_pairs(data, "train")
    params = FixerParams(steps=80, batch=4, crop=32, learning_rate=4e-3)
    learner = trained(pairs, params)
    loaded = [load_pair(each) for each in read_pairs(data, "test")]
    before = np.mean([array_psnr(each.view.srgb, each.target) for each in loaded])
    after = np.mean([array_psnr(run_network(learner.mean, each.view), each.target) for each in loaded])
    assert after > before + 2
    first, second = loaded
    swapped = FlawedView(first.view.srgb, first.view.alpha, second.view.warped, first.view.valid)
    assert (
        array_psnr(run_network(learner.mean, swapped), first.target)
        < array_psnr(run_network(learner.mean, first.view), first.target) - 1
    )
    blind = FixNetwork(uses_reference=False)
    blind.load_state_dict(learner.mean.state_dict())
    np.testing.assert_array_equal(run_network(blind, swapped), run_network(blind, first.view))


@pytest.mark.parametrize("stops", [(4,), (1, 5, 11)])
def test_a_run_that_was_interrupted_ends_with_the_same_bytes(
    data: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    pairs = read_pairs(data, "train")
    whole = trained(pairs, PARAMS)
    whole.validate(pairs)
    learner, done = ClassicLearner(PARAMS, 3), 0
    for stop in (*stops, PARAMS.steps):
        for number in range(done + 1, stop + 1):
            learner.step(number, pairs)
        learner.save(tmp_path / "learner.pt")
        learner, done = ClassicLearner(PARAMS, 99), stop
        learner.seed = 3
        learner.restore(tmp_path / "learner.pt")
    learner.validate(pairs)
    assert loss_table(learner.rows) == loss_table(whole.rows)
    assert weights(learner.mean) == weights(whole.mean)
    assert learner.best == whole.best


def test_the_best_checkpoint_is_the_same_in_memory_and_in_the_table(tmp_path: Path) -> None:
    """Scores that differ by less than the table's last decimal are equal, and the first of them counts."""
    nan = float("nan")
    rows = [(1, 0.5, nan), (2, 0.4, 20.0), (3, 0.3, 20.123457), (4, 0.2, 20.123457), (5, 0.1, 19.0)]
    (tmp_path / "loss.csv").write_text(loss_table(rows))
    assert best_checkpoint(read_loss_table(tmp_path / "loss.csv")) == best_checkpoint(rows) == (3, 20.123457)
    assert best_checkpoint(rows[:1])[0] == 0


def test_a_validation_is_as_exact_as_the_table(data: Path) -> None:
    pairs = read_pairs(data, "train")
    learner = trained(pairs, FixerParams(steps=1, batch=1, crop=16))
    score = learner.validate(pairs)
    assert score == round(score, 6) == learner.best[1]


def test_other_seeds_learn_otherwise(data: Path) -> None:
    pairs = read_pairs(data, "train")
    assert weights(trained(pairs, PARAMS, 3).mean) != weights(trained(pairs, PARAMS, 4).mean)


def test_a_checkpoint_is_loaded_by_the_backend_and_written_twice_the_same(data: Path, tmp_path: Path) -> None:
    learner = trained(read_pairs(data, "train"), PARAMS)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        learner.write_checkpoint(tmp_path / name, 12)
    for ending in ("safetensors", "pkl"):
        first, second = ((tmp_path / name / f"model_12.{ending}").read_bytes() for name in ("a", "b"))
        assert first == second
    pickle = torch.load(tmp_path / "a" / "model_12.pkl", weights_only=True)
    assert set(pickle) == {"backend", "state_dict_fixer", "step"}
    path = tmp_path / "a" / "model_12.safetensors"
    fixer = load(FIX, "classic", ModelContext(cache_dir=tmp_path, options={"checkpoint": str(path)}))
    assert isinstance(fixer, ClassicFixer)
    assert fixer.record.revision == "step 12"
    view = load_pair(read_pairs(data, "test")[0]).view
    np.testing.assert_array_equal(fixer.fix(view), run_network(learner.mean, view))


def test_without_a_checkpoint_or_with_another_file_the_classic_fixer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOption, match="classic has no base model"):
        load(FIX, "classic", ModelContext(cache_dir=tmp_path))
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(UnsupportedOption, match="readable checkpoint"):
        load_network(tmp_path / "x.safetensors")
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "y.safetensors")
    with pytest.raises(UnsupportedOption, match="tuned to"):
        load_network(tmp_path / "y.safetensors")
    save_checkpoint(tmp_path / "z.safetensors", FixNetwork(uses_reference=False), {})
    assert not load_network(tmp_path / "z.safetensors").uses_reference


def test_validation_takes_whole_groups_of_the_training_side(data: Path) -> None:
    pairs = read_pairs(data, "train")
    kept, held = validation_split(pairs, 0.15)
    assert {each.group for each in kept} & {each.group for each in held} == set()
    assert len(kept) + len(held) == len(pairs)
    one_group = [each for each in pairs if each.group == "g0"]
    kept, held = validation_split(one_group, 0.15)
    assert [len(kept), len(held)] == [1, 1]


def test_a_foreign_data_set_is_read_without_conditions_and_a_wrong_one_is_refused(data: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture(0))
    entry = {"image": "a.png", "target_image": "a.png", "prompt": "remove degradation"}
    (tmp_path / "difix").mkdir()
    (tmp_path / "difix" / "data.json").write_text(json.dumps({"train": {"x": entry}, "test": {}}))
    (pair,) = read_pairs(tmp_path, "train")
    assert pair.conditions is None
    assert not load_pair(pair).view.valid.any()
    (tmp_path / "a.png").unlink()
    with pytest.raises(ConfigurationError, match="names no image that is there"):
        read_pairs(tmp_path, "train")
    with pytest.raises(ConfigurationError, match=r"has no difix/data\.json"):
        read_pairs(data / "samples", "train")


def test_filters_are_tuned_and_never_worse_than_their_weakest_strength(data: Path) -> None:
    loaded = [load_pair(each) for each in read_pairs(data, "train")]
    found = {each.name: each for each in tuned_baselines(loaded)}
    assert set(found) == {"identity", "gaussian", "nlm", "fill_and_paste"}
    score = {name: np.mean([array_psnr(each(p.view), p.target) for p in loaded]) for name, each in found.items()}
    # The reference is the truth where it is valid.
    assert found["fill_and_paste"].strength == 1.0
    assert score["fill_and_paste"] > score["identity"] + 1
    assert found["gaussian"].strength == 0.3


def test_the_interval_holds_the_mean_and_narrows_with_more_pairs() -> None:
    random = np.random.default_rng(0)
    few, many = (interval(random.normal(1, 1, count), 0) for count in (10, 1000))
    for found in (few, many):
        assert found["low"] < found["mean"] < found["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]
