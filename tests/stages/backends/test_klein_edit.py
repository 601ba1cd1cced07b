"""FLUX.2 klein as an editor, with tiny random weights in the published format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_klein import LATENT_CHANNELS, save_tiny_klein

from scenewright_stages.backends.edit.interface import EDIT
from scenewright_stages.backends.edit.klein_edit import KleinEditor, reference_of
from scenewright_stages.backends.inpaint import flux2_klein
from scenewright_stages.backends.inpaint.facts import KLEIN_4B
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.pipelines import pipelines

PHOTO = np.random.default_rng(0).random((64, 96, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    save_tiny_klein(root / KLEIN_4B.id)
    return root


@pytest.fixture(scope="module")
def editor(cache: Path) -> KleinEditor:
    editor = ModelPool().load(EDIT, "klein-edit", ModelContext(cache, device="cpu", options={"precision": "fp32"}))
    assert isinstance(editor, KleinEditor)
    return editor


def test_an_edit_is_what_the_published_pipeline_paints(editor: KleinEditor, cache: Path) -> None:
    from diffusers import Flux2KleinPipeline

    pipeline = Flux2KleinPipeline.from_pretrained(cache / KLEIN_4B.id)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((1, 4 * LATENT_CHANNELS, 5, 3), generator=torch.Generator().manual_seed(7))
    golden = pipeline(
        image=Image.fromarray(np.rint(PHOTO * 255).astype(np.uint8)), prompt="a cup in fog", width=48, height=80,
        num_inference_steps=4, guidance_scale=1.0, latents=noise, output_type="np",
    ).images[0]  # fmt: skip
    painted = editor.edit(PHOTO, "a cup in fog", seed=7, size=(48, 80))
    np.testing.assert_allclose(painted, golden, atol=1e-5)


def test_picture_instruction_and_seed_change_the_result_and_nothing_else_does(editor: KleinEditor) -> None:
    first = editor.edit(PHOTO, "fog", seed=2**70)
    np.testing.assert_array_equal(first, editor.edit(PHOTO, "fog", seed=2**70))
    others = [
        editor.edit(PHOTO, "rain", seed=2**70),
        editor.edit(PHOTO, "fog", seed=1),
        editor.edit(PHOTO[::-1].copy(), "fog", seed=2**70),
    ]
    assert all(np.abs(first - other).max() > 1e-4 for other in others)


def test_sizes_are_whatever_is_asked_for(editor: KleinEditor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert editor.edit(PHOTO[:37, :70].copy(), "fog").shape == (37, 70, 3)
    monkeypatch.setattr(flux2_klein, "LARGEST_AREA", 32 * 32)
    enlarged = editor.edit(PHOTO, "fog", size=(100, 50))
    assert enlarged.shape == (50, 100, 3) and enlarged.std() > 0.005


@pytest.mark.parametrize(("height", "width", "expected"), [(64, 96, (96, 64)), (8, 200, (512, 64)), (20, 30, (96, 64))])
def test_a_reference_is_enlarged_or_widened_only_if_it_must(height: int, width: int, expected: tuple[int, int]) -> None:
    shown = reference_of(np.full((height, width, 3), 0.25, np.float32))
    assert shown.size == expected
    assert np.unique(np.asarray(shown)).tolist() == [64]


def test_it_takes_no_guidance_and_every_painting_step_offers_it(cache: Path) -> None:
    with pytest.raises(UnsupportedOption, match="guidance"):
        ModelPool().load(EDIT, "klein-edit", ModelContext(cache, device="cpu", options={"guidance": 3.0}))
    block = {"backend": "klein-edit"}
    given = {"white": block, "scenes": block, "vary": {"enabled": True, **block}, "annotate": {"backend": "persam"}}
    pipeline = pipelines(built_in=True)["referenceObject"]
    stages = {stage.name: stage for stage in pipeline.stages(pipeline.parse(given))}
    for name in ("white", "scenes", "vary"):
        assert stages[name].models.backends == {"edit": "klein-edit"}
        assert stages[name].pod.resources.gpu_memory_gib == 20.0
    with pytest.raises(ValueError, match="exact knows nothing"):
        pipeline.parse({"scenes": block})


def test_a_released_editor_says_so(cache: Path) -> None:
    context = ModelContext(cache, device="cpu", options={"precision": "fp32"})
    released = ModelPool().load(EDIT, "klein-edit", context)
    released.release()
    with pytest.raises(RuntimeError, match="klein-edit was released"):
        released.edit(PHOTO, "fog")
