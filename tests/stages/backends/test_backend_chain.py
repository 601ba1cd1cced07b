"""Chains of backends: a fallback only where one is listed, and it is always recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scenewright_stages.backends.runtime import chain
from scenewright_stages.backends.runtime.capability import Backend, BackendRecord, Capability
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.backends.runtime.errors import (
    BackendContractError,
    LicenceNotAccepted,
    MissingWeights,
    UnsupportedOption,
    UnsupportedSubject,
)
from scenewright_stages.contract.backends import BackendFacts, Weights
from scenewright_stages.contract.stage import ModelSettings


class Fake:
    """Answers with its name, unless its name says that it does not."""

    def __init__(self, capability: str, name: str) -> None:
        self.record, self.name = BackendRecord(capability, name, "model"), name

    def answer(self) -> str:
        if "useless" in self.name:
            raise BackendContractError("nothing usable")
        if "pointless" in self.name:
            raise UnsupportedSubject(self.name, "reads no points", "give a box")
        return self.name

    def release(self) -> None:
        """Nothing is held."""


FAKE = Capability("segment", Backend)
SETTINGS = ModelSettings(cache=Path("/nowhere"))


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Backends whose name says so are not available; returns the options of what was loaded."""
    found: dict[str, dict[str, Any]] = {}

    def load(capability: Capability[Backend], name: str, context: Any) -> Fake:
        if "missing" in name:
            raise MissingWeights(Weights(name, "mit", "", 1, ("model.safetensors",)), "cache", ["model.safetensors"])
        if "refused" in name:
            raise LicenceNotAccepted("a-licence", "https://example.org", name, [])
        found[name] = {"variant": context.variant, **context.options}
        return Fake(capability.name, name)

    def backend(capability: str, name: str) -> BackendFacts:
        known = {"scales": ()} if "classic" in name else {"batch": (), "steps": ()}
        return BackendFacts(name, capability, "model", "x:y", "", precisions=("fp32",), options=known)

    monkeypatch.setattr(chain, "load", load)
    monkeypatch.setattr(chain, "backend", backend)
    return found


def chain_of(*names: str, **options: Any) -> BackendChain[Any]:
    return BackendChain(FAKE, names, SETTINGS, options)


def test_the_first_serves_and_no_other_is_loaded(loaded: dict[str, Any]) -> None:
    answer, use = chain_of("one", "two").call(Fake.answer)
    assert (answer, use.backend, use.notes) == ("one", "one", "")
    assert list(loaded) == ["one"]


@pytest.mark.parametrize("first", ["missing-one", "refused-one"])
def test_the_next_serves_where_one_is_not_available_and_its_record_says_so(
    first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = chain_of(first, "two")
    for _ in range(3):
        answer, use = made.call(Fake.answer)
        assert (answer, use.backend) == ("two", "two")
        assert f"in place of {first}" in use.notes
    assert capsys.readouterr().out.count(f"{first} does not serve") == 1


def test_one_backend_alone_has_no_fallback() -> None:
    with pytest.raises(MissingWeights):
        chain_of("missing-one")
    with pytest.raises(MissingWeights, match="missing-two"):
        chain_of("missing-one", "missing-two")


def test_a_licence_that_is_not_accepted_ends_the_chain_where_no_other_can_serve() -> None:
    with pytest.raises(LicenceNotAccepted, match="a-licence"):
        chain_of("refused-one")
    with pytest.raises(LicenceNotAccepted, match="refused-two"):
        chain_of("missing-one", "refused-two")


def test_an_unusable_answer_goes_to_the_next_and_the_last_one_fails() -> None:
    assert chain_of("useless", "two").call(Fake.answer)[1].backend == "two"
    with pytest.raises(BackendContractError):
        chain_of("one-useless", "two-useless").call(Fake.answer)


def test_a_subject_that_one_backend_cannot_use_goes_to_the_next() -> None:
    assert chain_of("pointless", "two").call(Fake.answer)[1].backend == "two"
    with pytest.raises(UnsupportedSubject, match="give a box"):
        chain_of("one-pointless").call(Fake.answer)


def test_options_go_to_the_backends_that_know_them_and_only_when_they_are_set(loaded: dict[str, Any]) -> None:
    made = chain_of("useless-classic", "model", scales=(15.0,), steps=0, batch=None, precision="fp32")
    made.call(Fake.answer)
    assert loaded == {
        "useless-classic": {"variant": None, "scales": (15.0,), "precision": "fp32"},
        "model": {"variant": None, "steps": 0, "precision": "fp32"},
    }


def test_only_a_backend_alone_gets_the_variant(loaded: dict[str, Any]) -> None:
    BackendChain(FAKE, ("alone",), SETTINGS, variant="large")
    BackendChain(FAKE, ("first", "second"), SETTINGS, variant="large")
    assert [options["variant"] for options in loaded.values()] == ["large", None]


def test_a_value_that_a_backend_does_not_know_is_no_reason_to_pass_it_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise UnsupportedOption("segment.precision", "int3", ["fp32"])

    monkeypatch.setattr(chain, "load", refuse)
    with pytest.raises(UnsupportedOption):
        chain_of("one", "two", precision="int3")
