"""``scenewright export``: exports finished results, or any PLY of splats, without running the job again.

Started by the command line as a process of its own. For results it finds the job's effective spec beside them, runs the
stage of the pipeline on the published files, and falls back to the PLY alone where intermediate files are gone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scenewright_stages.contract import layout
from scenewright_stages.contract.params import Params, merged
from scenewright_stages.contract.pipeline import Pipeline, StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, StageContext, StageInputs
from scenewright_stages.exports import STAGE, TARGET_NAMES, TARGETS, ExportParams, size_text
from scenewright_stages.pipelines import pipelines
from scenewright_stages.scenes.export.formats import Written
from scenewright_stages.scenes.export.source import Source, read_source
from scenewright_stages.scenes.export.stage import FormatsStage, export_scene
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.splat_transform import ConverterMissingError

_USAGE, _FAILED = 2, 1


class NothingToExportError(ValueError):
    """There is no scene at the place that was named. The message says what was looked for."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene that was found: its name, how to read it, what to export, and the folder for the files."""

    name: str
    source: Callable[[], Source]
    params: ExportParams
    folder: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports, prints what was written, and returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        block = _block(options)
        scenes = list(find_scenes(options.result, block, options.sample, options.output))
    except (NothingToExportError, ValidationError) as problem:
        print(f"error: {_shown(problem)}", file=sys.stderr)
        return _USAGE
    done: dict[str, Any] = {}
    code, as_json = 0, options.format == "json"
    for scene in scenes:
        try:
            done[scene.name] = export(scene, quiet=as_json)
        except (FormatError, OSError, ConverterMissingError) as problem:
            print(f"error: {scene.name}: {problem}", file=sys.stderr)
            code = _FAILED
    if as_json:
        print(json.dumps(done, indent=1, sort_keys=True))
    return code


def find_scenes(result: Path, block: Mapping[str, Any], wanted: str, output: Path | None) -> Iterator[Scene]:
    """The scenes of a folder of results, or that of a PLY file.

    Args:
        block: an ``export`` block as in a manifest.
        wanted: id of the only sample; empty for all.
        output: where to write; None for beside the scene.

    Raises:
        NothingToExportError: there are none, or not the one that is wanted.
        ValidationError: the block is not valid.
    """
    if result.is_file():
        params = ExportParams.model_validate(block)
        folder = output or result.with_name(f"{result.stem}-export")
        yield Scene(result.stem, lambda: read_source(result, (), params.up, (), params.copyright), params, folder)
        return
    if not (result / layout.JOB).is_file():
        raise NothingToExportError(
            f"{result} is neither a PLY file nor a folder of results: it has no {layout.JOB}. Name the PLY itself"
        )
    job = json.loads((result / layout.JOB).read_text())
    found = [each for each in _samples(result) if not wanted or each.id == wanted]
    if not found:
        raise NothingToExportError(f"{result} has no sample {wanted}" if wanted else f"{result} has no samples")
    for sample in found:
        yield _published(result, job, sample, block, output)


def export(scene: Scene, quiet: bool = False) -> dict[str, Any]:
    """Writes one scene's files and returns its ``metrics.json``. Files are moved into place once all are whole."""
    source = scene.source()
    scene.folder.mkdir(parents=True, exist_ok=True)

    def told(fraction: float, message: str) -> None:
        if not quiet:
            print(f"{scene.name}: {message}", file=sys.stderr)

    with tempfile.TemporaryDirectory(dir=scene.folder, prefix=".export-") as scratch:
        written = export_scene(source, scene.params, Path(scratch), stage_renderer(ModelSettings()), told)
        for path in written.outputs.values():
            target = scene.folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)
    if not quiet:
        _print(scene, written)
    return written.metrics


def _published(
    result: Path, job: Mapping[str, Any], sample: Sample, block: Mapping[str, Any], output: Path | None
) -> Scene:
    """A sample of published results."""
    name, pipeline = next(
        ((name, each) for name, each in pipelines().items() if name in job.get("spec", {})), ("", None)
    )
    if pipeline is None or "export" not in pipeline.params.model_fields:
        raise NothingToExportError(f"{result} holds no scenes: only pipelines that make scenes can export")
    raw = merged(merged(job["spec"][name] or {}, sample.overrides), {"export": dict(block)})
    params = pipeline.parse(raw)
    export_params: ExportParams = params.export  # type: ignore[attr-defined]
    folder = (output / sample.id) if output else result / sample.id / "export"
    return Scene(sample.id, lambda: _source(result, pipeline, params, sample), export_params, folder)


def _source(result: Path, pipeline: Pipeline, params: Params, sample: Sample) -> Source:
    """What the stage of the pipeline knows of the scene, or the PLY alone where something is missing."""
    chain = {stage.name: stage for stage in pipeline.stages(params)}
    spec = chain[STAGE]
    files = dict(_files(result, chain, spec, sample))
    plys = [path for (_, output), path in files.items() if output == "ply"]
    if not plys:
        raise FormatError(f"{sample.id} has no PLY in {result}: it failed, or was not run to the end")
    missing = [
        f"{read.stage}/{name}"
        for read in spec.reads
        for name in read.outputs or [each.name for each in chain[read.stage].outputs]
        if (read.stage, name) not in files and not chain[read.stage].output(name).optional
    ]
    export_params: ExportParams = params.export  # type: ignore[attr-defined]
    if missing:
        source = read_source(plys[0], (), export_params.up, (), export_params.copyright, chain.values())
        note = f"{', '.join(missing)} of {sample.id} is gone, so its flight is unknown: it is circled instead"
        return replace(source, notes=(*source.notes, note))
    module, _, name = spec.implementation.partition(":")
    stage = getattr(importlib.import_module(module), name)(StageContext(stage=spec, params=params))
    assert isinstance(stage, FormatsStage)
    with tempfile.TemporaryDirectory() as workspace:
        return stage.source(StageInputs(files, params, 0, Path(workspace)))


def _files(
    result: Path, chain: Mapping[str, StageSpec], spec: StageSpec, sample: Sample
) -> Iterator[tuple[tuple[str, str], Path]]:
    for read in spec.reads:
        for contract in chain[read.stage].outputs:
            path = result / contract.path_for(sample)
            if (not read.outputs or contract.name in read.outputs) and path.exists():
                yield (read.stage, contract.name), path


def _samples(result: Path) -> Iterator[Sample]:
    for line in (result / layout.INDEX).read_text().splitlines():
        sample = Sample.from_json(json.loads(line))
        if sample.rejected is None:
            yield sample


def _block(options: argparse.Namespace) -> dict[str, Any]:
    targets = [each for text in options.to for each in text.split(",") if each]
    unknown = sorted(set(targets) - set(TARGET_NAMES))
    if unknown or not targets:
        raise NothingToExportError(f"--to {','.join(unknown) or '(nothing)'}: allowed are {', '.join(TARGET_NAMES)}")
    block: dict[str, Any] = {"to": targets}
    if options.up:
        block["up"] = options.up
    if options.copyright:
        block["copyright"] = options.copyright
    for assignment in options.set:
        path, sign, value = assignment.partition("=")
        if not sign:
            raise NothingToExportError(f"--set {assignment}: write PATH=VALUE, such as mesh.triangles=50000")
        block = merged(block, _nested(path.removeprefix("export.").split("."), value))
    return block


def _nested(path: Sequence[str], value: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(value)
    except json.JSONDecodeError:
        found = value
    for name in reversed(path):
        found = {name: found}
    return dict(found)


def _print(scene: Scene, written: Written) -> None:
    for name, facts in written.metrics["formats"].items():
        size = size_text(facts["bytes"])
        quality = ""
        if "loss_db" in facts:
            quality = f"  {facts['loss_db']:.3f} dB lost, {facts['psnr_to_ply']:.1f} dB to the PLY"
        print(f"{name:15} {size:>10}{quality}  opens in {TARGETS[name].opens}")
    for note in written.notes:
        print(f"note: {note}")
    print(f"written to {scene.folder}")


def _shown(problem: Exception) -> str:
    if isinstance(problem, ValidationError):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problem.errors())
    return str(problem)


def _parser() -> argparse.ArgumentParser:
    text = "Write finished scenes for other programs. Every file of splats is read back, and what it loses is measured."
    parser = argparse.ArgumentParser(prog="scenewright export", description=text)
    add = parser.add_argument
    add("result", type=Path, help="Folder of results of a scene job, or a PLY file of splats.")
    add(
        "--to",
        action="append",
        default=[],
        metavar="A,B",
        help=f"What to write: {', '.join(TARGET_NAMES)}. Repeatable.",
    )
    add("--sample", default="", metavar="ID", help="Export only this sample. Default: all.")
    add("--output", type=Path, metavar="DIR", help="Where to write. Default: export/ in each sample's folder.")
    add("--up", default="", metavar="AXIS", help="Which axis of the PLY points up: x, -x, y, -y, z or -z.")
    add("--copyright", default="", metavar="TEXT", help="Who owns the scene, and its licence.")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="Change a field of the export block: mesh.triangles=50000.",
    )
    add("-o", "--format", choices=("text", "json"), default="text", help="text, or one JSON document for programs.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
