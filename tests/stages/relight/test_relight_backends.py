"""Chains of backends: a fallback only where one is listed, and it is always recorded."""

from __future__ import annotations

from typing import Any

import pytest

from scenewright_stages.contract.keys import stage_keys
from scenewright_stages.contract.stage import StageContext
from scenewright_stages.models.errors import BackendContractError, MissingWeights
from scenewright_stages.models.interfaces import BackendRecord
from scenewright_stages.relight import backends
from scenewright_stages.relight.backends import BackendChain, model_options
from scenewright_stages.relight.params import AlbedoParams, NormalsParams, RelightParams, SegmentationParams
from scenewright_stages.relight.pipeline import PIPELINE, segment_stage, stages


class Fake:
    """Answers with its name, unless its name says that it does not."""

    def __init__(self, capability: str, name: str) -> None:
        self.record, self.name = BackendRecord(capability, name, "model"), name

    def answer(self) -> str:
        if "useless" in self.name:
            raise BackendContractError("nothing usable")
        return self.name


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Backends whose name holds ``missing`` lack their weights; returns what was loaded."""
    loaded: list[str] = []

    def load(capability: str, name: str, context: Any) -> Fake:
        if "missing" in name:
            raise MissingWeights(name, "main", "cache", ["model.safetensors"])
        loaded.append(name)
        return Fake(capability, name)

    monkeypatch.setattr(backends, "load", load)
    return loaded


def chain(*names: str) -> BackendChain:
    params = RelightParams()
    return BackendChain("segment", names, StageContext(segment_stage(params), params), {})


def test_the_first_serves_and_no_other_is_loaded(fakes: list[str]) -> None:
    answer, use = chain("one", "two").call(Fake.answer)
    assert (answer, use.backend, use.notes) == ("one", "one", "")
    assert fakes == ["one"]


def test_the_next_serves_where_one_is_missing_and_its_record_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made = chain("missing-one", "two")
    for _ in range(3):
        answer, use = made.call(Fake.answer)
        assert (answer, use.backend) == ("two", "two")
        assert "in place of missing-one" in use.notes
    assert capsys.readouterr().out.count("missing-one does not serve") == 1


def test_one_backend_alone_has_no_fallback() -> None:
    with pytest.raises(MissingWeights):
        chain("missing-one")
    with pytest.raises(MissingWeights, match="missing-two"):
        chain("missing-one", "missing-two")


def test_an_unusable_answer_goes_to_the_next_and_the_last_one_fails() -> None:
    assert chain("useless", "two").call(Fake.answer)[1].backend == "two"
    with pytest.raises(BackendContractError):
        chain("one-useless", "two-useless").call(Fake.answer)


def test_options_go_to_the_backends_that_know_them_and_only_when_they_are_set() -> None:
    block = AlbedoParams(backends=["retinex", "marigold-iid"], steps=7, batch=4)
    found = model_options("albedo", ("retinex", "marigold-iid"), block, steps=block.steps, scales=(15.0,))
    assert found == {"retinex": {"scales": (15.0,)}, "marigold-iid": {"batch": 4, "steps": 7}}


def test_the_preset_is_the_original_data_generations_choice() -> None:
    params = RelightParams(preset="mvp")
    assert params.segmenters() == ("sam3", "sam2")
    assert params.albedo_methods() == ("retinex", "lab")
    assert params.normal_method() == "dpt"
    segment, albedo, degrade, _ = stages(params)
    assert segment.backend_choices() == [("segment", "sam3"), ("segment", "sam2")]
    assert (segment.resources.gpus, albedo.resources.gpus, degrade.resources.gpus) == (1, 0, 1)
    assert params.degradation == RelightParams().degradation, "soft shading alone is the default"


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
