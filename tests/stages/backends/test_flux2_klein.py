"""FLUX.2 klein with tiny random weights in the published format: what it is shown, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_klein import LATENT_CHANNELS, save_tiny_klein

from scenewright_stages.backends.inpaint import flux2_klein
from scenewright_stages.backends.inpaint.facts import KLEIN_4B
from scenewright_stages.backends.inpaint.flux2_klein import (
    INSTRUCTION,
    KleinInpainter,
    fitting_size,
    instruction_of,
    whole_patches,
)
from scenewright_stages.backends.inpaint.interface import INPAINT, OUTPAINT
from scenewright_stages.backends.runtime.errors import MissingWeights, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.backends.runtime.registry import find_backend
from scenewright_stages.backends.text_to_image.interface import TEXT_TO_IMAGE
from scenewright_stages.pipelines import pipelines

HEIGHT, WIDTH = 48, 64
IMAGE = np.random.default_rng(0).random((HEIGHT, WIDTH, 3), dtype=np.float32)
HOLE = np.zeros((HEIGHT, WIDTH), np.bool_)
HOLE[16:40, 24:56] = True


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    save_tiny_klein(root / KLEIN_4B.id)
    return root


def load(cache: Path, **options: Any) -> KleinInpainter:
    context = ModelContext(cache, device="cpu", options={"precision": "fp32", **options})
    inpainter = ModelPool().load(OUTPAINT, "flux2-klein", context)
    assert isinstance(inpainter, KleinInpainter)
    return inpainter


@pytest.fixture(scope="module")
def inpainter(cache: Path) -> KleinInpainter:
    return load(cache)


def test_known_pixels_are_untouched_and_the_hole_is_painted(inpainter: KleinInpainter) -> None:
    filled = inpainter.fill(IMAGE, HOLE, seed=1)
    assert (filled.dtype, filled.shape) == (np.float32, IMAGE.shape)
    np.testing.assert_array_equal(filled[~HOLE], IMAGE[~HOLE])
    assert filled[HOLE].std() > 0.005
    np.testing.assert_array_equal(filled, inpainter.fill(IMAGE, HOLE, seed=1))
    assert not np.array_equal(filled, inpainter.fill(IMAGE, HOLE, seed=2))
    assert not np.array_equal(filled, inpainter.fill(IMAGE, HOLE, "a red door", seed=1))


def test_what_lies_under_the_hole_is_not_seen_but_what_lies_around_it_is(inpainter: KleinInpainter) -> None:
    filled = inpainter.fill(IMAGE, HOLE, seed=1)
    hidden = np.where(HOLE[..., None], np.float32(np.nan), IMAGE)
    np.testing.assert_array_equal(filled, inpainter.fill(hidden, HOLE, seed=1))
    inverted = np.where(HOLE[..., None], IMAGE, 1 - IMAGE).astype(np.float32)
    assert not np.allclose(filled[HOLE], inpainter.fill(inverted, HOLE, seed=1)[HOLE], atol=1e-4)


def test_it_is_what_the_published_pipeline_paints(inpainter: KleinInpainter, cache: Path) -> None:
    from diffusers import Flux2KleinInpaintPipeline

    pipeline = Flux2KleinInpaintPipeline.from_pretrained(cache / KLEIN_4B.id)
    pipeline.set_progress_bar_config(disable=True)
    grown = whole_patches(HOLE, 16)
    shown = np.where(HOLE[..., None], np.uint8(128), np.rint(IMAGE * 255).astype(np.uint8))
    exact = (np.where(HOLE[..., None], 0.5, shown / 255)).astype(np.float32)
    noise = torch.randn((1, 4 * LATENT_CHANNELS, HEIGHT // 16, WIDTH // 16), generator=torch.Generator().manual_seed(3))
    painted = pipeline(
        prompt=INSTRUCTION,
        image=Image.fromarray(shown),
        mask_image=Image.fromarray(grown.astype(np.uint8) * np.uint8(255)),
        strength=1.0,
        num_inference_steps=4,
        guidance_scale=1.0,
        latents=noise,
        output_type="np",
    ).images[0]
    # The published call rounds the picture, and with it the grey of the hole, to bytes.
    np.testing.assert_allclose(inpainter.fill(exact, HOLE, seed=3)[HOLE], painted[HOLE], atol=2e-3)


@pytest.mark.parametrize(("height", "width"), [(33, 47), (16, 100)])
def test_any_size_is_padded_and_cut(inpainter: KleinInpainter, height: int, width: int) -> None:
    image = np.full((height, width, 3), 0.25, np.float32)
    hole = np.zeros((height, width), np.bool_)
    hole[:, -7:] = True
    filled = inpainter.fill(image, hole)
    assert filled.shape == image.shape
    np.testing.assert_array_equal(filled[~hole], image[~hole])


def test_a_large_picture_is_filled_small_and_enlarged(
    inpainter: KleinInpainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flux2_klein, "LARGEST_AREA", 32 * 32)
    filled = inpainter.fill(IMAGE, HOLE, seed=1)
    np.testing.assert_array_equal(filled[~HOLE], IMAGE[~HOLE])
    assert np.isfinite(filled).all() and filled[HOLE].std() > 0


def test_sizes_keep_their_proportions_and_fit() -> None:
    assert fitting_size(512, 384, 1024 * 1024, 16) == (512, 384)
    for width, height in ((4000, 3000), (1025, 1024), (5000, 300)):
        found = fitting_size(width, height, 1024 * 1024, 16)
        assert np.prod([-(-side // 16) * 16 for side in found]) <= 1024 * 1024
        assert found[0] * found[1] > 0.9 * 1024 * 1024
        assert found[0] / found[1] == pytest.approx(width / height, rel=0.01)


def test_a_prompt_follows_the_instruction_about_the_hole() -> None:
    assert instruction_of("  ") == INSTRUCTION
    assert instruction_of("a beach").startswith(INSTRUCTION) and instruction_of("a beach").endswith("a beach")


def test_the_text_encoder_is_loaded_once_for_each_prompt(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = flux2_klein.encode_instruction
    monkeypatch.setattr(
        flux2_klein, "encode_instruction", lambda folder, text, *rest: (seen.append(text), real(folder, text, *rest))[1]
    )
    inpainter = load(cache, steps=1)
    for prompt in ("", "a", "", "a"):
        inpainter.fill(IMAGE, HOLE, prompt)
    assert seen == [INSTRUCTION, instruction_of("a")]
    inpainter.release()
    with pytest.raises(RuntimeError, match="released"):
        inpainter.fill(IMAGE, HOLE)


def test_a_text_becomes_the_picture_that_the_published_pipeline_draws(cache: Path) -> None:
    from diffusers import Flux2KleinPipeline

    context = ModelContext(cache, device="cpu", options={"precision": "fp32"})
    drawer = ModelPool().load(TEXT_TO_IMAGE, "flux2-klein", context)
    drawn = drawer.draw("a red door", 64, seed=5)
    pipeline = Flux2KleinPipeline.from_pretrained(cache / KLEIN_4B.id)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((1, 4 * LATENT_CHANNELS, 4, 4), generator=torch.Generator().manual_seed(5))
    golden = pipeline(
        prompt="a red door", height=64, width=64, num_inference_steps=4, guidance_scale=1.0, latents=noise,
        output_type="np",
    ).images[0]  # fmt: skip
    np.testing.assert_allclose(drawn, golden, atol=1e-5)
    assert drawer.draw("a red door", 40).shape == (40, 40, 3)
    assert not np.array_equal(drawn, drawer.draw("a red door", 64, seed=6))
    with pytest.raises(UnsupportedOption, match="steps"):
        ModelPool().load(TEXT_TO_IMAGE, "flux2-klein", ModelContext(cache, device="cpu", options={"steps": 0}))
    drawer.release()
    with pytest.raises(RuntimeError, match="released"):
        drawer.draw("a red door", 64)


def test_options_and_weights_are_checked(cache: Path, tmp_path: Path) -> None:
    for options, named in (({"steps": 0}, "flux2-klein.steps"), ({"precision": "fp8"}, "flux2-klein.precision")):
        with pytest.raises(UnsupportedOption, match=named):
            load(cache, **options)
    with pytest.raises(UnsupportedOption, match="guidance"):
        load(cache, guidance=3.0)
    with pytest.raises(MissingWeights, match=r"FLUX\.2-klein-4B"):
        load(tmp_path)


def test_facts_allow_commercial_use_and_every_pipeline_that_fills_offers_it(cache: Path) -> None:
    record = load(cache).record
    assert (record.weights_id, record.licence, record.non_commercial) == (KLEIN_4B.id, "apache-2.0", False)
    assert isinstance(ModelPool().load(INPAINT, "flux2-klein", ModelContext(cache, device="cpu")), KleinInpainter)
    for capability in ("inpaint", "outpaint"):
        facts = find_backend(capability, "flux2-klein")
        assert facts and facts.gpu_memory(precision="fp8") < facts.gpu_memory() < facts.gpu_memory(precision="fp32")
        assert [weights.id for sets in facts.weights.values() for weights in sets] == [KLEIN_4B.id]
    known = pipelines(built_in=True)
    known["vistadream"].parse(
        {"outpaint": {"backend": "flux2-klein"}, "coarse": {"inpaint": {"backend": "flux2-klein"}}}
    )
    known["referenceObject"].parse({"scenes": {"backend": "flux2-klein"}})
    known["worldexplorer"].parse({"scaffold": {"method": "scaffoldGen", "gaps": {"backend": "flux2-klein"}}})
