"""Models that draw from texts, fill holes and rate pictures, with tiny random weights in the published formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_drawing import save_tiny_drawing

from scenewright_stages.backends.inpaint.facts import SD2_INPAINTING
from scenewright_stages.backends.inpaint.interface import INPAINT, FillGuide, Inpainter
from scenewright_stages.backends.inpaint.sd2 import Sd2Inpainter
from scenewright_stages.backends.runtime.errors import BackendContractError, LicenceNotAccepted, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.backends.similarity.clip import DEVIATION, MEAN, ClipSimilarity
from scenewright_stages.backends.similarity.facts import CLIP_B16
from scenewright_stages.backends.similarity.interface import SIMILARITY
from scenewright_stages.backends.text_to_image.facts import FLUX
from scenewright_stages.backends.text_to_image.flux import FluxDrawer
from scenewright_stages.backends.text_to_image.interface import TEXT_TO_IMAGE

LICENCES = frozenset({FLUX.licence})
IMAGE = np.random.default_rng(0).random((48, 56, 3), dtype=np.float32)
HOLE = np.zeros((48, 56), np.bool_)
HOLE[12:40, 20:44] = True


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_drawing(tmp_path_factory.mktemp("cache"))


def context(cache: Path, **options: Any) -> ModelContext:
    return ModelContext(cache, device="cpu", accepted_licences=LICENCES, options=options)


def flux(cache: Path, **options: Any) -> FluxDrawer:
    drawer = ModelPool().load(TEXT_TO_IMAGE, "flux", context(cache, **{"precision": "fp32", "steps": 2, **options}))
    assert isinstance(drawer, FluxDrawer)
    return drawer


def sd2(cache: Path, **options: Any) -> Sd2Inpainter:
    inpainter = ModelPool().load(INPAINT, "sd2-inpaint", context(cache, **{"steps": 2, **options}))
    assert isinstance(inpainter, Sd2Inpainter) and isinstance(inpainter, Inpainter)
    return inpainter


def clip(cache: Path) -> ClipSimilarity:
    model = ModelPool().load(SIMILARITY, "clip", context(cache))
    assert isinstance(model, ClipSimilarity)
    return model


@pytest.mark.slow
def test_a_text_becomes_a_picture_of_the_size_that_was_asked_for(cache: Path) -> None:
    drawer = flux(cache)
    first = drawer.draw("a red door", 40, seed=2**70 + 3)
    assert first.shape == (40, 40, 3) and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 1 and first.std() > 0.02
    np.testing.assert_array_equal(first, drawer.draw("a red door", 40, seed=2**70 + 3))
    assert np.abs(first - drawer.draw("a red door", 40, seed=4)).max() > 0.01
    assert np.abs(first - drawer.draw("a sea", 40, seed=2**70 + 3)).max() > 1e-4
    assert drawer.record.weights_id == FLUX.id and drawer.record.licence == FLUX.licence


def test_it_is_the_published_pipelines_picture(cache: Path) -> None:
    from diffusers import FluxPipeline

    pipeline = FluxPipeline.from_pretrained(cache / FLUX.id)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((1, 9, 16), generator=torch.Generator().manual_seed(5))
    (expected,) = pipeline(
        "a red door", height=48, width=48, latents=noise, num_inference_steps=2, guidance_scale=3.5, output_type="np"
    ).images
    np.testing.assert_allclose(flux(cache).draw("a red door", 48, seed=5), expected, atol=1e-5)


def test_drawing_needs_its_licence_by_name(cache: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match=r"models\.acceptLicenses.*flux-1-dev-non-commercial"):
        ModelPool().load(TEXT_TO_IMAGE, "flux", ModelContext(cache, device="cpu"))


def test_known_pixels_stay_and_the_hole_is_filled(cache: Path) -> None:
    inpainter = sd2(cache)
    filled = inpainter.fill(IMAGE, HOLE, "a sea", seed=1)
    assert filled.dtype == np.float32 and filled.shape == IMAGE.shape
    np.testing.assert_array_equal(filled[~HOLE], IMAGE[~HOLE])
    assert filled[HOLE].std() > 0.02
    np.testing.assert_array_equal(filled, inpainter.fill(IMAGE, HOLE, "a sea", seed=1))
    others = [inpainter.fill(IMAGE, HOLE, "a sea", seed=2), inpainter.fill(IMAGE, HOLE, "a red door", seed=1)]
    others.append(inpainter.fill(IMAGE, HOLE, "a sea", seed=1, guide=FillGuide(guidance=12.0)))
    for other in others:
        assert np.abs(filled[HOLE] - other[HOLE]).max() > 1e-5
    hidden = np.where(HOLE[..., None], np.float32(np.nan), IMAGE)
    np.testing.assert_array_equal(filled, inpainter.fill(hidden, HOLE, "a sea", seed=1))


def test_the_fill_is_the_published_pipelines_with_white_as_hole(cache: Path) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(cache / SD2_INPAINTING.id, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    (expected,) = pipeline(
        prompt="a sea",
        negative_prompt="text",
        image=np.where(HOLE[..., None], 0.5, IMAGE)[None],
        mask_image=HOLE.astype(np.float32)[None],
        height=48,
        width=56,
        num_inference_steps=2,
        guidance_scale=9.0,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).images
    filled = sd2(cache, negative="text").fill(IMAGE, HOLE, "a sea", seed=7, guide=FillGuide(guidance=9.0))
    np.testing.assert_allclose(filled[HOLE], expected[HOLE], atol=1e-4)


@pytest.mark.parametrize("size", [(48, 56), (45, 51), (33, 17)])
def test_any_size_is_padded_and_cut_back(cache: Path, size: tuple[int, int]) -> None:
    image, hole = np.ascontiguousarray(IMAGE[: size[0], : size[1]]), np.zeros(size, np.bool_)
    hole[-4:, -4:] = True
    filled = sd2(cache, steps=1).fill(image, hole)
    assert filled.shape == (*size, 3)
    np.testing.assert_array_equal(filled[~hole], image[~hole])


def test_weights_that_answer_nan_are_a_failure_of_the_sample(cache: Path) -> None:
    inpainter = sd2(cache, steps=1)
    with torch.no_grad():
        inpainter._held.unet.conv_out.weight.fill_(float("nan"))
    with pytest.raises(BackendContractError, match="not finite"):
        inpainter.fill(IMAGE, HOLE)


@pytest.mark.parametrize("options", [{"precision": "fp16"}, {"steps": 0}])
def test_options_that_cannot_work_on_a_cpu_are_refused(cache: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOption):
        sd2(cache, **options)


def test_pictures_and_texts_are_transformers_own_vectors(cache: Path) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(cache / CLIP_B16.id, use_safetensors=False).eval()
    tokenizer = CLIPTokenizer.from_pretrained(cache / CLIP_B16.id)
    square = np.random.default_rng(1).random((32, 32, 3), dtype=np.float32)
    pixels = torch.from_numpy((square - MEAN) / DEVIATION).float().permute(2, 0, 1)[None]
    texts = ["a sea", "a red door and a long wall"]
    with torch.no_grad():
        whole = model(pixel_values=pixels, **tokenizer(texts, padding=True, return_tensors="pt"))
    rated = clip(cache)
    np.testing.assert_allclose(rated.pictures([square]), whole.image_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(rated.texts(texts), whole.text_embeds.numpy(), atol=1e-5)


def test_many_pictures_of_any_shape_and_long_texts_are_rated(cache: Path) -> None:
    rated = clip(cache)
    vectors = rated.pictures([IMAGE] * 33)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, np.broadcast_to(vectors[:1], vectors.shape), atol=1e-5)
    assert rated.texts(["door " * 200]).shape == (1, 32)
