"""Which backends the relighting pipeline names, in which order, and what follows from them."""

from __future__ import annotations

from typing import Any

import pytest

from scenewright_stages.backends.runtime.registry import backend
from scenewright_stages.contract.keys import stage_keys
from scenewright_stages.relight.params import (
    AlbedoParams,
    CaptionParams,
    NormalsParams,
    RelightParams,
    SegmentationParams,
)
from scenewright_stages.relight.pipeline import PIPELINE, caption_stage, segment_stage, stages


def test_only_what_the_spec_sets_is_an_option() -> None:
    assert AlbedoParams().options() == {"precision": None, "batch": None}
    assert AlbedoParams(batch=4, precision="bf16").options() == {"precision": "bf16", "batch": 4}


def test_the_preset_is_the_original_data_generations_choice() -> None:
    params = RelightParams(preset="mvp")
    assert params.segmenters() == ("sam3", "sam2")
    assert params.albedo_methods() == ("retinex", "lab")
    assert params.normal_method() == "dpt"
    segment, albedo, degrade, _ = stages(params)
    assert segment.models.choices() == [("segment", "sam3"), ("segment", "sam2")]
    assert (segment.pod.resources.gpus, albedo.pod.resources.gpus, degrade.pod.resources.gpus) == (1, 0, 1)
    assert params.degradation == RelightParams().degradation, "soft shading alone is the default"


def test_pods_are_as_large_as_the_facts_say() -> None:
    params = RelightParams(preset="mvp", caption=CaptionParams(backend="qwen-vl", variant="4b", precision="bf16"))
    memory = {stage.name: stage.pod.resources.gpu_memory_gib for stage in stages(params)}
    assert memory == {
        "segment": max(backend("segment", name).gpu_memory_gib for name in ("sam3", "sam2")),
        "albedo": 0.0,
        "degrade": backend("normals", "dpt").gpu_memory_gib,
        "recombine": 0.0,
        "caption": backend("caption", "qwen-vl").gpu_memory("4b", "bf16"),
    }
    assert caption_stage(RelightParams(caption=CaptionParams(backend="classic"))).pod.resources.gpus == 0


@pytest.mark.parametrize(
    ("backends", "threads"), [(["classic"], 0), (["selfie"], 0), (["mask"], 0), (["sam3", "classic"], 16)]
)
def test_samples_are_worked_on_beside_each_other_for_a_model(backends: list[Any], threads: int) -> None:
    assert segment_stage(RelightParams(segmentation=SegmentationParams(backends=backends))).pod.threads == threads


@pytest.mark.parametrize(
    "block",
    [
        {"preset": "mvp", "normals": NormalsParams(backend="marigold-normals")},
        {"preset": "mvp", "albedo": AlbedoParams(backends=["lab"])},
        {"keep": ["stage_1"]},
    ],
)
def test_contradictions_are_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"preset|keep"):
        RelightParams(**block)


def test_the_chain_is_part_of_the_key_and_the_number_of_lights_is_not() -> None:
    def keys(params: RelightParams) -> dict[str, str]:
        return stage_keys(PIPELINE, params, {}, 42)

    plain = keys(RelightParams(segmentation=SegmentationParams(backends=["sam3", "sam2"])))
    assert plain["segment"] != keys(RelightParams(segmentation=SegmentationParams(backends=["sam3"])))["segment"]
    assert keys(RelightParams(variants=2)) == keys(RelightParams(variants=5))
