"""Captions by a tiny vision-language model: the picture and the question both reach it, and it is repeatable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_qwen import save_tiny_qwen

from scenewright_stages.backends.caption.interface import CAPTION
from scenewright_stages.backends.caption.qwen_vl import chat_text
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.backends.segment.interface import SEGMENT, Subject

IMAGE = np.random.default_rng(0).random((90, 120, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("qwen")
    save_tiny_qwen(root / "Qwen" / "Qwen2.5-VL-7B-Instruct")
    return root


def test_picture_and_question_reach_the_model(cache: Path) -> None:
    captioner = ModelPool().load(CAPTION, "qwen-vl", ModelContext(cache, "cpu", options={"tokens": 12}))
    first = captioner.caption(IMAGE, "Where does the light come from?")
    assert first == captioner.caption(IMAGE, "Where does the light come from?")
    assert first != captioner.caption(IMAGE, "What is it?")
    assert first != captioner.caption(np.zeros_like(IMAGE), "Where does the light come from?")
    assert captioner.record.licence == "apache-2.0"


def test_the_chat_has_a_place_for_each_square_of_the_picture() -> None:
    assert chat_text("Why?", 3).count("<|image_pad|>") == 3
    assert chat_text("Why?", 3).endswith("Why?<|im_end|>\n<|im_start|>assistant\n")


def test_an_answer_needs_a_token(cache: Path) -> None:
    with pytest.raises(UnsupportedOption):
        ModelPool().load(CAPTION, "qwen-vl", ModelContext(cache, "cpu", options={"tokens": 0}))


def test_the_weightless_backends_that_a_stage_serves_itself_say_so() -> None:
    with pytest.raises(BackendContractError, match="parameters"):
        ModelPool().load(CAPTION, "classic").caption(IMAGE, "?")
    with pytest.raises(BackendContractError, match="file"):
        ModelPool().load(SEGMENT, "mask").segment(IMAGE, Subject())
