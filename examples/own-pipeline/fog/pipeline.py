"""The pipeline as data. The operator reads this module too: import nothing heavy here, no numpy and no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from scenewright_stages.backends.depth.selection import depth_names
from scenewright_stages.backends.runtime.choices import BackendChoice, stage_resources
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import ArrayContract, ImageContract, OutputContract
from scenewright_stages.contract.params import OneOf, Params, Rule, ordered
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, StageModels, StagePod, StageSpec
from scenewright_stages.contract.samples import Child
from scenewright_stages.photographs.params import PositiveRange


class DepthParams(Params):
    """How far away everything is."""

    backend: Annotated[str, OneOf(depth_names(from_files=False))] = Field(
        default="classic", description="Who estimates it."
    )


class FogParams(Params):
    """Photographs in fog of several densities."""

    size: int = Field(default=512, ge=32, le=4096, description="Longest side of the pictures in pixels.")
    variants: int = Field(default=2, ge=1, le=100, description="Pictures of each photograph.")
    density: PositiveRange = Field(default=[0.1, 0.5], description="Thinnest and thickest fog, per metre.")
    depth: DepthParams = DepthParams()

    rules: ClassVar[tuple[Rule, ...]] = ordered(density=(0.5, 0.1))


def stages(params: FogParams) -> tuple[StageSpec, ...]:
    """resize -> depth -> fog, which makes several pictures of each photograph."""
    variants = [Child(f"_{number}", {"variant": number}) for number in range(params.variants)]
    resize = StageSpec(
        name="resize",
        version=1,
        implementation="fog.stages:Resize",
        reads=(Read(INPUT),),
        outputs=(_picture("picture", "clear/{sample}.png"),),
        parameters=("size",),
        pod=StagePod(seconds_per_sample=0.1),
    )
    depth = StageSpec(
        name="depth",
        version=1,
        implementation="fog.stages:Depth",
        reads=(Read("resize", ("picture",)),),
        outputs=(
            OutputContract(
                "depth",
                ".scenewright/work/{sample}/depth.npz",
                "arrays",
                result=False,
                arrays=(ArrayContract("metres", "float32", 2, minimum=0.0),),
            ),
        ),
        models=StageModels(backends={"depth": params.depth.backend}, backend_parameters={"depth": "depth.backend"}),
        pod=StagePod(
            resources=stage_resources([BackendChoice("depth", (params.depth.backend,))]), seconds_per_sample=1.0
        ),
    )
    fog = StageSpec(
        name="fog",
        version=1,
        implementation="fog.stages:Fog",
        reads=(Read("resize", ("picture",)), Read("depth", ("depth",))),
        outputs=(_picture("picture", "foggy/{sample}.png"),),
        parameters=("density",),
        attributes=("variant",),
        expands=lambda sample: variants,
        pod=StagePod(seconds_per_sample=0.1),
    )
    return resize, depth, fog


def _picture(name: str, path: str) -> OutputContract:
    return OutputContract(name, path, "image", image=ImageContract(channels=3))


PIPELINE = Pipeline(
    name="fog",
    kind="DatasetJob",
    params=FogParams,
    stages=stages,
    input=InputKind(suffixes=(".jpg", ".png")),
)
