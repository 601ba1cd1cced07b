"""The WorldExplorer pipeline as data: scaffold -> depth -> one stage per motion -> points -> train -> export.

Scaffolds with gaps between generated views start with one more stage, which generates the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scenewright_stages.backends.runtime.choices import BackendChoice, stage_resources
from scenewright_stages.captures import SCENE_ARRAYS, WORK
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import ArrayContract, ImageContract, OutputContract
from scenewright_stages.contract.pipeline import INPUT, Ask, Pipeline, Read, Resources, StageModels, StagePod, StageSpec
from scenewright_stages.contract.samples import Child, Sample
from scenewright_stages.exports import formats_stage
from scenewright_stages.worldexplorer.listing import (
    DEPTH,
    IMAGE_SUFFIXES,
    MOTIONS,
    SIDECARS,
    VIEWS,
    brings_views,
    list_worlds,
    read_entry,
)
from scenewright_stages.worldexplorer.params import (
    CANDIDATES,
    GAPS,
    Motion,
    PointsParams,
    ScaffoldParams,
    WorldDepthParams,
    WorldExplorerParams,
)

_START_ARRAYS = tuple(replace(each, may_be_constant=True) for each in SCENE_ARRAYS)
"""Gaussians that were never trained are equally opaque."""
_PLAIN = ImageContract(may_be_constant=True)
_FLAGS = ImageContract(channels=1, may_be_constant=True)
NOVEL_VIEWS, GEOMETRY, INPAINT = "novel-views", "geometry", "inpaint"
TEXT_TO_IMAGE, SIMILARITY = "text-to-image", "similarity"
_SEVA_PARAMETERS = ("expansion.backend", "expansion.translation_scale", "expansion.seva")
_SEVA_SECONDS = 20.0
"""Of one window of 21 frames on a large GPU; a path of 135 frames has 14."""


def _generator(backend: str, precision: str) -> tuple[dict[str, str], Resources]:
    """Backends and resources of a stage that generates views; the defaults for classic."""
    if backend == "classic":
        return {}, Resources()
    choice = BackendChoice(NOVEL_VIEWS, (backend,), precision=precision)
    return {NOVEL_VIEWS: backend}, stage_resources([choice], cpu=4.0, memory_gib=24.0)


def _version(classic: int, backends: Mapping[str, str]) -> int:
    """Version of a stage whose views seva may generate: one more than the classic one, which has its own results.

    SEVA groups the frames between anchors by the anchors' exact times. Results without it stay valid.
    """
    return classic + (NOVEL_VIEWS in backends)


def _estimator(block: WorldDepthParams) -> tuple[dict[str, str], Resources]:
    """Backends and resources of the depth stage."""
    if block.method != "model":
        return {}, Resources()
    choice = BackendChoice(DEPTH, (block.backend,), variant=block.variant)
    return {DEPTH: block.backend}, stage_resources([choice], memory_gib=16.0)


def _measurer(block: PointsParams) -> tuple[dict[str, str], Resources]:
    """Backends and resources of the points stage."""
    if not block.by_model:
        return {}, Resources(memory_gib=8.0)
    choice = BackendChoice(GEOMETRY, (block.method,), variant=block.variant)
    return {GEOMETRY: block.method}, stage_resources([choice], memory_gib=24.0)


def views_of(sample: Sample) -> tuple[Child, ...]:
    """The eight views of a world, as children."""
    return tuple(Child(f"/view_{view}", {"view": view}) for view in range(VIEWS))


def candidates_stage(params: WorldExplorerParams) -> StageSpec:
    """Generates every other view, and candidates for those between."""
    block = params.scaffold
    choices = [BackendChoice(INPAINT, (block.gaps.backend,))]
    if block.method == "scaffoldGen":
        choices.append(BackendChoice(TEXT_TO_IMAGE, (block.flux.backend,), precision=block.flux.precision))
    else:
        choices.append(BackendChoice(NOVEL_VIEWS, (block.backend,), precision=block.seva.precision))
    backends = {choice.capability: choice.names[0] for choice in choices}
    return StageSpec(
        name=CANDIDATES,
        title="Candidates",
        version=_version(2, backends),
        implementation="scenewright_stages.worldexplorer.candidates:CandidatesStage",
        reads=(Read(INPUT),),
        outputs=(
            OutputContract(
                "views",
                "{sample}/scaffold/drawn/{number:03d}.png",
                "image",
                form="numbered",
                optional=True,
                minimum_files=len(GAPS),
                maximum_files=len(GAPS),
                image=_PLAIN,
            ),
            OutputContract(
                "pictures",
                "{sample}/scaffold/candidates/{number:03d}.png",
                "image",
                form="numbered",
                optional=True,
                image=_PLAIN,
            ),
            OutputContract("sheet", "{sample}/scaffold/candidates.jpg", "image", optional=True, image=_PLAIN),
        ),
        parameters=(
            "scaffold.method",
            "scaffold.mode",
            "scaffold.theme",
            "scaffold.prompts",
            "scaffold.backend",
            "scaffold.flux",
            "scaffold.gaps",
            "scaffold.turn_frames",
            "scaffold.seva",
            "scaffold.field_of_view_degrees",
            "scaffold.size",
        ),
        models=StageModels(
            backends=backends,
            backend_parameters={INPAINT: "scaffold.gaps.backend"},
            # An override of the stage's backend names who fills gaps.
            weight_parameters={TEXT_TO_IMAGE: "scaffold.flux.backend"} if TEXT_TO_IMAGE in backends else {},
        ),
        pod=StagePod(
            resources=stage_resources(choices, cpu=4.0, memory_gib=24.0),
            seconds_per_sample=120.0 + 8.0 * block.candidates_each,
        ),
    )


def _choice_of_gaps(block: ScaffoldParams) -> Ask:
    """Asks which candidate fills each gap, unless the world brings its views or its entry sets another mode."""

    def options(sample: Sample) -> dict[str, tuple[str, ...]]:
        mode = sample.overrides.get("scaffold", {}).get("mode", block.mode)
        if mode != "manual" or brings_views(sample):
            return {}
        count = block.model_copy(update={"mode": "manual"}).candidates_each
        return {gap: tuple(map(str, range(number * count, (number + 1) * count))) for number, gap in enumerate(GAPS)}

    text = "Which candidate fills each gap? The contact sheet scaffold/candidates.jpg shows their numbers."
    return Ask("{sample}/scaffold/choice.json", options, text)


def scaffold_stage(params: WorldExplorerParams) -> StageSpec:
    """Cuts eight views out of the panorama, or stitches eight views into one."""
    block = params.scaffold
    backends, resources = _generator(block.backend if block.turns else "classic", block.seva.precision)
    if block.paints_around:
        choice = BackendChoice(INPAINT, (block.backend,), precision=block.precision)
        backends, resources = {INPAINT: block.backend}, stage_resources([choice], cpu=4.0, memory_gib=24.0)
    if block.has_gaps:
        # An entry may use the automatic choice even if the job does not.
        backends = {SIMILARITY: "clip"}
    return StageSpec(
        name="scaffold",
        title="Scaffold",
        version=_version(3, backends),
        implementation="scenewright_stages.worldexplorer.scaffold:ScaffoldStage",
        reads=(Read(INPUT), *((Read(CANDIDATES, ("views", "pictures")),) if block.has_gaps else ())),
        outputs=(
            OutputContract(
                "views",
                "{sample}/scaffold/final/{number:03d}.png",
                "image",
                form="numbered",
                minimum_files=VIEWS,
                maximum_files=VIEWS,
                image=_PLAIN,
            ),
            OutputContract("panorama", "{sample}/scaffold/panorama.png", "image"),
            OutputContract("origin", "{sample}/scaffold/origin.png", "image", image=_FLAGS),
            OutputContract("cameras", "{sample}/scaffold/transforms.json", "json", json_keys=("frames",)),
            *(
                (OutputContract("scores", "{sample}/scaffold/scores.json", "json", optional=True),)
                if block.has_gaps
                else ()
            ),
        ),
        parameters=("scaffold",),
        asks=_choice_of_gaps(block) if block.has_gaps else None,
        models=StageModels(
            backends=backends,
            backend_parameters={}
            if block.has_gaps
            else {INPAINT if block.paints_around else NOVEL_VIEWS: "scaffold.backend"},
        ),
        pod=StagePod(
            resources=resources,
            seconds_per_sample=_SEVA_SECONDS * block.turn_frames / 18
            if NOVEL_VIEWS in backends
            else 30.0
            if block.paints_around
            else 5.0,
        ),
    )


def depth_stage(params: WorldExplorerParams) -> StageSpec:
    """Estimates the panorama of distances."""
    backends, resources = _estimator(params.depth)
    return StageSpec(
        name="depth",
        title="Depth",
        version=2,
        implementation="scenewright_stages.worldexplorer.depth:DepthStage",
        reads=(Read(INPUT), Read("scaffold", ("panorama", "origin", "views") if backends else ("panorama", "origin"))),
        outputs=(
            OutputContract(
                "distance",
                f"{WORK}/distance.npz",
                "arrays",
                result=False,
                arrays=(ArrayContract("distance", "float32", 2, minimum=0.0),),
            ),
            OutputContract("preview", "{sample}/scaffold/depth.png", "image"),
        ),
        parameters=("depth",),
        models=StageModels(backends=backends, backend_parameters={DEPTH: "depth.backend"}),
        pod=StagePod(resources=resources, seconds_per_sample=8.0),
    )


def motion_stage(params: WorldExplorerParams, motion: Motion) -> StageSpec:
    """One motion's paths from all views; they see everything that earlier motions added."""
    block = params.expansion
    before = block.motions[: block.motions.index(motion)]
    backends, resources = _generator(block.backend, block.seva.precision)
    return StageSpec(
        name=f"expand-{motion}",
        title=f"Expand {motion}",
        version=_version(1, backends),
        implementation="scenewright_stages.worldexplorer.expansion:ExpansionStage",
        reads=(
            Read("scaffold", ("panorama", "views") if backends else ("panorama",)),
            Read("depth", ("distance",)),
            *(Read(f"expand-{each}", ("frames",), of="siblings") for each in before),
        ),
        outputs=(OutputContract("frames", f"{WORK}/{motion}.npz", "arrays", result=False),),
        parameters=(
            "expansion.stride",
            "expansion.scale",
            "expansion.metres_per_unit",
            "expansion.clearance",
            "expansion.resolution",
            "expansion.anchors",
            "expansion.memory_frames",
            *(_SEVA_PARAMETERS if backends else ()),
        ),
        attributes=("view", MOTIONS),
        expands=views_of if not before else None,
        models=StageModels(backends=backends, backend_parameters={NOVEL_VIEWS: "expansion.backend"}),
        pod=StagePod(
            threads=1 if backends else 0,
            resources=resources,
            seconds_per_sample=_SEVA_SECONDS * (2 + 8 / block.stride) if backends else 3.0,
        ),
    )


def points_stage(params: WorldExplorerParams) -> StageSpec:
    """Gathers the paths of all views into one capture that other programs can read, with its points."""
    backends, resources = _measurer(params.points)
    return StageSpec(
        name="points",
        title="Points",
        version=2,
        implementation="scenewright_stages.worldexplorer.points:PointsStage",
        reads=(
            Read("scaffold", ("panorama", "origin")),
            Read("depth", ("distance",)),
            *(Read(f"expand-{each}", ("frames",), of="children") for each in params.expansion.motions),
        ),
        outputs=(
            OutputContract("capture", "{sample}/scenes/world/img2trajvid/", "bytes", form="folder"),
            OutputContract("start", f"{WORK}/start.npz", "arrays", result=False, arrays=_START_ARRAYS),
        ),
        parameters=("expansion.resolution", "points", "training.start_points", "training.held_out_every"),
        attributes=("view",),
        models=StageModels(backends=backends, backend_parameters={GEOMETRY: "points.method"}),
        pod=StagePod(resources=resources, seconds_per_sample=10.0),
    )


def train_stage(params: WorldExplorerParams) -> StageSpec:
    """Trains the scene on the capture."""
    return StageSpec(
        name="train",
        title="Train the scene",
        version=4,
        implementation="scenewright_stages.worldexplorer.train:TrainStage",
        reads=(Read("points"),),
        outputs=(OutputContract("scene", f"{WORK}/scene.npz", "arrays", result=False, arrays=SCENE_ARRAYS),),
        parameters=("training",),
        keeps_state=True,
        pod=StagePod(
            image="gaussians",
            resources=Resources(memory_gib=8.0),
            seconds_per_sample=10.0 + 0.1 * params.training.settled().steps,
        ),
    )


def export_stage(params: WorldExplorerParams) -> StageSpec:
    """Renders the walk and writes the final files."""
    return StageSpec(
        name="export",
        title="Export",
        version=4,
        implementation="scenewright_stages.worldexplorer.export:ExportStage",
        reads=(
            Read("points", ("capture",)),
            Read("train", ("scene",)),
        ),
        outputs=(
            OutputContract("ply", "{sample}/splat.ply", "ply", minimum_bytes=500),
            OutputContract("ply_rotated", "{sample}/splat_rotated.ply", "ply", minimum_bytes=500),
            OutputContract("video", "{sample}/walk.mp4", "video"),
            OutputContract("depth_video", "{sample}/walk_depth.mp4", "video"),
            OutputContract("contact_sheet", "{sample}/contact_sheet.jpg", "image"),
            OutputContract("path", "{sample}/walk.json", "json", json_keys=("cameras",)),
            OutputContract("metrics", "{sample}/metrics.json", "json", json_keys=("walk",)),
        ),
        parameters=("walk", "expansion.clearance"),
        pod=StagePod(image="gaussians", resources=Resources(memory_gib=8.0), seconds_per_sample=40.0),
    )


def stages(params: WorldExplorerParams) -> tuple[StageSpec, ...]:
    """candidates (if views have gaps) -> scaffold -> depth -> each motion -> points -> train -> export."""
    motions = (motion_stage(params, motion) for motion in params.expansion.motions)
    return (
        *((candidates_stage(params),) if params.scaffold.has_gaps else ()),
        scaffold_stage(params),
        depth_stage(params),
        *motions,
        points_stage(params),
        train_stage(params),
        export_stage(params),
        *formats_stage(
            params.export,
            "scenewright_stages.worldexplorer.formats:WorldFormats",
            (Read("export", ("ply", "path")), Read("points", ("capture",))),
            ("training.held_out_every",),
        ),
    )


PIPELINE = Pipeline(
    name="worldexplorer",
    kind="SceneJob",
    params=WorldExplorerParams,
    input=InputKind(suffixes=IMAGE_SUFFIXES, sidecars=SIDECARS, read_entry=read_entry, lister=list_worlds),
    stages=stages,
    examples=(
        {"expansion": {"backend": "seva"}, "depth": {"method": "model"}},
        {"scaffold": {"method": "scaffoldGen"}},
        {"points": {"method": "vggt"}},
        {"scaffold": {"backend": "flux2-klein"}, "points": {"method": "map-anything"}},
        {"export": {"to": ["spz"]}},
    ),
    entry_parameters=(
        "scaffold.method",
        "scaffold.mode",
        "scaffold.theme",
        "scaffold.prompts",
        "scaffold.field_of_view_degrees",
        "depth.method",
        "depth.camera_height",
        "depth.ceiling",
        "depth.ceiling_height",
        "depth.farthest",
        "expansion.scale",
        "expansion.metres_per_unit",
        "expansion.clearance",
        "expansion.translation_scale",
        "points.references",
        "walk.reach",
    ),
    reporter="scenewright_stages.worldexplorer.report:WorldReporter",
    catalogue="scenewright_stages.worldexplorer.catalogue:batch_files",
    partial_catalogue=True,
)
