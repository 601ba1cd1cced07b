"""The backend table, the licence gate and the checks before anything is loaded."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import teleport_pipeline
from plugins import plugins

from scenewright_stages import backends as package
from scenewright_stages.backends.runtime import registry
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted, UnknownBackend, UnknownCapability
from scenewright_stages.contract.backends import BackendFacts, UnknownVariant
from scenewright_stages.contract.errors import ConfigurationError

ALL_BACKENDS = [pytest.param(spec, id=f"{spec.capability}-{spec.name}") for spec in registry.backends()]


@pytest.mark.process
def test_the_registry_loads_nothing_heavy() -> None:
    program = (
        "import sys; from scenewright_stages.backends.runtime import choices, registry;"
        "from scenewright_stages.backends.runtime.cache import weights; registry.backends();"
        "print([name for name in ('torch', 'numpy', 'cv2', 'diffusers', 'transformers') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_capability_offers_its_backends_classic_first() -> None:
    for capability in registry.capabilities():
        found = registry.backends(capability)
        names = [facts.name for facts in found]
        assert len(set(names)) == len(names)
        families = [facts.family for facts in found]
        assert families == sorted(families), f"{capability}: {names}"


def test_an_unknown_capability_is_refused_with_what_there_is() -> None:
    with pytest.raises(UnknownCapability) as caught:
        registry.backends("teleport")
    assert caught.value.allowed == (
        "albedo",
        "caption",
        "depth",
        "edit",
        "fix",
        "geometry",
        "inpaint",
        "outpaint",
        "locate",
        "normals",
        "novel-views",
        "object-views",
        "perception",
        "segment",
        "similarity",
        "text-to-image",
    )


def test_an_unknown_backend_is_refused_with_field_value_and_what_is_allowed() -> None:
    with pytest.raises(UnknownBackend) as caught:
        registry.backend("depth", "midas", "spec.vistadream.depth.backend")
    assert isinstance(caught.value, ConfigurationError)
    assert (caught.value.field, caught.value.value) == ("spec.vistadream.depth.backend", "midas")
    assert caught.value.allowed == tuple(facts.name for facts in registry.backends("depth"))
    assert {"classic", "moge"} <= set(caught.value.allowed)


@pytest.mark.parametrize("spec", ALL_BACKENDS)
def test_every_implementation_exists(spec: BackendFacts) -> None:
    module, _, name = spec.implementation.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("spec", ALL_BACKENDS)
def test_every_backend_says_what_it_is(spec: BackendFacts) -> None:
    assert spec.notes
    assert (spec.family == "model") == bool(spec.weights)
    assert (spec.device == "cuda") == (spec.gpu_memory_gib > 0)
    assert (spec.gpu_memory_gib > 0) or not spec.gpu_memory_by
    assert set(" ".join(spec.gpu_memory_by).split()) <= {*spec.weights, *spec.precisions}
    for weights in (one for sets in spec.weights.values() for one in sets):
        assert weights.id.count("/") == 1
        assert weights.licence
        assert weights.licence_url.startswith("https://")
        assert weights.approximate_bytes > 0
        assert weights.required_files


def test_gated_non_commercial_weights_need_their_licence_by_name() -> None:
    flux = registry.backend("outpaint", "flux-fill")
    with pytest.raises(LicenceNotAccepted) as caught:
        registry.check_licence(flux, None, ["mit", "flux-1-schnell"])
    error = caught.value
    assert error.field == "models.acceptLicenses"
    assert error.licence == "flux-1-dev-non-commercial"
    assert error.licence in str(error)
    assert error.licence_url in str(error)
    (weights,) = registry.check_licence(flux, None, ["flux-1-dev-non-commercial"])
    assert weights.id == "black-forest-labs/FLUX.1-Fill-dev"


@pytest.mark.parametrize(
    ("name", "variant"),
    [("classic", None), ("provided", None), ("moge", "vitl"), ("moge", None), ("depth-anything", None),
     ("depth-anything", "metric-indoor-small")],
)  # fmt: skip
def test_permissive_weights_need_no_acceptance(name: str, variant: str | None) -> None:
    registry.check_licence(registry.backend("depth", name), variant, [])


@pytest.mark.parametrize(
    ("name", "variant", "licence"),
    [
        ("depth-pro", None, "apple-amlr"),
        ("depth-anything", "base", "cc-by-nc-4.0"),
        ("depth-anything", "large", "cc-by-nc-4.0"),
        ("depth-anything", "metric-indoor-large", "cc-by-nc-4.0"),
    ],
)
def test_restricted_depth_weights_are_refused_until_accepted(name: str, variant: str | None, licence: str) -> None:
    spec = registry.backend("depth", name)
    with pytest.raises(LicenceNotAccepted, match=licence):
        registry.check_licence(spec, variant, [])
    registry.check_licence(spec, variant, [licence])


def test_the_default_variant_is_the_first_and_an_unknown_one_is_refused() -> None:
    spec = registry.backend("depth", "depth-anything")
    assert spec.weights_of() == spec.weights_of("small")
    assert next(iter(spec.weights)) == "small"
    with pytest.raises(UnknownVariant, match="giant"):
        spec.weights_of("giant")
    with pytest.raises(UnknownVariant):
        registry.backend("depth", "classic").weights_of("small")


# --- where facts come from


def test_a_folder_with_facts_is_a_capability_without_any_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "levitate").mkdir()
    (tmp_path / "levitate" / "__init__.py").write_text("")
    (tmp_path / "levitate" / "facts.py").write_text(
        "from scenewright_stages.contract.backends import BackendFacts\n"
        "BACKENDS = (BackendFacts('classic', 'levitate', 'classic', 'x:y', 'Nothing flies.'),)\n"
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry._built_in.cache_clear()
    try:
        assert [facts.notes for facts in registry.backends("levitate")] == ["Nothing flies."]
    finally:
        registry._built_in.cache_clear()
        sys.modules.pop(f"{package.__name__}.levitate.facts", None)


@pytest.fixture
def teleport() -> Iterator[None]:
    with plugins(teleport="teleport_pipeline:PIPELINE"):
        yield


def test_a_pipeline_brings_backends_along(teleport: None) -> None:
    assert registry.backend("teleport", "pair") is teleport_pipeline.PAIR
    assert [facts.name for facts in registry.backends("teleport")] == ["pair", "walk"]
    assert "teleport" in registry.capabilities()


def test_a_pipeline_that_cannot_be_loaded_takes_nothing_from_the_others() -> None:
    with plugins(a="no_such_module:PIPELINE", teleport="teleport_pipeline:PIPELINE"):
        assert registry.backend("teleport", "walk") is teleport_pipeline.WALK
        with pytest.raises(UnknownBackend):
            registry.backend("depth", "nobodys")


def test_a_pipeline_cannot_replace_a_built_in_backend(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built_in = registry.backend("depth", "moge")
    changed = replace(teleport_pipeline.PIPELINE, backends=(replace(built_in, gpu_memory_gib=1.0),))
    monkeypatch.setattr(teleport_pipeline, "PIPELINE", changed)
    with plugins(teleport="teleport_pipeline:PIPELINE"):
        assert registry.backend("depth", "moge") is built_in
        assert [facts for facts in registry.backends("depth") if facts.name == "moge"] == [built_in]
    assert "teleport" in caplog.text and "moge" in caplog.text
