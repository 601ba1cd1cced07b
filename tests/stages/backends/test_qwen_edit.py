"""Qwen-Image-Edit with tiny random weights in the published formats: both pipelines, LoRA weights, options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from safetensors.torch import load_file, save_file
from tiny_qwen_image import LORA_FILE, save_tiny_lora, save_tiny_qwen_image

from scenewright_stages.backends.edit import qwen_edit, qwen_instructions
from scenewright_stages.backends.edit.interface import EDIT
from scenewright_stages.backends.edit.lora import add_lora
from scenewright_stages.backends.edit.qwen_edit import QwenEditor, QwenSettings, load_pipeline
from scenewright_stages.backends.object_views.interface import OBJECT_VIEWS, Camera
from scenewright_stages.backends.object_views.qwen_multicamera import DISTANCES, ELEVATIONS, VIEWS, instruction_of
from scenewright_stages.backends.runtime import compile_beside
from scenewright_stages.backends.runtime.errors import MissingWeights, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.contract.errors import ConfigurationError

NEWER, FIRST = Path("Qwen") / "Qwen-Image-Edit-2511", Path("Qwen") / "Qwen-Image-Edit"
ANGLES = Path("fal") / "Qwen-Image-Edit-2511-Multiple-Angles-LoRA"
SIDE = 64
PHOTO = np.random.default_rng(0).random((48, 96, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, small_pictures: None) -> Path:
    root = tmp_path_factory.mktemp("cache")
    save_tiny_qwen_image(root / NEWER)
    save_tiny_qwen_image(root / FIRST, newer=False)
    save_tiny_lora(root / ANGLES)
    return root


@pytest.fixture(scope="module", autouse=True)
def small_pictures() -> Iterator[None]:
    """The models work on a megapixel, which takes minutes even when they are tiny."""
    real = pipeline_qwenimage_edit.calculate_dimensions
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qwen_edit, "AREA", SIDE * SIDE)
        patch.setattr(qwen_instructions, "AREA", SIDE * SIDE)
        patch.setattr(qwen_instructions, "_SEEN_AREA", SIDE * SIDE)
        patch.setattr(pipeline_qwenimage_edit_plus, "VAE_IMAGE_SIZE", SIDE * SIDE)
        patch.setattr(pipeline_qwenimage_edit, "calculate_dimensions", lambda area, ratio: real(SIDE * SIDE, ratio))
        yield


def _editor(cache: Path, variant: str = "2511", **options: Any) -> QwenEditor:
    context = ModelContext(cache, "cpu", variant=variant, options={"precision": "fp32", "steps": 2, **options})
    editor = ModelPool().load(EDIT, "qwen-edit", context)
    assert isinstance(editor, QwenEditor)
    return editor


@pytest.fixture(scope="module")
def editor(cache: Path) -> QwenEditor:
    return _editor(cache)


def test_a_seed_fixes_the_picture_and_instruction_picture_and_seed_change_it(editor: QwenEditor) -> None:
    first = editor.edit(PHOTO, "a cup on white", seed=2**70 + 1)
    assert (first.shape, first.dtype) == (PHOTO.shape, np.float32)
    assert first.min() >= 0 and first.max() <= 1 and first.std() > 0.01
    np.testing.assert_array_equal(first, editor.edit(PHOTO, "a cup on white", seed=2**70 + 1))
    others = [
        editor.edit(PHOTO, "a cup on white", seed=3),
        editor.edit(PHOTO, "fog", seed=2**70 + 1),
        editor.edit(PHOTO[:, ::-1].copy(), "a cup on white", seed=2**70 + 1),
    ]
    assert all(not np.array_equal(first, other) for other in others)


def test_the_result_has_the_wanted_size(editor: QwenEditor) -> None:
    assert editor.edit(PHOTO, "a cup", seed=1, size=(40, 70)).shape == (70, 40, 3)


def test_an_instruction_about_a_picture_is_read_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor, read = _editor(cache), []
    encoder = editor.pipeline.text_encoder
    monkeypatch.setattr(encoder, "forward", _counted(encoder.forward, read))
    for seed in range(3):
        editor.edit(PHOTO, "a cup on white", seed)
    # The instruction, and the empty one that guidance leads away from.
    assert len(read) == 2
    editor.edit(PHOTO, "fog", 0)
    assert len(read) == 3
    plain = _editor(cache, guidance=1.0)
    assert not np.array_equal(plain.edit(PHOTO, "fog", 0), editor.edit(PHOTO, "fog", 0))


def _counted(call: Any, calls: list[int]) -> Any:
    def counting(*given: Any, **named: Any) -> Any:
        calls.append(1)
        return call(*given, **named)

    return counting


def test_the_encoder_sees_picture_and_instruction(editor: QwenEditor) -> None:
    pipeline, reader = editor.pipeline, editor._instructions
    image = _picture(PHOTO)
    cup, mask = reader.read(pipeline, image, "a cup on white")
    assert cup.shape[:2] == mask.shape and bool(mask.all())
    template = pipeline.prompt_template_encode
    squares = (SIDE // 28) ** 2
    assert cup.shape[1] > squares and "{}" in template
    other, _ = reader.read(pipeline, _picture(PHOTO[::-1]), "a cup on white")
    assert cup.shape == other.shape and not torch.allclose(cup, other)


def test_the_first_pipeline_serves_too(cache: Path) -> None:
    first = _editor(cache, "first")
    assert type(first.pipeline).__name__ == "QwenImageEditPipeline"
    made = first.edit(PHOTO, "a cup on white", seed=1)
    assert made.shape == PHOTO.shape and made.std() > 0.01


def test_the_record_says_what_painted(editor: QwenEditor) -> None:
    record = editor.record
    assert (record.weights_id, record.precision, record.variant) == ("Qwen/Qwen-Image-Edit-2511", "fp32", "2511")
    assert record.licence == "apache-2.0" and not record.non_commercial


@pytest.mark.parametrize(
    "options", [{"steps": 1}, {"guidance": -1.0}, {"precision": "fp8"}, {"offload": "model"}, {"precision": "fp16"}]
)
def test_options_that_cannot_work_are_refused(cache: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOption):
        _editor(cache, **options)


def test_a_revision_of_the_cache_is_taken_and_another_is_missing(cache: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--Qwen--Qwen-Image-Edit-2511"
    commit = "1" * 40
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs" / "v2").write_text(commit)
    (snapshot / "snapshots").mkdir()
    (snapshot / "snapshots" / commit).symlink_to(cache / NEWER)
    options = {"precision": "fp32", "steps": 2}
    wanted = ModelContext(tmp_path, "cpu", variant="2511", revision="v2", options=options)
    assert ModelPool().load(EDIT, "qwen-edit", wanted).record.revision == commit
    with pytest.raises(MissingWeights, match="main"):
        ModelPool().load(EDIT, "qwen-edit", replace(wanted, revision=None))


@pytest.mark.slow
def test_while_the_blocks_are_compiled_edits_and_views_are_eager(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both texts of an edit, of different lengths, are compiled."""
    child = Mock(**{"finished.return_value": False, "failed.return_value": False})
    monkeypatch.setattr(compile_beside, "_Child", Mock(return_value=child))
    # Else its marker might say that there is code.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache / "compiled"))
    eager = {"compile": "blocks", "begin": "eager"}
    editor = _editor(cache, **eager)
    plain = editor.edit(PHOTO, "a cup on white", seed=1)
    asked = [call.args[0] for call in child.request.call_args_list]
    assert [call.unit for call in asked] == [0, 0]
    assert all(block._compiled_call_impl is None for block in editor.pipeline.transformer.transformer_blocks)
    assert compile_beside.NOTE in editor.record.notes
    np.testing.assert_array_equal(editor.edit(PHOTO, "a cup on white", seed=1), plain)
    editor.release()
    child.end.assert_called_once_with()
    options = {"precision": "fp32", "steps": 2, **eager}
    painter = ModelPool().load(OBJECT_VIEWS, "qwen-multicamera", ModelContext(cache, "cpu", options=options))
    thing, alpha = PHOTO[:, :48], np.ones((48, 48), np.float32)
    painter.views(thing, alpha, [Camera(0, 0, "medium")], 5, lambda _: None)
    assert compile_beside.NOTE in painter.record.notes
    painter.release()


def test_another_kind_of_pipeline_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(ConfigurationError, match="QwenImageEditPlusPipeline"):
        load_pipeline(tmp_path, QwenSettings(), "cpu")


def test_weights_in_4_bits_need_a_gpu_and_no_further_quantisation(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "QwenImageEditPipeline"}')
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text('{"quantization_config": {"load_in_4bit": true}}')
    with pytest.raises(ConfigurationError, match="need a GPU"):
        load_pipeline(tmp_path, QwenSettings(), "cpu")
    with pytest.raises(ConfigurationError, match="published in 4 bits"):
        load_pipeline(tmp_path, QwenSettings("fp8"), "cuda")


def test_lora_weights_are_added_by_their_strength(cache: Path) -> None:
    settings = QwenSettings("fp32")
    plain, half = (load_pipeline(cache / NEWER, settings, "cpu") for _ in range(2))
    count = add_lora(half, cache / ANGLES, LORA_FILE, 0.5)
    state = load_file(cache / ANGLES / LORA_FILE)
    assert count == len(state) // 2 > 0
    for name, module in plain.transformer.named_modules():
        if f"transformer.{name}.lora_A.weight" in state:
            down, up = (state[f"transformer.{name}.{part}.weight"] for part in ("lora_A", "lora_B"))
            expected = module.weight + 0.5 * (up @ down)
            torch.testing.assert_close(half.transformer.get_submodule(name).weight, expected)


def test_lora_weights_beside_integers_answer_as_merged_ones(cache: Path) -> None:
    """Weights in 4 bits are integers, to which nothing can be added."""
    merged = load_pipeline(cache / NEWER, QwenSettings("fp32"), "cpu")
    beside = load_pipeline(cache / NEWER, QwenSettings("fp32"), "cpu")
    name = "transformer_blocks.0.attn.to_q"
    module = beside.transformer.get_submodule(name)
    module.register_parameter("weight", torch.nn.Parameter(module.weight.data.view(torch.int32), requires_grad=False))
    module.forward = lambda value: torch.nn.functional.linear(value, module.weight.view(torch.float32), module.bias)
    for pipeline in (merged, beside):
        add_lora(pipeline, cache / ANGLES, LORA_FILE, 0.9)
    value = torch.randn(1, 5, module.in_features)
    torch.testing.assert_close(module(value), merged.transformer.get_submodule(name)(value), atol=0.05, rtol=0.02)


def test_lora_weights_of_another_model_are_refused(cache: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(cache / NEWER, QwenSettings("fp32"), "cpu")
    state = {
        "transformer.blocks.0.lora_A.weight": torch.zeros(2, 8),
        "transformer.blocks.0.lora_B.weight": torch.zeros(8, 2),
    }
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ConfigurationError, match="another one"):
        add_lora(pipeline, tmp_path, "other.safetensors", 0.9)


def test_cameras_are_said_in_the_words_of_the_card() -> None:
    said = {instruction_of(Camera(view, height, way)) for view in VIEWS for height in ELEVATIONS for way in DISTANCES}
    assert len(said) == 8 * 4 * 3
    assert "<sks> front-right quarter view elevated shot medium shot" in said
    assert "<sks> right side view high-angle shot close-up" in said
    with pytest.raises(UnsupportedOption):
        instruction_of(Camera(20, 0))


def test_views_are_painted_with_the_weights_for_angles(cache: Path) -> None:
    thing, alpha = np.full((SIDE, SIDE, 3), 0.3, np.float32), np.zeros((SIDE, SIDE), np.float32)
    alpha[16:48, 20:44] = 1
    cameras = [Camera(0, 30), Camera(45, 30)]
    made: dict[float, list[Any]] = {}
    for strength in (0.0, 0.9):
        options = {"precision": "fp32", "steps": 2, "strength": strength}
        painter = ModelPool().load(OBJECT_VIEWS, "qwen-multicamera", ModelContext(cache, "cpu", options=options))
        told: list[int] = []
        made[strength] = painter.views(thing, alpha, cameras, 5, told.append)
        assert told == [1, 2]
    assert made[0.9][0].shape == (SIDE, SIDE, 3)
    assert not np.array_equal(made[0.9][0], made[0.9][1])
    assert not np.array_equal(made[0.9][0], made[0.0][0])
    assert painter.record.weights_id == "Qwen/Qwen-Image-Edit-2511+fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA"


def _picture(values: Any) -> Any:
    from PIL import Image

    return Image.fromarray(np.rint(values * 255).astype(np.uint8))
