"""FLUX Fill with tiny random weights in the published format: what the model is shown, and what comes back."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_flux import LATENT_CHANNELS, POOLED_WIDTH, SEQUENCE_WIDTH, save_tiny_flux
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from scenewright.cli.commands.models import empty_prompt_command
from scenewright_stages.backends.inpaint.flux_fill import FluxFillInpainter, pad_to_multiple
from scenewright_stages.backends.inpaint.flux_prompts import EMPTY_PROMPT_FILE, encode_prompt, store_empty_prompt
from scenewright_stages.backends.inpaint.interface import OUTPAINT
from scenewright_stages.backends.runtime.acceleration import compile_blocks, is_block_linear, keep_compile_cache
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.contract.errors import ConfigurationError

FOLDER = Path("black-forest-labs") / "FLUX.1-Fill-dev"
LICENCE = "flux-1-dev-non-commercial"
HEIGHT, WIDTH, STEPS = 48, 64, 2

IMAGE = np.random.default_rng(0).random((HEIGHT, WIDTH, 3), dtype=np.float32)
HOLE = np.zeros((HEIGHT, WIDTH), np.bool_)
HOLE[16:40, 24:56] = True


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model cache that holds the required files and the empty prompt's embedding."""
    root = tmp_path_factory.mktemp("cache")
    save_tiny_flux(root / FOLDER)
    return root


@pytest.fixture(scope="module")
def cache_with_encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache-with-encoders")
    (root / FOLDER.parent).mkdir()
    save_tiny_flux(root / FOLDER, with_encoders=True)
    return root


def _load(cache: Path, **options: Any) -> FluxFillInpainter:
    options = {"precision": "fp32", "steps": STEPS, **options}
    context = ModelContext(cache, device="cpu", accepted_licences=frozenset({LICENCE}), options=options)
    inpainter = ModelPool().load(OUTPAINT, "flux-fill", context)
    assert isinstance(inpainter, FluxFillInpainter)
    return inpainter


@pytest.fixture(scope="module")
def inpainter(cache: Path) -> FluxFillInpainter:
    return _load(cache)


def test_known_pixels_are_untouched_and_the_hole_is_painted(inpainter: FluxFillInpainter) -> None:
    filled = inpainter.fill(IMAGE, HOLE, seed=1)
    assert (filled.dtype, filled.shape) == (np.float32, IMAGE.shape)
    np.testing.assert_array_equal(filled[~HOLE], IMAGE[~HOLE])
    assert filled[HOLE].std() > 0.02
    assert not np.array_equal(filled[HOLE], IMAGE[HOLE])


def test_same_seed_same_bytes_another_seed_others(inpainter: FluxFillInpainter) -> None:
    first = inpainter.fill(IMAGE, HOLE, seed=2**70 + 1)
    np.testing.assert_array_equal(first, inpainter.fill(IMAGE, HOLE, seed=2**70 + 1))
    assert not np.array_equal(first, inpainter.fill(IMAGE, HOLE, seed=2))


def test_a_fill_waits_for_that_of_another_thread(inpainter: FluxFillInpainter, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [inpainter.fill(IMAGE, HOLE, seed=seed) for seed in (1, 2)]
    real, running, beside, found = inpainter._sample, [0], [], {}

    def sample(*request: Any) -> Any:
        running[0] += 1
        beside.append(running[0])
        if len(beside) == 1:
            other.start()
            other.join(0.5)
        filled = real(*request)
        running[0] -= 1
        return filled

    monkeypatch.setattr(inpainter, "_sample", sample)
    other = threading.Thread(target=lambda: found.update(other=inpainter.fill(IMAGE, HOLE, seed=2)))
    np.testing.assert_array_equal(inpainter.fill(IMAGE, HOLE, seed=1), alone[0])
    other.join()
    np.testing.assert_array_equal(found["other"], alone[1])
    assert beside == [1, 1]


def test_what_lies_under_the_hole_is_not_seen_but_what_lies_around_it_is(inpainter: FluxFillInpainter) -> None:
    filled = inpainter.fill(IMAGE, HOLE, seed=1)
    hidden = np.where(HOLE[..., None], np.float32(np.nan), IMAGE)
    np.testing.assert_array_equal(filled, inpainter.fill(hidden, HOLE, seed=1))
    other_surroundings = np.where(HOLE[..., None], IMAGE, 1 - IMAGE).astype(np.float32)
    assert not np.allclose(filled[HOLE], inpainter.fill(other_surroundings, HOLE, seed=1)[HOLE], atol=1e-3)


def _reference(cache: Path, mask: np.ndarray, seed: int) -> np.ndarray:
    """The published pipeline called as its documentation does, with a PIL-like image and mask."""
    from diffusers import FluxFillPipeline

    absent = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    pipeline = FluxFillPipeline.from_pretrained(cache / FOLDER, **absent)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    patches = HEIGHT // 16 * (WIDTH // 16)
    images = pipeline(
        image=np.where(mask[..., None], 0.5, IMAGE)[None],
        mask_image=mask.astype(np.float32)[None],
        height=HEIGHT,
        width=WIDTH,
        latents=torch.randn(1, patches, 4 * LATENT_CHANNELS, generator=generator),
        prompt_embeds=torch.zeros(1, 512, SEQUENCE_WIDTH),
        pooled_prompt_embeds=torch.zeros(1, POOLED_WIDTH),
        num_inference_steps=STEPS,
        guidance_scale=30.0,
        generator=generator,
        output_type="np",
    ).images
    return np.asarray(images[0])


def test_the_fill_is_the_published_pipelines_with_white_as_hole(cache: Path, inpainter: FluxFillInpainter) -> None:
    filled = inpainter.fill(IMAGE, HOLE, seed=5)
    np.testing.assert_allclose(filled[HOLE], _reference(cache, HOLE, 5)[HOLE], atol=1e-5)
    inverted = _reference(cache, ~HOLE, 5)
    assert np.abs(filled[HOLE] - inverted[HOLE]).max() > 1e-2


def test_steps_and_guidance_reach_the_model(cache: Path, inpainter: FluxFillInpainter) -> None:
    filled = inpainter.fill(IMAGE, HOLE, seed=1)
    assert not np.array_equal(filled, _load(cache, steps=STEPS + 1).fill(IMAGE, HOLE, seed=1))
    assert not np.array_equal(filled, _load(cache, guidance=2.0).fill(IMAGE, HOLE, seed=1))


@pytest.mark.parametrize("size", [(48, 64), (45, 64), (47, 50), (33, 17)])
def test_any_size_is_padded_and_cut_back(inpainter: FluxFillInpainter, size: tuple[int, int]) -> None:
    image, hole = IMAGE[: size[0], : size[1]], HOLE[: size[0], : size[1]].copy()
    hole[-4:, -4:] = True
    filled = inpainter.fill(np.ascontiguousarray(image), hole, seed=1)
    assert filled.shape == (*size, 3)
    np.testing.assert_array_equal(filled[~hole], image[~hole])


def test_padding_repeats_the_border_of_image_and_hole() -> None:
    image, hole = pad_to_multiple(IMAGE[:45, :50], HOLE[:45, :50], 16)
    assert image.shape == (48, 64, 3)
    np.testing.assert_array_equal(image[45:, :50], np.repeat(IMAGE[44:45, :50], 3, axis=0))
    np.testing.assert_array_equal(hole[:45, 50:], np.repeat(HOLE[:45, 49:50], 14, axis=1))


def test_no_hole_gives_a_copy_and_only_holes_are_refused(inpainter: FluxFillInpainter) -> None:
    copy = inpainter.fill(IMAGE, np.zeros_like(HOLE))
    assert copy is not IMAGE
    np.testing.assert_array_equal(copy, IMAGE)
    with pytest.raises(ValueError, match="every pixel"):
        inpainter.fill(IMAGE, np.ones_like(HOLE))


def test_the_record_names_weights_licence_and_text_conditioning(inpainter: FluxFillInpainter) -> None:
    record = inpainter.record
    assert (record.backend, record.weights_id) == ("flux-fill", "black-forest-labs/FLUX.1-Fill-dev")
    assert (record.licence, record.non_commercial, record.precision) == (LICENCE, True, "fp32")
    assert record.revision.startswith("local-")
    assert "stored embeddings of the empty prompt" in record.notes


@pytest.mark.parametrize("folder", [FOLDER, Path("models--black-forest-labs--FLUX.1-Fill-dev", "snapshots", "0" * 40)])
def test_without_encoders_and_without_the_empty_prompts_embedding_the_weights_are_refused(
    tmp_path: Path, folder: Path
) -> None:
    (save_tiny_flux(tmp_path / folder) / EMPTY_PROMPT_FILE).unlink()
    if folder != FOLDER:
        (tmp_path / folder.parts[0] / "refs").mkdir()
        (tmp_path / folder.parts[0] / "refs" / "main").write_text(folder.name)
    with pytest.raises(ConfigurationError, match=r"--store-empty-prompt black-forest-labs/FLUX\.1-Fill-dev"):
        _load(tmp_path)


def test_a_prompt_without_text_encoders_is_refused_not_ignored(inpainter: FluxFillInpainter) -> None:
    with pytest.raises(ConfigurationError, match="no text encoders"):
        inpainter.fill(IMAGE, HOLE, prompt="a red door", seed=1)


@pytest.mark.slow
def test_text_encoders_in_the_cache_are_used(cache_with_encoders: Path) -> None:
    inpainter = _load(cache_with_encoders)
    empty, door = (inpainter.fill(IMAGE, HOLE, prompt=prompt, seed=1) for prompt in ("", "a red door"))
    assert not np.array_equal(empty, door)
    assert "T5 and CLIP" in inpainter.record.notes


@pytest.mark.slow
def test_stored_embeddings_of_the_empty_prompt_replace_the_encoders(cache_with_encoders: Path, tmp_path: Path) -> None:
    source = cache_with_encoders / FOLDER
    stored = store_empty_prompt(source)
    save_tiny_flux(tmp_path / FOLDER)
    (tmp_path / FOLDER / EMPTY_PROMPT_FILE).write_bytes(stored.read_bytes())
    stored.unlink()
    inpainter = _load(tmp_path)
    assert "stored embeddings" in inpainter.record.notes
    truth = encode_prompt(source, "", "cpu", torch.bfloat16)
    found = inpainter._prompts.encode("", "cpu", torch.bfloat16)
    assert torch.equal(found.sequence, truth.sequence)
    assert torch.equal(found.pooled, truth.pooled)
    assert found.sequence.shape == (1, 512, SEQUENCE_WIDTH)
    assert found.sequence.abs().max() > 0


def test_the_command_stores_the_embedding_and_refuses_where_there_are_no_encoders(
    cache: Path, cache_with_encoders: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def process(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", store_empty_prompt.__module__]
        store_empty_prompt(Path(command[3]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("scenewright.cli.commands.models.subprocess.run", process)
    monkeypatch.setenv("SCENEWRIGHT_MODEL_CACHE", str(cache))
    assert empty_prompt_command(str(FOLDER)) == 10
    assert "--fetch" in capfd.readouterr().err
    monkeypatch.setenv("SCENEWRIGHT_MODEL_CACHE", str(cache_with_encoders))
    stored = cache_with_encoders / FOLDER / EMPTY_PROMPT_FILE
    stored.unlink(missing_ok=True)
    assert empty_prompt_command(str(FOLDER)) == 0
    assert stored.is_file()
    stored.unlink()


def test_weights_that_answer_nan_are_a_failure_of_the_sample(cache: Path) -> None:
    inpainter = _load(cache)
    with torch.no_grad():
        inpainter._pipeline.transformer.proj_out.weight.fill_(float("nan"))
    with pytest.raises(BackendContractError, match="not finite"):
        inpainter.fill(IMAGE, HOLE, seed=1)


@pytest.mark.parametrize("options", [{"precision": "fp8"}, {"offload": "model"}, {"steps": 0}])
def test_options_that_cannot_work_on_a_cpu_are_refused(cache: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOption):
        _load(cache, **options)


@pytest.mark.slow
def test_compiled_blocks_give_the_same_fill(cache: Path, inpainter: FluxFillInpainter) -> None:
    compiled = _load(cache)
    transformer = compiled._pipeline.transformer
    compile_blocks(transformer, None, backend="eager")
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    assert all(block._compiled_call_impl is not None for block in blocks)
    assert transformer._compiled_call_impl is None
    np.testing.assert_allclose(compiled.fill(IMAGE, HOLE, seed=1), inpainter.fill(IMAGE, HOLE, seed=1), atol=1e-5)


def test_the_compile_cache_lies_in_the_model_cache_by_toolchain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PyTorch writes its own default there when its compiler is imported, which is nobody's choice.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    folder = keep_compile_cache(tmp_path)
    assert folder is not None
    assert folder.is_relative_to(tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/chosen")
    assert keep_compile_cache(tmp_path) == folder
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/chosen"
    assert torch.__version__ in folder.name
    unwritable = tmp_path / "file"
    unwritable.write_text("not a folder")
    assert keep_compile_cache(unwritable) is None


def test_only_the_large_matrices_inside_blocks_become_float8(inpainter: FluxFillInpainter) -> None:
    transformer = inpainter._pipeline.transformer
    chosen = {name for name, module in transformer.named_modules() if is_block_linear(module, name)}
    assert "transformer_blocks.0.attn.to_q" in chosen
    assert "transformer_blocks.0.norm1.linear" in chosen
    assert "single_transformer_blocks.0.proj_mlp" in chosen
    assert not {"x_embedder", "context_embedder", "proj_out", "norm_out.linear"} & chosen
    assert not is_block_linear(torch.nn.Linear(17, 32), "transformer_blocks.0.odd")


def test_a_released_model_is_gone(cache: Path) -> None:
    inpainter = _load(cache)
    inpainter.release()
    with pytest.raises(RuntimeError, match="released"):
        inpainter.fill(IMAGE, HOLE)
