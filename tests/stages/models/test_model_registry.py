"""The backend table, the licence gate and the checks before anything is loaded."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.models import registry
from scenewright_stages.models.errors import LicenceNotAccepted, UnknownBackend, UnknownCapability, UnknownVariant
from scenewright_stages.models.specs import BackendSpec

ALL_BACKENDS = [pytest.param(spec, id=f"{spec.capability}-{spec.name}") for spec in registry.backends()]


def test_the_registry_loads_nothing_heavy() -> None:
    program = (
        "import sys; import scenewright_stages.models.registry, scenewright_stages.models.weights;"
        "print([name for name in ('torch', 'numpy', 'cv2', 'diffusers', 'transformers') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("outpaint", ["classic", "flux-fill"]),
        ("inpaint", ["classic", "flux-fill"]),
        ("depth", ["classic", "provided", "depth-pro", "depth-anything", "moge"]),
        ("segment", ["classic", "mask", "sam3", "sam2"]),
        ("albedo", ["classic", "retinex", "lab", "marigold-iid", "intrinsic-anything"]),
        ("normals", ["classic", "dpt", "marigold-normals"]),
        ("caption", ["classic", "qwen-vl"]),
    ],
)
def test_every_capability_offers_its_backends_classic_first(capability: str, names: list[str]) -> None:
    assert [spec.name for spec in registry.backends(capability)] == names


def test_an_unknown_capability_is_refused_with_what_there_is() -> None:
    with pytest.raises(UnknownCapability) as caught:
        registry.backends("teleport")
    assert caught.value.allowed == ("outpaint", "inpaint", "depth", "segment", "albedo", "normals", "caption")


def test_an_unknown_backend_is_refused_with_field_value_and_what_is_allowed() -> None:
    with pytest.raises(UnknownBackend) as caught:
        registry.backend("depth", "midas", "spec.vistadream.depth.backend")
    assert isinstance(caught.value, ConfigurationError)
    assert (caught.value.field, caught.value.value) == ("spec.vistadream.depth.backend", "midas")
    assert caught.value.allowed == ("classic", "provided", "depth-pro", "depth-anything", "moge")


@pytest.mark.parametrize("spec", ALL_BACKENDS)
def test_every_implementation_exists(spec: BackendSpec) -> None:
    module, _, name = spec.implementation.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("spec", ALL_BACKENDS)
def test_every_backend_says_what_it_is(spec: BackendSpec) -> None:
    assert spec.notes
    assert (spec.family == "model") == bool(spec.weights)
    assert (spec.device == "cuda") == (spec.gpu_memory_gib > 0)
    for weights in spec.weights:
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
    weights = registry.check_licence(flux, None, ["flux-1-dev-non-commercial"])
    assert weights is not None
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
    assert spec.weights_of() is spec.weights[0]
    assert spec.variants[0] == "small"
    with pytest.raises(UnknownVariant, match="giant"):
        spec.weights_of("giant")
    with pytest.raises(UnknownVariant):
        registry.backend("depth", "classic").weights_of("small")


def test_the_documentation_names_every_backend_licence_and_option() -> None:
    text = (Path(__file__).parents[3] / "docs" / "backends.md").read_text()
    for spec in registry.backends():
        assert f"`{spec.name}`" in text
        assert f"`{spec.extra or 'stages'}`" in text
        for weights in spec.weights:
            assert f"`{weights.licence}`" in text
            assert weights.id.partition("/")[0] in text
    for option, _ in registry.backend("inpaint", "flux-fill").options:
        assert f"`{option}`" in text
