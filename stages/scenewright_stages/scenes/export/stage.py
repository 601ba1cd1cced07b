"""The stage that exports a finished scene, and `export_scene`, which does the same for any PLY with its cameras."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.exports import ExportParams
from scenewright_stages.scenes.export.formats import Written, scene_facts, write_formats
from scenewright_stages.scenes.export.frames import write_frames
from scenewright_stages.scenes.export.source import Source, read_source
from scenewright_stages.scenes.export.surface import write_surface
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.splat_transform import installed_version
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.geometry.cameras import Camera


class FormatsStage(Stage[Any]):
    """Exports one scene. A pipeline's subclass says where its PLY is, how it was flown through, and what made it."""

    def __init__(self, context: StageContext[Any]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    @abstractmethod
    def ply(self, inputs: StageInputs[Any]) -> Path:
        """The published PLY."""

    @abstractmethod
    def cameras(self, inputs: StageInputs[Any]) -> Sequence[Camera]:
        """The flight, in the frame of the PLY."""

    @abstractmethod
    def chain(self) -> Iterable[StageSpec]:
        """The stages that made the scene."""

    def pictures(self, inputs: StageInputs[Any]) -> Sequence[View]:
        """Photographs to measure losses against, in the frame of the PLY; none by default."""
        return ()

    def source(self, inputs: StageInputs[Any]) -> Source:
        """The scene with what is known about it."""
        export = inputs.params.export
        return read_source(
            self.ply(inputs),
            self.cameras(inputs),
            export.up,
            self.pictures(inputs),
            export.copyright,
            self.chain(),
        )

    def process(self, sample: Sample, inputs: StageInputs[Any]) -> StageResult:
        """Writes what the parameters ask for, metadata and metrics."""
        try:
            source = self.source(inputs)
            written = export_scene(source, inputs.params.export, inputs.workspace, self.renderer, self.context.progress)
        except FormatError as problem:
            raise SampleError("Export", str(problem)) from problem
        return StageResult(written.outputs, metrics=written.metrics, warnings=written.notes)


def export_scene(
    source: Source,
    params: ExportParams,
    folder: Path,
    renderer: Renderer,
    progress: Callable[[float, str], None],
) -> Written:
    """Writes everything that `params.to` names into a folder, with ``metadata.json`` and ``metrics.json``.

    Raises:
        FormatError: something could not be written, or did not hold the scene when read back.
    """
    written = Written(notes=list(source.notes))
    parts = [write_formats(source, params, folder, renderer, progress)]
    if "mesh" in params.to:
        progress(0.5, "fusing depth")
        parts.append(write_surface(source, params.mesh, folder, renderer))
    if "frames" in params.to:
        progress(0.8, "drawing frames")
        parts.append(write_frames(source, params.frames, folder, renderer))
    formats: dict[str, Any] = {}
    files: dict[str, Any] = {}
    for part in parts:
        written.outputs |= part.outputs
        written.notes += part.notes
        formats |= part.metrics
        files |= part.files
    metrics = {"formats": formats, "splats": source.splats.count, "path": source.flown}
    metadata = {**scene_facts(source), "files": files, "source": source.splats.path.name, "writers": _writers()}
    for name, content in (("metrics", metrics), ("metadata", metadata)):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        written.outputs[name] = path
    written.metrics = metrics
    return written


def _writers() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"splat-transform": installed_version()}
    for package in ("usd-core", "tinyusdz", "trimesh"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return {name: text for name, text in found.items() if text}
