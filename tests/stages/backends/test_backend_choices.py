"""What the backends that a stage names need: weights under accepted licences, and Pods of the right size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from plugins import plugins
from teleport_pipeline import PIPELINE, RECEIVER, SENDER

from scenewright_stages.backends.runtime.choices import (
    BackendChoice,
    choices_of,
    licensed_weights,
    runs_on_gpu,
    stage_resources,
)
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted
from scenewright_stages.backends.runtime.registry import backend
from scenewright_stages.contract.backends import UnknownVariant
from scenewright_stages.contract.pipeline import Resources
from scenewright_stages.vistadream.params import VistaDreamParams
from scenewright_stages.vistadream.pipeline import PIPELINE as VISTADREAM

SAM3, SAM2 = "facebook/sam3", "facebook/sam2.1-hiera-large"


@pytest.fixture(autouse=True)
def _teleport() -> Iterator[None]:
    with plugins(teleport="teleport_pipeline:PIPELINE"):
        yield


# --- licences


@pytest.mark.parametrize(
    ("names", "accepted", "expected"),
    [
        (("sam3", "sam2"), (), [SAM2]),
        (("sam3", "sam2"), ("sam-license",), [SAM3, SAM2]),
        (("sam3", "classic"), (), []),
        (("sam2", "classic"), (), [SAM2]),
        (("sam3", "nobody-declared-it"), (), []),
    ],
)
def test_a_refused_licence_is_passed_over_where_a_later_backend_serves(
    names: tuple[str, ...], accepted: tuple[str, ...], expected: list[str]
) -> None:
    assert [weights.id for weights in licensed_weights(BackendChoice("segment", names), accepted)] == expected


@pytest.mark.parametrize("names", [("sam3",), ("sam2", "sam3"), ("sam3", "sam3")])
def test_a_refused_licence_without_a_later_backend_is_an_error(names: tuple[str, ...]) -> None:
    with pytest.raises(LicenceNotAccepted, match="sam-license"):
        licensed_weights(BackendChoice("segment", names), ())


def test_every_set_of_a_backend_needs_its_own_licence() -> None:
    assert licensed_weights(BackendChoice("teleport", ("pair",)), ("lab-a",)) == (SENDER, RECEIVER)
    with pytest.raises(LicenceNotAccepted, match="lab-a"):
        licensed_weights(BackendChoice("teleport", ("pair",)), ("lab-b",))
    assert licensed_weights(BackendChoice("teleport", ("pair",), "receiver-alone"), ()) == (RECEIVER,)


def test_the_variant_decides_the_licence_and_a_backend_without_weights_has_none() -> None:
    with pytest.raises(LicenceNotAccepted, match="cc-by-nc"):
        licensed_weights(BackendChoice("depth", ("depth-anything",), "large"), ())
    with pytest.raises(UnknownVariant, match="giant"):
        licensed_weights(BackendChoice("depth", ("depth-anything",), "giant"), ())
    assert licensed_weights(BackendChoice("depth", ("classic",), "large"), ()) == ()


# --- which choices a chain of stages has


def vistadream(block: dict[str, Any]) -> tuple[tuple[Any, ...], VistaDreamParams]:
    params = VistaDreamParams.model_validate(block)
    return VISTADREAM.stages(params), params


def test_choices_are_those_of_the_selected_stages_with_the_variant_of_the_parameter() -> None:
    stages, params = vistadream({"mode": "coarse", "depth": {"backend": "depth-anything", "variant": "large"}})
    depth = BackendChoice("depth", ("depth-anything",), "large")
    assert choices_of(stages, params, ["depth", "coarse"]) == [depth, BackendChoice("inpaint", ("classic",))]
    assert choices_of(stages, params, ["render"]) == []


def test_alternatives_use_their_default_weights() -> None:
    params = PIPELINE.parse({"backends": ["pair", "walk"], "variant": "receiver-alone"})
    (choice,) = choices_of(PIPELINE.stages(params), params, ["go"])
    assert choice.names == ("pair", "walk")
    assert licensed_weights(choice, ("lab-a",)) == (SENDER, RECEIVER)


# --- sizes


def test_held_backends_add_up_and_of_alternatives_the_largest_counts() -> None:
    sam3, sam2 = (backend("segment", name).gpu_memory_gib for name in ("sam3", "sam2"))
    flux = backend("inpaint", "flux-fill").gpu_memory_gib
    segment = BackendChoice("segment", ("classic", "sam2", "sam3"))
    held = [segment, BackendChoice("inpaint", ("flux-fill",))]
    asked = stage_resources(held, own_gpu_memory_gib=2.0, cpu=8.0, memory_gib=24.0, scratch_gib=16.0)
    assert asked == Resources(8.0, 24.0, 16.0, gpus=1, gpu_memory_gib=2.0 + max(sam2, sam3) + flux)


def test_variant_and_precision_decide_how_much_memory() -> None:
    def memory(*choice: Any, **further: str) -> float:
        return stage_resources([BackendChoice(*choice, **further)]).gpu_memory_gib

    qwen = backend("caption", "qwen-vl")
    assert memory("caption", ("qwen-vl",), "4b", "bf16") == qwen.gpu_memory_by["4b"]
    assert memory("caption", ("qwen-vl",), precision="fp32") == qwen.gpu_memory_by["7b fp32"]
    assert memory("inpaint", ("flux-fill",), precision="fp8") < memory("inpaint", ("flux-fill",), precision="bf16")
    assert memory("teleport", ("pair",), "receiver-alone") == 3.0
    assert memory("teleport", ("pair", "walk"), "receiver-alone") == 7.0, "alternatives use their default weights"


@pytest.mark.parametrize("names", [("classic",), ("classic", "mask")])
def test_without_a_gpu_backend_a_stage_runs_on_a_cpu(names: Sequence[str]) -> None:
    choice = BackendChoice("segment", tuple(names))
    assert not runs_on_gpu(choice)
    assert stage_resources([choice], own_gpu_memory_gib=8.0, cpu=8.0, memory_gib=24.0) == Resources()


def test_a_stage_beside_gpu_backends_asks_for_its_own_need_alone() -> None:
    asked = stage_resources([], beside=[BackendChoice("depth", ("moge",))], own_gpu_memory_gib=8.0)
    assert (asked.gpus, asked.gpu_memory_gib) == (1, 8.0)


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_the_coarse_stage_holds_both_backends_and_its_scene(precision: str) -> None:
    flux = {"backend": "flux-fill", "precision": precision}
    stages, _ = vistadream(
        {"mode": "coarse", "outpaint": flux, "depth": {"backend": "moge"}, "coarse": {"inpaint": flux}}
    )
    memory = {stage.name: stage.pod.resources.gpu_memory_gib for stage in stages}
    fill, depth, scene = backend("inpaint", "flux-fill").gpu_memory("", precision), backend("depth", "moge"), 8.0
    assert memory == {
        "outpaint": fill,
        "depth": depth.gpu_memory_gib,
        "initialize": scene,
        "coarse": fill + depth.gpu_memory_gib + scene,
        "render": scene,
    }
