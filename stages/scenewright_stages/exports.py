"""What a finished scene can be exported to, as parameters and as a stage: shared by the pipelines that make scenes.

The operator imports this module with the pipelines, so it needs only pydantic. `scenes.export` does the work, in stage
processes and for ``scenewright export``. Without ``export.to`` there is no stage, so keys and bytes are as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pydantic import Field

from scenewright_stages.contract.outputs import Media, OutputContract
from scenewright_stages.contract.params import Params, Rule
from scenewright_stages.contract.pipeline import Read, Resources, StagePod, StageSpec

TargetName = Literal[
    "spz", "sog", "compressed-ply", "ply", "splat", "glb", "usdc", "usdz", "lod", "mesh", "frames"
]  # fmt: skip
STAGE = "formats"
"""Name of the stage that exports. WorldExplorer has a stage `export` of its own, which renders the walk."""


@dataclass(frozen=True)
class Target:
    """One thing that a scene can be exported to.

    Attributes:
        files: paths below the sample's folder ``export/``, by output; a path that ends in ``/`` is a folder.
        opens: programs that open it.
        lost: what it does not hold, in a few words.
    """

    files: Mapping[str, str]
    opens: str
    lost: str


TARGETS: dict[TargetName, Target] = {
    "spz": Target({"spz": "scene.spz"}, "Niantic Scaniverse, Spark, Babylon.js", "precision"),
    "sog": Target({"sog": "scene.sog"}, "SuperSplat, PlayCanvas", "precision"),
    "compressed-ply": Target({"compressed_ply": "scene.compressed.ply"}, "SuperSplat, PlayCanvas, Spark", "precision"),
    "ply": Target({"padded_ply": "scene.ply"}, "every program with splats", "nothing"),
    "splat": Target({"splat": "scene.splat"}, "antimatter15's viewer, Spark", "view-dependent colour, precision"),
    "glb": Target({"glb": "scene.glb"}, "engines with KHR_gaussian_splatting", "nothing"),
    "usdc": Target({"usdc": "scene.usdc"}, "OpenUSD 26.03 and later", "nothing"),
    "usdz": Target({"usdz": "scene.usdz"}, "OpenUSD 26.03 and later", "nothing"),
    "lod": Target({"lod": "lod/"}, "PlayCanvas, which streams it", "precision"),
    "mesh": Target(
        {"collider_glb": "collider.glb", "collider_stl": "collider.stl", "walkable": "walkable.json"},
        "engines, simulators, slicers",
        "all but the surface",
    ),
    "frames": Target({"frames": "frames/"}, "COLMAP, nerfstudio, loaders of KITTI", "all but what the path sees"),
}
"""By the name in ``export.to``."""
TARGET_NAMES: tuple[TargetName, ...] = get_args(TargetName)


class MeshParams(Params):
    """The surface of `mesh`: depth seen from many places, fused in voxels."""

    voxel: float | None = Field(
        default=None, gt=0.0, le=10.0, description="Edge of a voxel in metres. Unset: from the size of the scene."
    )
    triangles: int = Field(default=200_000, ge=100, le=5_000_000, description="Triangles at most.")
    views: int = Field(default=96, ge=4, le=2000, description="Views whose depth is fused at most.")
    radius: float = Field(
        default=0.2, gt=0.0, le=5.0, description="Radius in metres of the capsule that must fit where one can walk."
    )
    height: float = Field(default=1.6, gt=0.0, le=10.0, description="Height of that capsule in metres.")


class FramesParams(Params):
    """The pictures of `frames`."""

    layout: Literal["nerfstudio", "colmap", "kitti"] = Field(
        default="nerfstudio",
        description="How cameras and folders are laid out. All have RGB, metric depth and normals.",
    )
    path: Literal["flight", "orbit"] = Field(
        default="flight",
        description="flight: the cameras of the scene's video. orbit: a circle around what the first camera sees.",
    )
    count: int = Field(default=50, ge=1, le=5000, description="Frames, evenly spaced on the path.")
    width: int | None = Field(
        default=None, ge=16, le=4096, description="Width of a frame in pixels. Unset: that of the flight."
    )
    shard: int = Field(default=0, ge=0, le=5000, description="Frames in one tar file; 0 for plain files.")


class ExportParams(Params):
    """Files for other programs, made of the finished scene."""

    to: list[TargetName] = Field(
        default=[],
        max_length=len(TARGET_NAMES),
        description="What to write: " + ", ".join(TARGET_NAMES) + ". None by default.",
    )
    harmonics: int | None = Field(
        default=None,
        ge=0,
        le=3,
        description="Degree of the spherical harmonics in `ply`: padded with zeros, or cut. Unset: 3, which strict "
        "viewers insist on.",
    )
    up: Literal["auto", "x", "-x", "y", "-y", "z", "-z"] = Field(
        default="auto",
        description="Which axis of the scene's PLY points up. auto: as its cameras were held.",
    )
    copyright: str = Field(
        default="", max_length=500, description="Who owns the scene, and its licence. Stored in the files."
    )
    mesh: MeshParams = MeshParams()
    frames: FramesParams = FramesParams()

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "to",
            "self.to.all(each, self.to.exists_one(other, other == each))",
            "must name each format once",
            lambda block: len(set(block.to)) == len(block.to),
            ({"to": ["spz", "spz"]},),
        ),
    )


def formats_stage(
    export: ExportParams, implementation: str, reads: Sequence[Read], extra: Sequence[str] = ()
) -> tuple[StageSpec, ...]:
    """The stage that exports, if the parameters ask for anything.

    Args:
        implementation: ``module:Class`` of the pipeline's stage.
        reads: of the scene's PLY, and of what gives its cameras.
        extra: further parameters on which its results depend.
    """
    if not export.to:
        return ()
    return (
        StageSpec(
            name=STAGE,
            title="Other formats",
            version=1,
            implementation=implementation,
            reads=tuple(reads),
            outputs=(
                *(contract for name in export.to for contract in _contracts(name)),
                OutputContract("metadata", "{sample}/export/metadata.json", "json", json_keys=("files",)),
                OutputContract("metrics", "{sample}/export/metrics.json", "json", json_keys=("formats",)),
            ),
            parameters=("export", *extra),
            pod=StagePod(resources=Resources(memory_gib=8.0), seconds_per_sample=30.0 * len(export.to)),
        ),
    )


_MEDIA: dict[str, Media] = {"padded_ply": "ply", "compressed_ply": "bytes", "walkable": "json"}


def _contracts(name: TargetName) -> list[OutputContract]:
    found = []
    for output, path in TARGETS[name].files.items():
        is_folder = path.endswith("/")
        found.append(
            OutputContract(
                output,
                f"{{sample}}/export/{path}",
                _MEDIA.get(output, "bytes"),
                form="folder" if is_folder else "file",
                minimum_bytes=1 if is_folder else 32,
            )
        )
    return found


def size_text(size: int) -> str:
    """A number of bytes as people write it: ``512 B``, ``13 kB``, ``1.7 MB``."""
    if size < 1000:
        return f"{size} B"
    for unit in ("kB", "MB"):
        size_in = size / 1000 ** (1 if unit == "kB" else 2)
        if size_in < 1000:
            return f"{size_in:.0f} {unit}" if size_in >= 10 else f"{size_in:.1f} {unit}"
    return f"{size / 1e9:.1f} GB"
