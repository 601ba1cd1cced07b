"""The relighting pipeline as data: segment -> albedo -> degrade (new light) -> recombine -> caption."""

from __future__ import annotations

from scenewright_stages.backends.runtime.choices import BackendChoice, runs_on_gpu, stage_resources
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import ArrayContract, ImageContract, OutputContract
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, Resources, StageModels, StagePod, StageSpec
from scenewright_stages.contract.samples import Child, Expansion
from scenewright_stages.photographs.params import MASK_ENDINGS, MASK_FOLDERS, PICTURE_SUFFIXES, MaskEntry
from scenewright_stages.relight.params import Folder, RelightParams

SIDECARS: dict[str, tuple[str, ...]] = {"mask": MASK_ENDINGS}
WORK = ".scenewright/work/{sample}"
KEPT = "kept_"
"""Prefix of the outputs that exist only for `keep`."""
MAY_BE_FLAT = frozenset({"background", "alpha", "light", "normals"})
"""A person may fill the picture or stand before a wall of one colour; all may face the camera and be lit."""
BEHIND = ArrayContract("behind", "uint8", 2, may_be_constant=True, may_be_empty=True)
"""The background's own colours along the outline; a supplied mask may have no soft edge."""
MODEL_THREADS = 16
"""Samples that a stage with a model works on at a time: while the GPU works on eight, the next are prepared."""


def segment_stage(params: RelightParams) -> StageSpec:
    """Segments the person: soft matte, binary mask, decontaminated foreground, background."""
    backends, block = params.segmenters(), params.segmentation
    choice = BackendChoice("segment", backends, block.variant, block.precision)
    return StageSpec(
        name="segment",
        title="Find the person",
        version=4,
        implementation="scenewright_stages.relight.segment:SegmentStage",
        reads=(Read(INPUT),),
        outputs=(
            _image("input", "outputs/{sample}_input.png"),
            _image("foreground", "outputs/{sample}_foreground.png", channels=4),
            _image("alpha", "outputs/{sample}_alpha.png", channels=1),
            _between("layers", channels=4),
            OutputContract("outline", f"{WORK}/outline.npz", "arrays", result=False, arrays=(BEHIND,)),
            _facts("segmentation"),
            *_optional_output(params, "stage_1", "foreground", channels=4),
            *_optional_output(params, "stage_1", "mask", channels=1),
            *_optional_output(params, "stage_1", "alpha", channels=1),
            *_optional_output(params, "stage_1", "background"),
        ),
        parameters=("segmentation", "gates.least_score", "gates.largest_edge_error"),
        attributes=("box", "mask_polarity", "mask_class"),
        models=StageModels(
            backends={"segment": backends[0]},
            alternatives={"segment": backends[1:]},
            backend_parameters={"segment": "segmentation.backend"},
        ),
        pod=StagePod(resources=_resources(choice), threads=_threads(choice), seconds_per_sample=0.4),
    )


def albedo_stage(params: RelightParams) -> StageSpec:
    """Removes the photograph's lighting from the person."""
    backends, block = params.albedo_methods(), params.albedo
    choice = BackendChoice("albedo", backends, block.variant, block.precision)
    return StageSpec(
        name="albedo",
        title="Albedo",
        version=4,
        implementation="scenewright_stages.relight.albedo:AlbedoStage",
        reads=(Read("segment", ("layers",)),),
        outputs=(
            _image("albedo", "outputs/{sample}_albedo.png"),
            _facts("albedo"),
            *_optional_output(params, "stage_2", "albedo"),
        ),
        parameters=("albedo",),
        models=StageModels(
            backends={"albedo": backends[0]},
            alternatives={"albedo": backends[1:]},
            backend_parameters={"albedo": "albedo.backend"},
        ),
        pod=StagePod(resources=_resources(choice), threads=_threads(choice), seconds_per_sample=0.3),
    )


def degrade_stage(params: RelightParams) -> StageSpec:
    """Relights the albedo, once per variant."""
    backend, block = params.normal_method(), params.normals
    choice = BackendChoice("normals", (backend,), block.variant, block.precision)
    return StageSpec(
        name="degrade",
        title="New light",
        version=4,
        implementation="scenewright_stages.relight.degrade:DegradeStage",
        reads=(Read("segment", ("layers",)), Read("albedo", ("albedo",))),
        outputs=(
            _between("degraded"),
            _light("params", f"{WORK}/params.json", result=False),
            *_optional_output(params, "stage_3", "degraded"),
            *_optional_output(params, "stage_3", "normals"),
            *_optional_output(params, "stage_3", "light", channels=1),
            *((_light(f"{KEPT}params", "stage_3/{sample}_params.json"),) if params.keeps("stage_3") else ()),
        ),
        parameters=("degradation", "normals", "gates.least_light_change"),
        expands=_variants(params),
        models=StageModels(backends={"normals": backend}, backend_parameters={"normals": "normals.backend"}),
        pod=StagePod(resources=_resources(choice), threads=_threads(choice), seconds_per_sample=0.3),
    )


def recombine_stage(params: RelightParams) -> StageSpec:
    """Composites the relit person over the original background and writes the pair's metadata."""
    captioned = params.caption.backend != "none"
    metadata = f"{WORK}/metadata.json" if captioned else "outputs/{sample}_metadata.json"
    return StageSpec(
        name="recombine",
        title="Back on the background",
        version=2,
        implementation="scenewright_stages.relight.recombine:RecombineStage",
        reads=(
            Read("segment", ("layers", "outline", "facts")),
            Read("albedo", ("facts",)),
            Read("degrade", ("degraded", "params")),
        ),
        outputs=(
            _image("output", "outputs/{sample}_output.png"),
            OutputContract("metadata", metadata, "json", result=not captioned, json_keys=("light", "files")),
            *_optional_output(params, "stage_3_5", "composite"),
        ),
        parameters=("background", "caption.backend", "split"),
        attributes=("person",),
        pod=StagePod(seconds_per_sample=0.2, threads=0),
    )


def caption_stage(params: RelightParams) -> StageSpec:
    """Captions the lighting."""
    backend, block = params.caption.backend, params.caption
    choice = BackendChoice("caption", (backend,), block.variant, block.precision)
    return StageSpec(
        name="caption",
        title="Caption",
        version=2,
        implementation="scenewright_stages.relight.caption:CaptionStage",
        reads=(Read("recombine", ("output", "metadata")),),
        outputs=(OutputContract("metadata", "outputs/{sample}_metadata.json", "json", json_keys=("light", "caption")),),
        parameters=("caption",),
        models=StageModels(backends={"caption": backend}, backend_parameters={"caption": "caption.backend"}),
        pod=StagePod(
            resources=_resources(choice),
            threads=_threads(choice),
            seconds_per_sample=2.0 if backend == "qwen-vl" else 0.02,
        ),
    )


def _variants(params: RelightParams) -> Expansion | None:
    """One child per light; no expansion if there is only one light."""
    children = [Child(suffix) for suffix in params.variant_suffixes()]
    return (lambda sample: children) if children else None


def stages(params: RelightParams) -> tuple[StageSpec, ...]:
    """The stages in execution order."""
    chain = (segment_stage(params), albedo_stage(params), degrade_stage(params), recombine_stage(params))
    return chain if params.caption.backend == "none" else (*chain, caption_stage(params))


def _image(name: str, path: str, channels: int = 3, result: bool = True) -> OutputContract:
    flat = name.removeprefix(KEPT) in MAY_BE_FLAT
    return OutputContract(
        name, path, "image", result=result, image=ImageContract(channels=channels, may_be_constant=flat)
    )


def _between(name: str, channels: int = 3) -> OutputContract:
    """An intermediate image; kept images are separate outputs, so changing `keep` never recomputes anything."""
    return _image(name, f"{WORK}/{name}.png", channels, result=False)


def _optional_output(params: RelightParams, folder: Folder, name: str, channels: int = 3) -> tuple[OutputContract, ...]:
    """An image in a stage's result folder, if that folder is kept."""
    return (_image(KEPT + name, f"{folder}/{{sample}}_{name}.png", channels),) if params.keeps(folder) else ()


def _light(name: str, path: str, result: bool = True) -> OutputContract:
    """The parameters of a new light."""
    return OutputContract(name, path, "json", result=result, json_keys=("degradation", "light", "seed"))


def _facts(name: str) -> OutputContract:
    """Facts that later stages copy into the metadata."""
    return OutputContract("facts", f"{WORK}/{name}.json", "json", result=False, json_keys=("backend",))


def _resources(choice: BackendChoice) -> Resources:
    """Resources of a stage: a GPU for a model backend, otherwise a CPU."""
    return stage_resources([choice], cpu=8.0, memory_gib=24.0, scratch_gib=16.0)


def _threads(choice: BackendChoice) -> int:
    """Number of concurrent samples; 0 means one per CPU."""
    return MODEL_THREADS if runs_on_gpu(choice) else 0


PIPELINE = Pipeline(
    name="relight",
    kind="DatasetJob",
    params=RelightParams,
    input=InputKind(
        suffixes=PICTURE_SUFFIXES,
        sidecars=SIDECARS,
        folders={"mask": MASK_FOLDERS},
        listings=True,
        entry=MaskEntry,
        masks=True,
    ),
    stages=stages,
    examples=({"caption": {"backend": "classic"}},),
    reporter="scenewright_stages.relight.report:RelightReporter",
    catalogue="scenewright_stages.relight.catalogue:index_files",
    sample_pages=False,
)
