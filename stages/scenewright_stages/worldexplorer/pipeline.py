"""The pipeline of worlds as data: scaffold -> depth -> one stage for each motion -> points -> train -> export."""

from __future__ import annotations

from dataclasses import replace

from scenewright_stages.backends.choices import BackendChoice, stage_resources
from scenewright_stages.captures import SCENE_ARRAYS, WORK
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import ArrayContract, ImageContract, OutputContract
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, Resources, StageSpec
from scenewright_stages.contract.samples import Child, Sample
from scenewright_stages.worldexplorer.listing import (
    DEPTH,
    IMAGE_SUFFIXES,
    MOTIONS,
    SIDECARS,
    VIEWS,
    list_worlds,
    read_entry,
)
from scenewright_stages.worldexplorer.params import Motion, WorldDepthParams, WorldExplorerParams

_START_ARRAYS = tuple(replace(each, may_be_constant=True) for each in SCENE_ARRAYS)
"""Gaussians that were never trained are equally opaque."""
_PLAIN = ImageContract(may_be_constant=True)
_FLAGS = ImageContract(channels=1, may_be_constant=True)
NOVEL_VIEWS = "novel-views"
_SEVA_PARAMETERS = ("expansion.backend", "expansion.translation_scale", "expansion.seva")
_SEVA_SECONDS = 20.0
"""Of one window of 21 frames on a large GPU; a path of 135 frames has 14."""


def _generator(backend: str, precision: str) -> tuple[dict[str, str], Resources]:
    """The backends of a stage that draws views, and what its Pod asks for; nothing special for classic."""
    if backend == "classic":
        return {}, Resources()
    choice = BackendChoice(NOVEL_VIEWS, (backend,), precision=precision)
    return {NOVEL_VIEWS: backend}, stage_resources([choice], cpu=4.0, memory_gib=24.0)


def _estimator(block: WorldDepthParams) -> tuple[dict[str, str], Resources]:
    """The same for the stage that estimates depth."""
    if block.method != "model":
        return {}, Resources()
    choice = BackendChoice(DEPTH, (block.backend,), variant=block.variant)
    return {DEPTH: block.backend}, stage_resources([choice], memory_gib=16.0)


def views_of(sample: Sample) -> tuple[Child, ...]:
    """The eight views that a world is expanded from."""
    return tuple(Child(f"/view_{view}", {"view": view}) for view in range(VIEWS))


def scaffold_stage(params: WorldExplorerParams) -> StageSpec:
    """Cuts eight views out of the panorama, or puts eight views together to one."""
    block = params.scaffold
    backends, resources = _generator(block.backend, block.seva.precision)
    return StageSpec(
        name="scaffold",
        title="Scaffold",
        version=1,
        implementation="scenewright_stages.worldexplorer.scaffold:ScaffoldStage",
        reads=(Read(INPUT),),
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
        ),
        parameters=("scaffold",),
        backends=backends,
        backend_parameters={NOVEL_VIEWS: "scaffold.backend"},
        resources=resources,
        seconds_per_sample=_SEVA_SECONDS * block.turn_frames / 18 if backends else 5.0,
    )


def depth_stage(params: WorldExplorerParams) -> StageSpec:
    """Distances all round."""
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
        backends=backends,
        backend_parameters={DEPTH: "depth.backend"},
        resources=resources,
        seconds_per_sample=8.0,
    )


def motion_stage(params: WorldExplorerParams, motion: Motion) -> StageSpec:
    """All views' paths of one motion; they see what the motions before added, of all views."""
    block = params.expansion
    before = block.motions[: block.motions.index(motion)]
    backends, resources = _generator(block.backend, block.seva.precision)
    return StageSpec(
        name=f"expand-{motion}",
        title=f"Expand {motion}",
        version=1,
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
        backends=backends,
        backend_parameters={NOVEL_VIEWS: "expansion.backend"},
        expands=views_of if not before else None,
        threads=1 if backends else 0,
        resources=resources,
        seconds_per_sample=_SEVA_SECONDS * (2 + 8 / block.stride) if backends else 3.0,
    )


def points_stage(params: WorldExplorerParams) -> StageSpec:
    """Gathers the paths of all views into one capture that other programs can read, with its points."""
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
        resources=Resources(memory_gib=8.0),
        seconds_per_sample=10.0,
    )


def train_stage(params: WorldExplorerParams) -> StageSpec:
    """Trains the scene on the capture."""
    return StageSpec(
        name="train",
        title="Train the scene",
        version=2,
        implementation="scenewright_stages.worldexplorer.train:TrainStage",
        reads=(Read("points"),),
        outputs=(OutputContract("scene", f"{WORK}/scene.npz", "arrays", result=False, arrays=SCENE_ARRAYS),),
        parameters=("training",),
        keeps_state=True,
        resources=Resources(memory_gib=8.0),
        seconds_per_sample=10.0 + 0.1 * params.training.steps,
    )


def export_stage(params: WorldExplorerParams) -> StageSpec:
    """Walks through the world and writes the files that people use."""
    return StageSpec(
        name="export",
        title="Export",
        version=3,
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
        resources=Resources(memory_gib=8.0),
        seconds_per_sample=40.0,
    )


def stages(params: WorldExplorerParams) -> tuple[StageSpec, ...]:
    """scaffold -> depth -> one stage for each motion -> points -> train -> export."""
    motions = (motion_stage(params, motion) for motion in params.expansion.motions)
    return (
        scaffold_stage(params),
        depth_stage(params),
        *motions,
        points_stage(params),
        train_stage(params),
        export_stage(params),
    )


PIPELINE = Pipeline(
    name="worldexplorer",
    kind="SceneJob",
    params=WorldExplorerParams,
    input=InputKind(suffixes=IMAGE_SUFFIXES, sidecars=SIDECARS, read_entry=read_entry, lister=list_worlds),
    stages=stages,
    examples=({"expansion": {"backend": "seva"}, "depth": {"method": "model"}},),
    entry_parameters=(
        "scaffold.method",
        "depth.method",
        "depth.camera_height",
        "depth.ceiling",
        "depth.ceiling_height",
        "depth.farthest",
        "expansion.scale",
        "expansion.metres_per_unit",
        "expansion.clearance",
        "walk.reach",
    ),
    reporter="scenewright_stages.worldexplorer.report:WorldReporter",
    catalogue="scenewright_stages.worldexplorer.catalogue:batch_files",
)
