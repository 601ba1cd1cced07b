"""The reference-object pipeline as data: one product photo -> views -> scenes -> labelled images -> degraded copies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic.alias_generators import to_camel

from scenewright_stages.backends.runtime.choices import BackendChoice, stage_resources
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import ArrayContract, ImageContract, OutputContract
from scenewright_stages.contract.pipeline import (
    INPUT,
    NamedInput,
    Pipeline,
    Read,
    Resources,
    SecretKey,
    StageModels,
    StagePod,
    StageSpec,
)
from scenewright_stages.photographs.params import PICTURE_SUFFIXES
from scenewright_stages.reference.family import augmented_children, scene_children, variation_children, views
from scenewright_stages.reference.listing import list_objects
from scenewright_stages.reference.params import (
    EDITORS,
    PHOTOS,
    PROJECT,
    PROMPT_FILE,
    SYSTEM,
    THINGS,
    VARIATIONS,
    ReferenceObjectParams,
    Step,
)

WORK = ".scenewright/work/{sample}"
IDENTITY = ("class", "title", "roster")
"""Attributes from which the name of an object's class follows."""
LANGUAGE_MODEL = "language-model"
"""Name of the chart's address range of the language model."""
TOKEN = "LANGUAGE_MODEL_TOKEN"
MAY_BE_FLAT = ImageContract(may_be_constant=True)
PAINTING = ("variant", "precision", "revision", "steps", "guidance")
"""Parameters of every block whose backend may paint."""
PAINTING_THREADS = 2
"""One sample is read and written while the model works on the other."""
SCENES_BACKEND = {"edit": "scenes.backend"}
_CUTOUT_OF_VIEW = Read("perspectives", ("cutouts",), part="view_part")
CUTOUT = (ArrayContract("pixels", "uint8", 3), ArrayContract("base", "float32", 1))


def white_stage(params: ReferenceObjectParams) -> StageSpec:
    """Cuts the object out and puts it on white."""
    block = params.white
    painted = block.backend in EDITORS
    white_path, white_kept = _output_path(params, "white", "{home}/01_white_background.png", "white.png")
    choices = [] if block.backend == "classic" else [_choice("edit" if painted else "segment", block)]
    return StageSpec(
        name="white",
        title="White background",
        version=4,
        implementation="scenewright_stages.reference.white:WhiteStage",
        reads=(Read(INPUT),),
        outputs=(
            # A white object on white.
            OutputContract("white", white_path, "image", result=white_kept, image=MAY_BE_FLAT),
            OutputContract("photo", f"{WORK}/photo.png", "image", result=False, image=MAY_BE_FLAT),
            _image("cutout", f"{WORK}/cutout.png", result=False, channels=4),
            _image("mask", f"{WORK}/mask.png", result=False, channels=1),
            OutputContract("facts", f"{WORK}/white.json", "json", result=False, json_keys=("base",)),
            *((_image("exemplar", f"{WORK}/exemplar.png", result=False, channels=4),) if painted else ()),
        ),
        parameters=("white", "object_name") if block.backend in ("sam3", *EDITORS) else ("white",),
        attributes=("home", "box", "points", "mask_polarity", "mask_class", *(IDENTITY if choices else ())),
        models=StageModels(
            backends={choice.capability: choice.names[0] for choice in choices},
            backend_parameters={"edit" if painted else "segment": "white.backend"},
        ),
        pod=StagePod(
            resources=_painting_resources(choices) if painted else stage_resources(choices),
            threads=PAINTING_THREADS if painted else 0,
            seconds_per_sample=30.0 if painted else 1.0,
        ),
    )


def perspectives_stage(params: ReferenceObjectParams) -> StageSpec:
    """Rotates the object."""
    count = len(views(params))
    block = params.perspectives
    choices = [] if block.backend == "classic" else [_choice("object-views", block)]
    views_path, views_kept = _output_path(params, "perspectives", "{home}/02_perspectives/", "views/")
    return StageSpec(
        name="perspectives",
        title="Perspectives",
        version=2 if choices else 3,
        implementation="scenewright_stages.reference.painted_views:PaintedViewsStage"
        if choices
        else "scenewright_stages.reference.perspectives:PerspectivesStage",
        reads=(Read("white", ("cutout",) if choices else ("cutout", "facts")),),
        outputs=(
            OutputContract(
                "views",
                views_path,
                "image",
                "folder",
                views_kept,
                minimum_files=count,
                maximum_files=count,
                image=MAY_BE_FLAT,
            ),
            OutputContract(
                "cutouts",
                f"{WORK}/cutouts/",
                "arrays",
                "folder",
                result=False,
                minimum_files=count,
                maximum_files=count,
                arrays=CUTOUT,
            ),
        ),
        parameters=("perspectives",),
        attributes=("home",),
        models=StageModels(
            backends={choice.capability: choice.names[0] for choice in choices},
            backend_parameters={"object-views": "perspectives.backend"},
        ),
        pod=StagePod(
            resources=_painting_resources(choices),
            threads=PAINTING_THREADS if choices else 0,
            seconds_per_sample=(30.0 if choices else 0.5) * count,
        ),
    )


def prompts_stage(params: ReferenceObjectParams) -> StageSpec:
    """Writes the prompts of the scenes."""
    block = params.prompts
    asks = block.backend == "ollama"
    prompts_path, prompts_kept = _output_path(params, "prompts", "{home}/03_prompts/", "texts/")
    return StageSpec(
        name="prompts",
        title="Prompts",
        version=1,
        implementation="scenewright_stages.reference.prompts:PromptsStage",
        reads=(),
        outputs=(
            OutputContract("prompts", prompts_path, "text", "folder", prompts_kept),
            OutputContract("fields", f"{WORK}/prompts/", "json", "folder", result=False, json_keys=("text", "place")),
        ),
        parameters=(
            "object_name",
            "prompts",
            "scenes.places",
            *(("scenes.background",) if block.backend != "grammar" or _on_photos(params) else ()),
            *(("scenes.backend",) if block.backend != "grammar" else ()),
        ),
        attributes=("home", *IDENTITY),
        inputs=tuple(each.name for each in named_inputs(params) if each.name in (PROMPT_FILE, SYSTEM, PROJECT)),
        pod=StagePod(
            secret=SecretKey(block.secret_name, block.secret_key, TOKEN) if asks and block.secret_name else None,
            egress=LANGUAGE_MODEL if asks else "",
            seconds_per_sample=10.0 * block.count if asks else 0.1,
        ),
    )


def backdrop_stage(params: ReferenceObjectParams) -> StageSpec:
    """Removes the object from its own photo, which becomes the background."""
    light = ArrayContract("left", "float32", 2, minimum=0.0, maximum=1.0, may_be_constant=True)
    return StageSpec(
        name="backdrop",
        title="Empty photo",
        version=2,
        implementation="scenewright_stages.reference.backdrop:BackdropStage",
        reads=(Read("white", ("photo", "cutout")),),
        outputs=(
            _image("empty", f"{WORK}/empty.png", result=False),
            OutputContract("light", f"{WORK}/light.npz", "arrays", result=False, arrays=(light,)),
        ),
        pod=StagePod(seconds_per_sample=15.0),
    )


def scenes_stage(params: ReferenceObjectParams) -> StageSpec:
    """Composites every view into every scene."""
    if params.scenes.painted:
        return painted_scenes_stage(params)
    image_path, image_kept = _output_path(params, "scenes", "{home}/04_dataset/{file}.png", "image.png")
    own = (Read("white", ("facts",)), Read("backdrop", ("empty", "light")))
    return StageSpec(
        name="scenes",
        title="Scenes",
        version=4 if params.scenes.background == "photo" else 5,
        implementation="scenewright_stages.reference.scenes:ScenesStage",
        reads=(
            _CUTOUT_OF_VIEW,
            Read("prompts", ("fields",), part="prompt_file"),
            *(own if params.scenes.background == "own" else ()),
        ),
        outputs=(
            OutputContract("image", image_path, "image", result=image_kept, image=MAY_BE_FLAT),
            OutputContract("mask", f"{WORK}/mask.png", "image", result=False, image=ImageContract(1, 16, True)),
            OutputContract("facts", f"{WORK}/scene.json", "json", result=False, json_keys=("prompt", "box")),
        ),
        # The children determine which scenes exist; these parameters determine how each is drawn.
        parameters=tuple(
            f"scenes.{name}"
            for name in (
                "background",
                "size",
                "object_scale",
                "decoys",
                "occluder_probability",
                "minimum_visible",
                "seams",
                "things",
                *(("photos", "ground") if _on_photos(params) else ()),
            )
        )
        + (("annotate.split_ratio", "annotate.test_share") if _on_photos(params) else ()),
        attributes=("home", "file", "view_part", "prompt_file", "scene_seed", "empty")
        + (("prompt", "photo_split") if _on_photos(params) else ()),
        inputs=tuple(each.name for each in named_inputs(params) if each.name in (PHOTOS, THINGS)),
        expands=partial(scene_children, params),
        models=StageModels(backend_parameters=SCENES_BACKEND),
        pod=StagePod(threads=0, seconds_per_sample=2.0),
    )


def painted_scenes_stage(params: ReferenceObjectParams) -> StageSpec:
    """Paints every scene with a model, either including the view or around it."""
    block = params.scenes
    edited = block.backend in EDITORS
    choice = _choice("edit" if edited else "inpaint", block)
    image_path, image_kept = _output_path(params, "scenes", "{home}/04_dataset/{file}.png", "image.png")
    view = Read("perspectives", ("views",), part="view_file") if edited else _CUTOUT_OF_VIEW
    mask = OutputContract("mask", f"{WORK}/mask.png", "image", result=False, image=ImageContract(1, 16, True))
    return StageSpec(
        name="scenes",
        title="Scenes",
        version=1 if edited else 2,
        implementation="scenewright_stages.reference.painted_scenes:"
        + ("EditedScenesStage" if edited else "FilledScenesStage"),
        reads=(view, Read("prompts", ("fields",), part="prompt_file")),
        outputs=(
            OutputContract("image", image_path, "image", result=image_kept, image=MAY_BE_FLAT),
            *(() if edited else (mask,)),
            OutputContract("facts", f"{WORK}/scene.json", "json", result=False, json_keys=("prompt", "place")),
        ),
        parameters=tuple(
            f"scenes.{name}" for name in ("backend", "size", *PAINTING, *(() if edited else ("object_scale",)))
        ),
        attributes=(
            "home",
            "file",
            "view_file" if edited else "view_part",
            "prompt_file",
            "prompt",
            "scene_seed",
            "empty",
        ),
        expands=partial(scene_children, params),
        models=StageModels(
            backends={choice.capability: choice.names[0]},
            backend_parameters={choice.capability: SCENES_BACKEND["edit"]},
        ),
        pod=StagePod(
            resources=_painting_resources([choice]),
            threads=PAINTING_THREADS,
            seconds_per_sample=30.0 if edited else 6.0,
        ),
    )


def vary_stage(params: ReferenceObjectParams) -> StageSpec:
    """Varies the scenes' weather and light."""
    combined, kept = _output_path(params, "vary", "{home}/05_qwen_combined_images/{picture}.png", "combined.png")
    varied, _ = _output_path(params, "vary", "{home}/05_qwen_augmented_images/{picture}.png", "varied.png")
    choices = [] if params.vary.backend == "classic" else [_choice("edit", params.vary)]
    return StageSpec(
        name="vary",
        title="Variations",
        version=1,
        implementation="scenewright_stages.reference.vary:VaryStage",
        reads=(Read("scenes", ("image",)),),
        outputs=(
            OutputContract("combined", combined, "image", result=kept, image=MAY_BE_FLAT),
            OutputContract("varied", varied, "image", result=kept, optional=True, image=MAY_BE_FLAT),
        ),
        parameters=tuple(f"vary.{name}" for name in (("backend", "file", *PAINTING) if choices else ("weathers",))),
        attributes=("home", "picture", "variation"),
        inputs=tuple(each.name for each in named_inputs(params) if each.name == VARIATIONS),
        expands=partial(variation_children, params),
        models=StageModels(
            backends={choice.capability: choice.names[0] for choice in choices},
            backend_parameters={"edit": "vary.backend"},
        ),
        pod=StagePod(
            resources=_painting_resources(choices),
            threads=PAINTING_THREADS if choices else 0,
            seconds_per_sample=30.0 if choices else 0.5,
        ),
    )


def annotate_stage(params: ReferenceObjectParams) -> StageSpec:
    """Labels and splits the images."""
    varied = (Read("vary", ("combined",)),) if params.vary.enabled else ()
    # A repainted object has no known mask.
    scene = (*(() if params.vary.enabled else ("image",)), *(() if params.paints_objects() else ("mask",)))
    block = params.annotate
    capability = "segment" if block.backend == "sam3" else "locate"
    choices = [] if block.backend == "exact" else [_choice(capability, block)]
    if block.refine == "sam2":
        choices.append(BackendChoice("segment", ("sam2",), block.refine_variant, revision=block.refine_revision))
    exemplar = ("exemplar",) if params.white.backend in EDITORS else ("photo", "cutout")
    shown = (Read("white", exemplar),) if choices else ()
    return StageSpec(
        name="annotate",
        title="Annotation",
        version=2,
        implementation="scenewright_stages.reference.annotate:AnnotateStage",
        reads=(*((Read("scenes", scene),) if scene else ()), *varied, *shown),
        outputs=(
            OutputContract("image", "06_yolo_dataset/{split}/images/{picture}.png", "image", image=MAY_BE_FLAT),
            OutputContract("label", "06_yolo_dataset/{split}/labels/{picture}.txt", "text", minimum_bytes=0),
            OutputContract("mask", f"{WORK}/label.png", "image", result=False, image=ImageContract(1, 16, True)),
        ),
        parameters=("object_name", "annotate.minimum_area", *_finding_parameters(params)),
        attributes=("split", "picture", "empty", *IDENTITY),
        models=StageModels(
            backends={choice.capability: choice.names[0] for choice in choices},
            backend_parameters={capability: "annotate.backend"},
            weight_parameters={"segment": "annotate.refine"} if block.refine == "sam2" else {},
        ),
        pod=StagePod(resources=stage_resources(choices), threads=0, seconds_per_sample=2.0 if choices else 0.2),
    )


def _finding_parameters(params: ReferenceObjectParams) -> tuple[str, ...]:
    """The parameters that located masks depend on."""
    if params.annotate.backend == "exact":
        return ()
    names = ["variant", "precision", "revision", "refine", "refine_variant", "refine_revision", "score_threshold"]
    names += ["prompt"] if params.annotate.backend == "sam3" else []
    names += ["persam_learning_rate", "persam_epochs"] if params.annotate.backend == "persam-f" else []
    return tuple(f"annotate.{name}" for name in names)


def augment_stage(params: ReferenceObjectParams) -> StageSpec:
    """Adds degraded copies."""
    return StageSpec(
        name="augment",
        title="Degraded copies",
        version=2,
        implementation="scenewright_stages.reference.augment:AugmentStage",
        reads=(Read("annotate", ("image", "label", "mask")),),
        outputs=(
            OutputContract(
                "image", "07_cv_combined_dataset/{split}/images/{picture_file}.png", "image", image=MAY_BE_FLAT
            ),
            OutputContract(
                "label", "07_cv_combined_dataset/{split}/labels/{picture_file}.txt", "text", minimum_bytes=0
            ),
            OutputContract(
                "degraded",
                "07_cv_augmented_dataset/{split}/images/{picture_file}.png",
                "image",
                optional=True,
                image=MAY_BE_FLAT,
            ),
            OutputContract(
                "degraded_label",
                "07_cv_augmented_dataset/{split}/labels/{picture_file}.txt",
                "text",
                optional=True,
                minimum_bytes=0,
            ),
        ),
        parameters=tuple(
            f"augment.{name}" for name in type(params.augment).model_fields if name.endswith(("_probability", "_range"))
        ),
        attributes=("split", "picture_file", "copy"),
        expands=partial(augmented_children, params),
        pod=StagePod(threads=0, seconds_per_sample=0.3),
    )


def stages(params: ReferenceObjectParams) -> tuple[StageSpec, ...]:
    """The stages in execution order."""
    chain = [white_stage, perspectives_stage, prompts_stage]
    chain += [backdrop_stage] if params.scenes.background == "own" else []
    chain += [scenes_stage]
    chain += [vary_stage] if params.vary.enabled else []
    chain += [annotate_stage] if params.annotate.enabled else []
    chain += [augment_stage] if params.augment.enabled else []
    return tuple(stage(params) for stage in chain)


def named_inputs(params: ReferenceObjectParams) -> tuple[NamedInput, ...]:
    """The user's texts, backgrounds and cut-outs."""
    prompts, scenes = params.prompts, params.scenes
    texts = {"file": ((PROMPT_FILE, "file"),), "ollama": ((SYSTEM, "system_file"), (PROJECT, "project_file"))}
    found = [(name, "prompts", field) for name, field in texts.get(prompts.backend, ())]
    found += [(PHOTOS, "scenes", "photos")] if _on_photos(params) else []
    found += [(THINGS, "scenes", "things")] if scenes.background != "own" and not scenes.painted else []
    found += [(VARIATIONS, "vary", "file")] if params.vary.enabled and params.vary.backend in EDITORS else []
    named = [(name, block, field, getattr(getattr(params, block), field)) for name, block, field in found]
    return tuple(
        NamedInput(name, uri=uri, field=f"{block}.{to_camel(field)}") for name, block, field, uri in named if uri
    )


def _on_photos(params: ReferenceObjectParams) -> bool:
    return params.scenes.background == "photo"


def _output_path(params: ReferenceObjectParams, step: Step, path: str, otherwise: str) -> tuple[str, bool]:
    """Path of a step's output, and whether it is part of the result.

    If a folder is no longer kept, its path changes and its stage runs again; equal bytes keep later stages up to date.
    """
    return (path, True) if params.keeps(step) else (f"{WORK}/{otherwise}", False)


def _choice(capability: str, block: Any) -> BackendChoice:
    """The backend and weights that a block selects."""
    return BackendChoice(capability, (block.backend,), block.variant, block.precision, block.revision)


def _painting_resources(choices: Sequence[BackendChoice]) -> Resources:
    """Resources of a stage with a painting model; its weights pass through the Pod's memory."""
    large = any(choice.names[0].startswith("qwen") for choice in choices)
    return stage_resources(choices, cpu=4.0, memory_gib=64.0 if large else 24.0, scratch_gib=16.0)


def _image(name: str, path: str, result: bool = True, channels: int = 3) -> OutputContract:
    return OutputContract(name, path, "image", result=result, image=ImageContract(channels=channels))


PIPELINE = Pipeline(
    name="referenceObject",
    kind="DatasetJob",
    params=ReferenceObjectParams,
    input=InputKind(suffixes=PICTURE_SUFFIXES, masks=True, lister=list_objects),
    stages=stages,
    inputs=named_inputs,
    retries_per_sample=3,
    uri_parameters=(
        "prompts.file",
        "prompts.system_file",
        "prompts.project_file",
        "scenes.photos",
        "scenes.things",
        "vary.file",
    ),
    examples=(
        {"vary": {"enabled": True}, "scenes": {"background": "own"}},
        {"scenes": {"background": "photo", "photos": "file:///photos", "things": "file:///things"}},
        {"annotate": {"backend": "match"}},
        {"scenes": {"backend": "flux-fill"}, "perspectives": {"backend": "zero123"}},
        {
            "white": {"backend": "qwen-edit"},
            "perspectives": {"backend": "qwen-multicamera"},
            "scenes": {"backend": "qwen-edit"},
            "vary": {"enabled": True, "backend": "qwen-edit"},
            "annotate": {"backend": "persam", "refine": "sam2"},
        },
    ),
    reporter="scenewright_stages.reference.report:ReferenceReporter",
    catalogue="scenewright_stages.reference.catalogue:index_files",
    partial_catalogue=True,
    sample_pages=False,
)
