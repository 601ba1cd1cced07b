"""The order of checks, sharing of instances, and what is refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from plugins import plugins
from teleport_pipeline import Pair

from scenewright_stages.backends.albedo.interface import ALBEDO
from scenewright_stages.backends.depth.interface import DEPTH
from scenewright_stages.backends.inpaint.interface import INPAINT, OUTPAINT, Inpainter
from scenewright_stages.backends.runtime import loading
from scenewright_stages.backends.runtime.capability import Backend, BackendRecord, Capability
from scenewright_stages.backends.runtime.errors import (
    LicenceNotAccepted,
    MissingPackage,
    MissingWeights,
    UnknownBackend,
    UnsupportedOption,
)
from scenewright_stages.backends.runtime.loading import LoadRequest, ModelContext, ModelPool
from scenewright_stages.contract.backends import BackendFacts, UnknownVariant
from scenewright_stages.contract.stage import ModelSettings

FLUX_LICENCE = "flux-1-dev-non-commercial"
COUNTED = Capability("depth", Backend)


class _Counted:
    """A backend that knows how often it was made and released."""

    made = 0
    released = 0

    def __init__(self, request: LoadRequest) -> None:
        type(self).made += 1
        self.record: BackendRecord = request.record

    def release(self) -> None:
        type(self).released += 1


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[_Counted]:
    spec = BackendFacts("counted", "depth", "classic", f"{__name__}:_Counted", "for tests", options={"level": ()})
    monkeypatch.setattr(loading, "backend", lambda capability, name: spec)
    monkeypatch.setattr(_Counted, "made", 0)
    monkeypatch.setattr(_Counted, "released", 0)
    return _Counted


def test_the_licence_is_checked_before_the_files(tmp_path: Path) -> None:
    context = ModelContext(cache_dir=tmp_path, device="cpu")
    with pytest.raises(LicenceNotAccepted):
        ModelPool().load(OUTPAINT, "flux-fill", context)
    accepted = ModelContext(cache_dir=tmp_path, device="cpu", accepted_licences=frozenset({FLUX_LICENCE}))
    with pytest.raises(MissingWeights) as caught:
        ModelPool().load(OUTPAINT, "flux-fill", accepted)
    # A laptop's folder is no field of the spec, and reports cut a remedy after 300 bytes.
    assert caught.value.field == "model cache"
    assert len(caught.value.remedy.encode()) <= 300


def test_nothing_falls_back_to_another_backend(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackend):
        ModelPool().load(DEPTH, "dept-pro", ModelContext(cache_dir=tmp_path))
    with pytest.raises(UnknownVariant):
        ModelPool().load(DEPTH, "moge", ModelContext(cache_dir=tmp_path, variant="3-huge"))
    with pytest.raises(MissingWeights):
        ModelPool().load(DEPTH, "moge", ModelContext(cache_dir=tmp_path))


@pytest.mark.parametrize("options", [{"precission": "bf16"}, {"precision": "int3"}, {"compile": True}])
def test_unknown_options_and_values_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    context = ModelContext(cache_dir=tmp_path, accepted_licences=frozenset({FLUX_LICENCE}), options=options)
    with pytest.raises(UnsupportedOption) as caught:
        ModelPool().load(OUTPAINT, "flux-fill", context)
    assert caught.value.allowed


def test_a_model_is_loaded_once_until_it_is_released(counted: type[_Counted]) -> None:
    pool = ModelPool()
    first = pool.load(COUNTED, "counted")
    assert pool.load(COUNTED, "counted") is first
    assert pool.load(COUNTED, "counted", ModelContext(options={"level": 3})) is not first
    assert counted.made == 2
    pool.release()
    assert counted.released == 2
    assert pool.load(COUNTED, "counted") is not first


def test_a_package_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = BackendFacts("broken", "depth", "classic", "no_such_package_here:Thing", "for tests", extra="diffusion")
    monkeypatch.setattr(loading, "backend", lambda capability, name: spec)
    with pytest.raises(MissingPackage) as caught:
        ModelPool().load(COUNTED, "broken")
    assert caught.value.package == "no_such_package_here"
    assert "scenewright[diffusion]" in str(caught.value)


def test_an_implementation_without_the_interfaces_methods_is_refused(counted: type[_Counted]) -> None:
    with pytest.raises(TypeError, match="DepthEstimator"):
        ModelPool().load(DEPTH, "counted")


def test_backends_that_share_their_code_are_instances_of_their_own() -> None:
    pool = ModelPool()
    image = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    alpha = np.ones((32, 32), np.float32)
    made = [pool.load(ALBEDO, name).estimate(image, alpha)[0] for name in ("classic", "lab", "retinex")]
    assert np.abs(made[0] - made[1]).max() > 1e-3 and np.abs(made[1] - made[2]).max() > 1e-3


TELEPORT = Capability("teleport", Pair)


@pytest.fixture
def _teleport() -> Iterator[None]:
    with plugins(teleport="teleport_pipeline:PIPELINE"):
        yield


@pytest.mark.usefixtures("_teleport")
def test_a_backend_gets_all_its_sets_of_weights_and_names_them_all(tmp_path: Path) -> None:
    for name in ("sender", "receiver"):
        (tmp_path / "lab" / name).mkdir(parents=True)
        (tmp_path / "lab" / name / "model.safetensors").write_text(name)
    context = ModelContext(tmp_path, "cpu", frozenset({"lab-a"}))
    loaded = ModelPool().load(TELEPORT, "pair", context)
    assert loaded.folders == (tmp_path / "lab" / "sender", tmp_path / "lab" / "receiver")
    use = loaded.record.use()
    assert (use.model, use.licence) == ("lab/sender+lab/receiver (fp32 on cpu)", "lab-a+lab-b")
    assert use.revision.count("local-") == 2 and len(set(use.revision.split("+"))) == 2


@pytest.mark.usefixtures("_teleport")
def test_a_set_that_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "lab" / "sender").mkdir(parents=True)
    (tmp_path / "lab" / "sender" / "model.safetensors").write_text("x")
    with pytest.raises(MissingWeights, match="lab/receiver"):
        ModelPool().load(TELEPORT, "pair", ModelContext(tmp_path, "cpu", frozenset({"lab-a"})))


def test_a_stage_turns_its_settings_into_a_context(tmp_path: Path) -> None:
    settings = ModelSettings(cache=tmp_path, device="cpu", accepted_licences=frozenset({"mit"}))
    context = ModelContext.from_settings(settings, "small", {"precision": "fp32"})
    assert (context.cache_dir, context.device, context.variant) == (tmp_path, "cpu", "small")
    assert context.accepted_licences == {"mit"}
    assert context.option("precision", "bf16") == "fp32"
    assert context.option("steps", 25) == 25


def test_one_classic_instance_paints_out_and_in_and_is_recorded_as_what_it_did() -> None:
    pool = ModelPool()
    inpainter = pool.load(OUTPAINT, "classic")
    assert isinstance(inpainter, Inpainter)
    assert pool.load(INPAINT, "classic") is inpainter
    use = inpainter.record.use("inpaint")
    assert (use.capability, use.backend, use.model, use.licence) == ("inpaint", "classic", "", "")
    assert "no new content" in use.notes


def test_classic_fills_and_leaves_known_pixels_alone() -> None:
    image = np.random.default_rng(0).random((48, 56, 3), dtype=np.float32)
    hole = np.zeros((48, 56), np.bool_)
    hole[10:30, 20:40] = True
    damaged = np.where(hole[..., None], np.float32(np.nan), image)
    filled = ModelPool().load(INPAINT, "classic").fill(damaged, hole, seed=3)
    np.testing.assert_array_equal(filled[~hole], image[~hole])
    assert np.isfinite(filled).all()
    assert filled[hole].std() > 0.05
