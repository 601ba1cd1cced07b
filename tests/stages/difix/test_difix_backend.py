"""The backend `difix` on a tiny random model: what training may change, what it sees, and what it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_interruptions import KeptState
from test_learning import SIZE, data, picture
from tiny_difix import save_tiny_difix

from scenewright_stages.backends.fix.difix import base_network, read_checkpoint, run_difix, views_of
from scenewright_stages.backends.fix.difix_network import DifixNetwork, padded
from scenewright_stages.backends.fix.interface import FIX, FlawedView
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted, MissingWeights, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, StageContext, StageInputs
from scenewright_stages.difix.difix_learning import DifixLearner
from scenewright_stages.difix.evaluate import EvaluateStage
from scenewright_stages.difix.fixer_params import DifixLossParams, DifixTuningParams, FixerParams
from scenewright_stages.difix.pairs_data import load_pair, read_pairs
from scenewright_stages.difix.pipeline import fixer_stages
from scenewright_stages.difix.tune import TuneStage, loss_table

__all__ = ["data"]
LICENCE = "sai-nc-community"
L2 = DifixTuningParams(losses=DifixLossParams(lpips=0, gram=0))
PARAMS = FixerParams(backend="difix", steps=3, batch=2, learning_rate=5e-5, checkpoint_every=2, state_every=1, difix=L2)
FACTS = {"variant": "sd-turbo", "licence": LICENCE, "uses_reference": True}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    save_tiny_difix(folder / "stabilityai" / "sd-turbo")
    return folder


@pytest.fixture(scope="module")
def base(cache: Path) -> Path:
    return cache / "stabilityai" / "sd-turbo"


def network(base: Path) -> DifixNetwork:
    return base_network(base, seed=1).eval()


def view(seed: int = 0) -> FlawedView:
    return replace(FlawedView.alone(picture(seed)), reference=picture(seed + 50))


def with_references(folder: Path, root: Path) -> Path:
    """The pairs of the other tests, with a reference each."""
    import shutil

    from test_learning import write

    shutil.copytree(root, folder)
    index = folder / "difix" / "data.json"
    entries = json.loads(index.read_text())
    for side in entries.values():
        for number, entry in enumerate(side.values()):
            entry["ref_image"] = entry["image"].replace("image.png", "ref_image.png")
            write(folder / entry["ref_image"], picture(100 + number))
    index.write_text(json.dumps(entries))
    return folder


@torch.no_grad()
def plain(base: Path, views: torch.Tensor) -> torch.Tensor:
    """What the base's own modules make of each picture alone, without skips, adapters or shared attention."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    vae = AutoencoderKL.from_pretrained(base, subfolder="vae")
    prompt = base_network(base, seed=1).prompt
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    latents = vae.encode(views[:, 0] * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
    noise = unet(latents, 199, encoder_hidden_states=prompt).sample
    clean = schedule.step(noise, 199, latents).pred_original_sample
    return (vae.decode(clean / vae.config.scaling_factor).sample + 1) / 2


def test_before_training_skips_and_adapters_change_nothing(base: Path) -> None:
    alone = padded(views_of(FlawedView.alone(picture(0)))[None], 32)
    with torch.no_grad():
        answer = network(base)(alone)
    assert float((answer - plain(base, alone)).abs().max()) < 1e-3
    assert float(answer.std()) > 0.01


def test_the_reference_is_seen_and_the_same_view_twice_is_as_one(base: Path) -> None:
    fixer = network(base)
    first = run_difix(fixer, view())
    other = run_difix(fixer, replace(view(), reference=picture(77)))
    assert np.abs(first - other).max() > 1e-4
    alone = run_difix(fixer, FlawedView.alone(picture(0)))
    twice = run_difix(fixer, replace(view(), reference=picture(0)))
    # Attention to two copies of the same tokens has the same mean.
    np.testing.assert_allclose(alone, twice, atol=1e-4)


def test_training_and_use_are_the_same_function(base: Path, data: Path, tmp_path: Path) -> None:
    pairs = read_pairs(with_references(tmp_path / "pairs", data), "train")
    learner = DifixLearner(network(base), PARAMS, 3, FACTS)
    learner.step(1, pairs)
    learner.write_checkpoint(tmp_path, 1)
    seen = learner._seen(pairs[0])
    used = base_network(base, seed=9)
    read_checkpoint(used, tmp_path / "model_1.safetensors")
    views = padded(views_of(seen)[None], learner.mean.multiple())
    with torch.no_grad():
        trained = learner.mean(views)[0, :, : SIZE[0], : SIZE[1]].clamp(0, 1).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(run_difix(used, seen), trained)


def test_the_pickle_is_upstreams(base: Path, tmp_path: Path) -> None:
    learner = DifixLearner(network(base), PARAMS, 3, FACTS)
    learner.write_checkpoint(tmp_path, 7)
    pickle: dict[str, Any] = torch.load(tmp_path / "model_7.pkl", weights_only=True)
    assert set(pickle) == {
        "vae_lora_target_modules", "rank_vae", "state_dict_unet", "state_dict_vae", "optimizer"
    }  # fmt: skip
    assert pickle["rank_vae"] == 4
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    unet.load_state_dict(pickle["state_dict_unet"])
    vae = pickle["state_dict_vae"]
    targets = pickle["vae_lora_target_modules"]
    assert "decoder.conv_in" in targets
    assert "decoder.skip_conv_4" in targets
    assert "decoder.mid_block.attentions.0.to_out.0" in targets
    assert not any(name.startswith("encoder") for name in targets)
    for name in targets:
        assert f"{name}.lora_A.vae_skip.weight" in vae
        assert f"{name}.lora_B.vae_skip.weight" in vae
    bases = {name for name in vae if "lora" not in name}
    assert bases == {f"decoder.skip_conv_{number}.base_layer.weight" for number in range(1, 5)}
    assert [tuple(vae[name].shape[:2]) for name in sorted(bases)] == [(16, 16), (16, 8), (16, 8), (8, 8)]
    # The skips' adapters are listed twice.
    count = len(list(unet.parameters())) + 2 * len(targets) + 4 * 3
    (group,) = pickle["optimizer"]["param_groups"]
    assert len(group["params"]) == count
    assert pickle["optimizer"]["state"] == {}


def test_a_step_moves_nearly_all_weights_though_arithmetic_is_bfloat16(base: Path, data: Path) -> None:
    params = PARAMS.model_copy(update={"learning_rate": 5e-6, "steps": 100, "weight_decay": 0.0})
    learner = DifixLearner(network(base), params, 3, FACTS)
    before = {name: value.detach().clone() for name, value in learner.network.unet.named_parameters()}
    frozen = {name: value.detach().clone() for name, value in learner.network.vae.encoder.named_parameters()}
    pairs = read_pairs(data, "train")
    learner.step(20, pairs)
    moved = total = 0
    for name, value in learner.network.unet.named_parameters():
        # A bias before a normalisation, or a key's, has no gradient: nothing could move it.
        able = value.grad != 0
        moved += int(((value != before[name]) & able).sum())
        total += int(able.sum())
    assert total > 0.8 * sum(value.numel() for value in before.values())
    assert moved / total >= 0.99
    rounded = sum(
        int(((before[n].bfloat16() - 5e-6 * v.grad.sign().bfloat16()) != before[n].bfloat16()).sum())
        for n, v in learner.network.unet.named_parameters()
    )
    assert rounded / total < 0.3
    for name, value in learner.network.vae.encoder.named_parameters():
        assert torch.equal(value, frozen[name]), name


def test_an_interrupted_run_ends_with_the_same_bytes(base: Path, data: Path, tmp_path: Path) -> None:
    pairs = read_pairs(data, "train")
    whole = DifixLearner(network(base), PARAMS, 3, FACTS)
    for number in (1, 2, 3):
        whole.step(number, pairs)
    first = DifixLearner(network(base), PARAMS, 3, FACTS)
    first.step(1, pairs)
    first.save(tmp_path / "state.pt")
    second = DifixLearner(base_network(base, seed=8).eval(), PARAMS, 3, FACTS)
    second.restore(tmp_path / "state.pt")
    for number in (2, 3):
        second.step(number, pairs)
    assert loss_table(second.rows) == loss_table(whole.rows)
    for name, value in whole.mean.state_dict().items():
        assert torch.equal(value, second.mean.state_dict()[name]), name


def test_a_run_is_tuned_and_evaluated_by_the_stages(cache: Path, data: Path, tmp_path: Path) -> None:
    root = with_references(tmp_path / "pairs", data)
    settings = ModelSettings(cache, "cpu", frozenset({LICENCE}))
    tuning, evaluating = fixer_stages(PARAMS)
    assert tuning.models.backends == evaluating.models.backends == {"fix": "difix"}
    assert tuning.pod.gpus == 1
    (tmp_path / "tune").mkdir()
    inputs = StageInputs({}, PARAMS, 3, tmp_path / "tune", named={"dataset": root}, state=KeptState(tmp_path / "state"))
    tuned = TuneStage(StageContext(tuning, PARAMS, settings)).process(Sample("tuning"), inputs)
    assert tuned.backends[0].licence == LICENCE
    files = {("tune", name): Path(str(tuned.outputs[name])) for name in ("checkpoints", "loss")}
    assert {path.name for path in files["tune", "checkpoints"].iterdir()} == {
        f"model_{step}.{ending}" for step in (2, 3) for ending in ("pkl", "safetensors")
    }
    (tmp_path / "eval").mkdir()
    judged = EvaluateStage(StageContext(evaluating, PARAMS, settings)).process(
        Sample("tuning"), StageInputs(files, PARAMS, 3, tmp_path / "eval", named={"dataset": root})
    )
    assert "gain_over_identity" in judged.metrics
    path = files["tune", "checkpoints"] / "model_3.safetensors"
    context = ModelContext(cache, "cpu", frozenset({LICENCE}), options={"checkpoint": str(path)})
    fixer = ModelPool().load(FIX, "difix", context)
    assert fixer.record.revision.endswith("step 3")
    assert fixer.fix(load_pair(read_pairs(root, "test")[0]).view).shape == (*SIZE, 3)
    fixer.release()
    with pytest.raises(RuntimeError, match="was released"):
        fixer.fix(view())


def test_without_licence_weights_or_checkpoint_it_is_refused(cache: Path, data: Path, tmp_path: Path) -> None:
    tuning = fixer_stages(PARAMS)[0]
    inputs = StageInputs({}, PARAMS, 3, tmp_path, named={"dataset": data}, state=KeptState(tmp_path / "state"))
    for settings, problem in (
        (ModelSettings(cache, "cpu"), LicenceNotAccepted),
        (ModelSettings(tmp_path / "nothing", "cpu", frozenset({LICENCE})), MissingWeights),
    ):
        with pytest.raises(problem):
            TuneStage(StageContext(tuning, PARAMS, settings)).process(Sample("tuning"), inputs)
    accepted = ModelContext(cache, "cpu", frozenset({LICENCE}))
    with pytest.raises(UnsupportedOption, match="SD-Turbo itself repairs nothing"):
        ModelPool().load(FIX, "difix", accepted)
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(UnsupportedOption, match="readable checkpoint"):
        read_checkpoint(network(cache / "stabilityai" / "sd-turbo"), tmp_path / "x.safetensors")


def test_a_rate_for_a_network_from_scratch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be at most 0\.0005"):
        FixerParams(backend="difix")
