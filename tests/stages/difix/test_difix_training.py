"""How the backend `difix` is trained: the terms of its loss, what it begins from, and several processes together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import second_rank as second_rank_program
import torch
from pair_data import NoState
from ranked_tuning import tune
from safetensors.torch import load_file, save_file
from test_learning import data, picture
from tiny_difix import save_tiny_difix
from tiny_vgg import save_vgg

from scenewright_stages.backends.fix.difix import base_network, run_difix, upstream_order
from scenewright_stages.backends.fix.difix_network import DifixNetwork
from scenewright_stages.backends.fix.interface import FIX, FlawedView
from scenewright_stages.backends.perception.interface import PERCEPTION, Perception
from scenewright_stages.backends.runtime.errors import (
    BrokenWeights,
    LicenceNotAccepted,
    MissingWeights,
    UnsupportedOption,
)
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, Ranks, StageContext, StageInputs
from scenewright_stages.difix.difix_learning import DifixLearner, KeptLatents, cropped, difix_loss
from scenewright_stages.difix.fixer_params import DifixLossParams, DifixTuningParams, FixerParams
from scenewright_stages.difix.pairs_data import read_pairs
from scenewright_stages.difix.pipeline import fixer_stages
from scenewright_stages.difix.team import Team, assembled, bundles, laid_flat, own_device
from scenewright_stages.difix.tune import TuneStage, read_loss_table
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.pipeline import named_inputs
from scenewright_stages.reconstruct.pipeline import stages as reconstruct_stages
from scenewright_stages.worker.stage.ranks import own_gpu

__all__ = ["data"]
ALL_LICENCES = frozenset({"sai-nc-community", "nvidia-difix"})
FACTS = {"variant": "sd-turbo", "licence": "sai-nc-community", "uses_reference": True}
CORNER = np.array([0.0, 0.0])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    save_tiny_difix(folder / "stabilityai" / "sd-turbo")
    save_released(folder)
    save_vgg(folder)
    return folder


@pytest.fixture(scope="module")
def base(cache: Path) -> Path:
    return cache / "stabilityai" / "sd-turbo"


def save_released(cache: Path) -> None:
    """A fixer as released: its autoencoder is saved with skips and adapters, which learned something."""
    folder = save_tiny_difix(cache / "nvidia" / "difix_ref", seed=1)
    network = base_network(folder, seed=5)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in network.vae.named_parameters():
            if "lora" in name or "skip" in name:
                value.add_(0.05 * torch.randn(value.shape, generator=random))
    save_file(network.vae.state_dict(), folder / "vae" / "diffusion_pytorch_model.safetensors")


def params(**difix: object) -> FixerParams:
    return FixerParams(backend="difix", steps=10, batch=2, learning_rate=5e-5, difix=difix)


def both() -> tuple[torch.Tensor, torch.Tensor]:
    first, second = (torch.from_numpy(picture(seed).transpose(2, 0, 1)[None].copy()) for seed in (0, 1))
    return first, second


@pytest.fixture(scope="module")
def perception(cache: Path) -> Perception:
    return ModelPool().load(PERCEPTION, "lpips-vgg", ModelContext(cache, "cpu"))


def test_the_loss_is_the_weighted_sum_of_its_terms(perception: Perception) -> None:
    first, second = both()
    weights = DifixLossParams(l2=2.0, lpips=3.0, gram=0.5, gram_crop=32)
    squared = float((2 * first - 2 * second).square().mean())
    distance = float(perception.distance(first, second))
    textures = float(perception.texture_distance(first[..., :32, :32], second[..., :32, :32]))
    early = float(difix_loss(first, second, weights, perception, False, CORNER))
    late = float(difix_loss(first, second, weights, perception, True, CORNER))
    assert early == pytest.approx(2 * squared + 3 * distance, rel=1e-5)
    assert late == pytest.approx(2 * squared + 3 * distance + 0.5 * textures, rel=1e-5)
    assert 0.5 * textures > 1e-5 * late


def test_the_crop_of_textures_stays_within_the_picture() -> None:
    pictures = torch.arange(3 * 50 * 60).reshape(1, 3, 50, 60)
    assert cropped(pictures, 400, np.array([0.99, 0.99])).shape == (1, 3, 50, 60)
    assert cropped(pictures, 55, np.array([0.5, 0.999])).equal(pictures[..., 5:60])
    assert cropped(pictures, 32, np.array([0.999, 0.0])).equal(pictures[..., 18:50, :32])


class Counting:
    """A perception network that counts how often textures are asked for."""

    def __init__(self, inner: Perception) -> None:
        self.inner, self.textures, self.record, self.device = inner, 0, inner.record, inner.device

    def distance(self, pictures: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return self.inner.distance(pictures, truth)

    def texture_distance(self, pictures: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        self.textures += 1
        return self.inner.texture_distance(pictures, truth)

    def release(self) -> None:
        self.inner.release()


@pytest.mark.slow
def test_every_weight_learns_from_perceptual_terms_and_textures_count_late(
    base: Path, data: Path, perception: Perception
) -> None:
    pairs, counting = read_pairs(data, "train"), Counting(perception)
    chosen = params(losses={"l2": 0, "gramAfter": 1}).model_copy(update={"batch": 1})
    learner = DifixLearner(base_network(base, 1), chosen, 3, FACTS, counting)
    learner.step(1, pairs)
    assert counting.textures == 0
    learner.step(2, pairs)
    assert counting.textures == 1
    gradients = [each.grad for each in learner.network.parameters() if each.requires_grad]
    assert all(each is not None and bool(each.isfinite().all()) for each in gradients)


def test_a_loss_whose_weights_are_missing_is_refused(cache: Path, base: Path, data: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "cache"
    (lonely / "stabilityai").mkdir(parents=True)
    (lonely / "stabilityai" / "sd-turbo").symlink_to(base)
    for chosen in (params(), params(losses={"lpips": 0, "gramAfter": 3})):
        stage = fixer_stages(chosen)[0]
        assert stage.models.backends == {"fix": "difix", "perception": "lpips-vgg"}
        inputs = StageInputs({}, chosen, 3, tmp_path, named={"dataset": data}, state=NoState())
        with pytest.raises(MissingWeights, match=r"timm/vgg16\.tv_in1k"):
            TuneStage(StageContext(stage, chosen, ModelSettings(lonely, "cpu", ALL_LICENCES))).process(
                Sample("tuning"), inputs
            )
        with pytest.raises(ValueError, match="perception network"):
            DifixLearner(base_network(base, 1), chosen, 3, FACTS)
    # Textures that would count after the last step need nothing.
    assert fixer_stages(params(losses={"lpips": 0}))[0].models.backends == {"fix": "difix"}
    with pytest.raises(ValueError, match="nothing would be learned"):
        DifixLossParams(l2=0, lpips=0, gram=0)


@pytest.mark.slow
def test_compiling_changes_the_pace_and_not_the_steps(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In bfloat16 the order of channels alone moves a loss by 0.3 % on processors with such instructions.
    monkeypatch.setattr(torch, "autocast", lambda *_: nullcontext())
    pairs, chosen = read_pairs(data, "train"), params(losses={"lpips": 0, "gram": 0})
    plain, fast = (DifixLearner(base_network(base, 1), chosen, 3, FACTS) for _ in range(2))
    fast.compile(None, backend="eager")
    losses = [[each.step(number, pairs) for number in (1, 2)] for each in (plain, fast)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert fast.network.unet._compiled_call_impl is not None
    assert fast.mean.unet._compiled_call_impl is None
    # Fused optimisers want moments that lie as the weights do, also those of a state that was saved before.
    plain.save(tmp_path / "state.pt")
    fast.restore(tmp_path / "state.pt")
    moments = [(value, fast._optimiser.state[value]["exp_avg"]) for value in fast._learning]
    assert all(value.stride() == moment.stride() for value, moment in moments)
    assert any(not value.is_contiguous() for value, _ in moments)
    assert fast.step(3, pairs) == pytest.approx(plain.step(3, pairs), rel=1e-3)


@pytest.mark.slow
def test_latents_of_references_are_computed_once_and_change_no_bit(
    base: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = read_pairs(data, "train")[:2]
    # Both have one reference: it is seen as it is and mirrored.
    pairs = [replace(each, reference=second.target) for each in (first, second)]
    inner, counts, found = DifixNetwork.latents_of, list[int](), list[list[float]]()
    monkeypatch.setattr(DifixNetwork, "latents_of", lambda self, views: calls.append(1) or inner(self, views))  # type: ignore[func-returns-value]
    learners = [DifixLearner(base_network(base, 1), params(losses={"lpips": 0, "gram": 0}), 3, FACTS) for _ in range(2)]
    learners[1].references = KeptLatents(limit=0)
    for learner in learners:
        calls = list[int]()
        found.append([learner.step(number, pairs) for number in range(1, 5)])
        counts.append(len(calls))
    assert found[0] == found[1]
    for name, value in learners[0].mean.state_dict().items():
        assert value.equal(learners[1].mean.state_dict()[name]), name
    assert counts == [2, 8]


def test_views_that_were_encoded_before_are_seen_as_if_they_came_along(base: Path) -> None:
    network = base_network(base, 1)
    views = torch.stack([torch.from_numpy(picture(seed).transpose(2, 0, 1).copy()) for seed in (0, 50, 51)])[None]
    with torch.no_grad():
        together = network(views)
        apart = network(views[:, :1], network.latents_of(views[:, 1:]))
        other = network(views[:, :1], network.latents_of(views[:, 1:].flip(-1)))
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-5)
    assert float((other - together).abs().max()) > 1e-3


def test_kept_latents_are_bounded() -> None:
    kept, latents = KeptLatents(limit=100), torch.zeros(10)
    keys = [(Path(name), False, (8, 8)) for name in "abc"]
    for key in keys:
        kept.keep(key, latents)
        kept.keep(key, latents)
    assert [key in kept for key in keys] == [True, True, False]
    assert kept[keys[0]] is latents


def test_long_runs_on_a_gpu_are_compiled() -> None:
    auto, always, never = (params(compile=how).difix for how in ("auto", "always", "never"))
    assert auto.compiles("cuda", 1000)
    assert auto.compiles("cuda:1", 5000)
    assert not auto.compiles("cuda", 999)
    assert not auto.compiles("cpu", 5000)
    assert always.compiles("cuda", 1)
    assert not never.compiles("cuda", 5000)


@contextmanager
def second_rank(*arguments: str) -> Iterator[None]:
    """Rank 1 beside this process, which has to end well."""
    command = [sys.executable, second_rank_program.__file__, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    try:
        yield
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()


def test_gradients_are_exchanged_in_bundles() -> None:
    tensors = [torch.zeros(size) for size in (3, 1, 9, 2, 2, 1)]
    assert [[each.numel() for each in bundle] for bundle in bundles(tensors, 4)] == [[3, 1], [9], [2, 2], [1]]
    assert list(bundles([], 4)) == []


def test_what_is_exchanged_is_no_copy_however_it_lies() -> None:
    numbers = torch.arange(120.0).view(2, 3, 4, 5)
    for each in (numbers, numbers.clone(memory_format=torch.channels_last), torch.ones(3, 1, 1, 1), torch.tensor(2.0)):
        before, flat = each.clone(), laid_flat(each)
        flat += 1
        torch.testing.assert_close(each, before + 1)
        assert flat.shape == (each.numel(),)
    with pytest.raises(RuntimeError):
        laid_flat(numbers[:, ::2])


@pytest.mark.process
def test_processes_add_up_and_agree(tmp_path: Path) -> None:
    rendezvous = (tmp_path / "rendezvous").as_uri()
    with second_rank(rendezvous), assembled(Ranks(0, 2, rendezvous), "cpu") as team:
        tensors, total, agreed = second_rank_program.exchange(team)
    assert [tuple(each.shape) for each in tensors] == list(second_rank_program.SIZES)
    assert [each.unique().item() for each in tensors] == [3.0] * 3
    assert (total, agreed) == (1.5, (True, False))
    with assembled(Ranks(), "cpu") as alone:
        assert (alone.count, alone.total(2.0), alone.agreed(True, False)) == (1, 2.0, (True, False))
    assert (own_device("cuda", Ranks(1, 2)), own_device("cuda", Ranks()), own_device("cpu", Ranks(1, 2))) == (
        "cuda:0", "cuda", "cpu",
    )  # fmt: skip


def test_every_further_process_sees_its_own_gpu_as_the_first() -> None:
    """Compiled code names the number of its GPU: with other numbers every process would compile for itself."""
    assert own_gpu(1, {}) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert own_gpu(2, {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b,GPU-c"}) == {"CUDA_VISIBLE_DEVICES": "GPU-c"}
    assert own_gpu(1, {"CUDA_VISIBLE_DEVICES": ""}) == {}


@pytest.mark.slow
def test_the_shares_of_two_processes_add_up_to_the_gradient_of_one(base: Path, data: Path) -> None:
    """Sums are rounded in another order, so they agree to a millionth of the largest."""
    pairs = read_pairs(data, "train")
    chosen = params(losses={"lpips": 0, "gram": 0}).model_copy(update={"batch": 4})
    found = []
    for team in (Team(), Team(0, 2), Team(1, 2)):
        learner = DifixLearner(base_network(base, 1), chosen, 3, FACTS, team=team)
        loss = float(learner.gradients(pairs, 5))
        learned = [each.grad for each in learner.network.parameters() if each.grad is not None]
        found.append((loss, torch.cat([each.flatten() for each in learned])))
    (loss, whole), *shares = found
    assert sum(each for each, _ in shares) == pytest.approx(loss, rel=1e-6)
    together = torch.stack([each for _, each in shares]).sum(dim=0)
    torch.testing.assert_close(together, whole, rtol=0, atol=1e-6 * float(whole.abs().max()))
    assert float((shares[0][1] - shares[1][1]).abs().max()) > 0.01 * float(whole.abs().max())


@pytest.mark.proof
def test_two_processes_train_as_one_does(cache: Path, data: Path, tmp_path: Path) -> None:
    """Sums may be rounded otherwise: losses agree to 1e-5, and weights to a twentieth of what they moved.

    AdamW turns even the rounding of a gradient that should be 0 into a whole step, so single weights may differ.
    """
    alone = tune(cache, data, tmp_path / "alone", Ranks())
    rendezvous = (tmp_path / "rendezvous").as_uri()
    with second_rank(rendezvous, str(cache), str(data), str(tmp_path / "second")):
        together = tune(cache, data, tmp_path / "first", Ranks(0, 2, rendezvous))
    tables = [read_loss_table(Path(str(each.outputs["loss"]))) for each in (alone, together)]
    np.testing.assert_allclose(*(np.array(table)[:, :2] for table in tables), rtol=1e-5)
    files = [load_file(Path(str(each.outputs["checkpoints"])) / "model_2.safetensors") for each in (alone, together)]
    start = base_network(cache / "stabilityai" / "sd-turbo", 3).state_dict()
    one, other, before = (
        torch.cat([each[name].flatten() for name in sorted(files[0])]) for each in (*files, start)
    )  # fmt: skip
    moved = float((one - before).abs().mean())
    assert moved > 0
    assert float((one - other).abs().mean()) < moved / 20


def test_the_network_of_a_released_fixer_is_read_with_its_adapters(cache: Path) -> None:
    folder = cache / "nvidia" / "difix_ref"
    network = base_network(folder, seed=9)
    saved = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert any(name.endswith("skip_conv_1.lora_B.vae_skip.weight") for name in saved)
    for name, value in network.vae.state_dict().items():
        assert value.equal(saved[name]), name


def view() -> FlawedView:
    return replace(FlawedView.alone(picture(0)), reference=picture(50))


def test_a_released_fixer_serves_without_a_checkpoint(cache: Path) -> None:
    context = ModelContext(cache, "cpu", ALL_LICENCES, "difix_ref")
    fixer = ModelPool().load(FIX, "difix", context)
    assert (fixer.record.weights_id, fixer.record.licence) == ("nvidia/difix_ref", "nvidia-difix")
    expected = run_difix(base_network(cache / "nvidia" / "difix_ref", 0), view())
    np.testing.assert_allclose(fixer.fix(view()), expected, atol=1e-4)
    with pytest.raises(LicenceNotAccepted, match="nvidia-difix"):
        ModelPool().load(FIX, "difix", replace(context, accepted_licences=frozenset({"sai-nc-community"})))


def test_a_reconstruction_needs_no_run_where_the_fixer_was_released() -> None:
    block = {"rounds": 1, "backend": "difix", "variant": "difix_ref"}
    chosen = ReconstructParams.model_validate({"difix": block})
    assert named_inputs(chosen) == ()
    (fixing,) = (stage for stage in reconstruct_stages(chosen) if stage.name == "difix")
    assert (fixing.inputs, fixing.models.backends) == ((), {"fix": "difix"})
    tuned = ReconstructParams.model_validate({"difix": {**block, "tuningRun": {"name": "one"}}})
    assert [each.object for each in named_inputs(tuned)] == ["one"]
    for wrong in ({**block, "variant": ""}, {**block, "variant": "sd-turbo"}, {"rounds": 1}):
        with pytest.raises(ValueError, match="needs a fixer"):
            ReconstructParams.model_validate({"difix": wrong})


def test_a_run_inherits_the_licence_of_what_it_began_from(cache: Path, data: Path, tmp_path: Path) -> None:
    chosen = FixerParams(
        backend="difix", variant="difix_ref", steps=1, batch=1, learning_rate=5e-5, use_reference=False,
        difix=DifixTuningParams(losses=DifixLossParams(lpips=0, gram=0)),
    )  # fmt: skip
    settings = ModelSettings(cache, "cpu", ALL_LICENCES)
    inputs = StageInputs({}, chosen, 3, tmp_path, named={"dataset": data}, state=NoState())
    result = TuneStage(StageContext(fixer_stages(chosen)[0], chosen, settings)).process(Sample("tuning"), inputs)
    assert [use.licence for use in result.backends] == ["nvidia-difix"]
    assert '"licence": "nvidia-difix"' in Path(str(result.outputs["config"])).read_text()
    path = Path(str(result.outputs["checkpoints"])) / "model_1.safetensors"
    context = ModelContext(cache, "cpu", ALL_LICENCES, "difix_ref", options={"checkpoint": str(path)})
    fixer = ModelPool().load(FIX, "difix", context)
    assert fixer.record.licence == "nvidia-difix"
    # It never learned from references, so it is shown none.
    np.testing.assert_allclose(fixer.fix(view()), fixer.fix(replace(view(), reference=None)), atol=1e-5)
    with pytest.raises(UnsupportedOption, match="difix_ref: model_1"):
        ModelPool().load(FIX, "difix", replace(context, variant="sd-turbo"))


def test_adapters_of_another_kind_are_refused(cache: Path, tmp_path: Path) -> None:
    folder = save_tiny_difix(tmp_path / "difix_ref")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(path), "decoder.conv_in.lora_A.other.weight": torch.zeros(1)}, path)
    with pytest.raises(BrokenWeights, match="difix_ref"):
        base_network(folder, 0)


def upstream_parameters(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """As upstream's trainer lists them: U-Net, adapters, and the skips with their adapters once more."""
    vae, found = network.vae, list(network.unet.parameters())
    found += [value for name, value in vae.named_parameters() if "lora" in name and "vae_skip" in name]
    for number in range(1, 5):
        found += list(getattr(vae.decoder, f"skip_conv_{number}").parameters())
    return found


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
@pytest.mark.slow
def test_upstreams_optimiser_continues_from_the_pickle(base: Path, data: Path, tmp_path: Path) -> None:
    kept = params(losses={"lpips": 0, "gram": 0}, keepOptimiser=True)
    learner = DifixLearner(base_network(base, 1), kept, 3, FACTS)
    learner.step(1, read_pairs(data, "train"))
    learner.write_checkpoint(tmp_path, 1)
    pickle = torch.load(tmp_path / "model_1.pkl", weights_only=True)
    other = base_network(base, 2)
    parameters = upstream_parameters(other)
    optimiser = torch.optim.AdamW(parameters, lr=1e-6)
    expected = optimiser.state_dict()["param_groups"][0]["params"]
    assert pickle["optimizer"]["param_groups"][0]["params"] == expected
    optimiser.load_state_dict(pickle["optimizer"])
    own = {name: learner._optimiser.state[value] for name, value in learner.network.named_parameters()
           if value in learner._optimiser.state}  # fmt: skip
    read = {name: optimiser.state[value] for name, value in other.named_parameters() if value in optimiser.state}
    assert set(own) == set(read) == set(upstream_order(other))
    for name, state in own.items():
        assert all(torch.equal(value, read[name][key]) for key, value in state.items()), name


def test_without_being_asked_the_pickle_holds_no_moments(base: Path, data: Path, tmp_path: Path) -> None:
    learner = DifixLearner(base_network(base, 1), params(losses={"lpips": 0, "gram": 0}), 3, FACTS)
    learner.step(1, read_pairs(data, "train"))
    learner.write_checkpoint(tmp_path, 1)
    assert torch.load(tmp_path / "model_1.pkl", weights_only=True)["optimizer"]["state"] == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backend": "difix", "learningRate": 1e-5, "difix": {"nodes": 2}}, "several machines is not supported yet"),
        ({"difix": {"gpus": 2}}, "must be 1 for classic"),
        ({"backend": "difix", "learningRate": 1e-5, "batch": 3, "difix": {"gpus": 4}}, "every GPU takes a picture"),
        ({"variant": "difix"}, "classic learns from nothing"),
    ],
)
def test_what_cannot_be_trained_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FixerParams.model_validate(wrong)


def test_a_pod_has_a_gpu_for_every_process() -> None:
    tuning, evaluating = fixer_stages(params(gpus=2))
    assert (tuning.pod.processes, tuning.pod.gpus, evaluating.pod.gpus) == (2, 2, 1)
    assert tuning.pod.resources.cpu == 2 * evaluating.pod.resources.cpu
