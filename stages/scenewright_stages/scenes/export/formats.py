"""Writes a scene in the formats of other programs and reads each file back with another program than its writer.

splat-transform writes SPZ, SOG, compressed PLY, GLB and levels of detail; usd-core writes USD. The readers are our own,
and tinyusdz. A file counts as written once it was read: with as many splats, and drawn as the PLY is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewright_stages.exports import TARGETS, ExportParams
from scenewright_stages.scenes.export.source import Y_UP, Source
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.formats.compressed_ply import read_compressed_ply
from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.foreign_ply import read_foreign_ply
from scenewright_stages.vision.gaussians.formats.glb import annotate_glb, read_glb
from scenewright_stages.vision.gaussians.formats.joining import join_compressed_ply, join_glb, join_spz
from scenewright_stages.vision.gaussians.formats.lod import read_finest, write_lod
from scenewright_stages.vision.gaussians.formats.sog import read_sog
from scenewright_stages.vision.gaussians.formats.splat import read_splat, write_splat
from scenewright_stages.vision.gaussians.formats.splat_transform import convert
from scenewright_stages.vision.gaussians.formats.spz import read_spz
from scenewright_stages.vision.gaussians.formats.usd import read_usd, write_usdc, write_usdz
from scenewright_stages.vision.gaussians.ply import ply_header, ply_table
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.rotation import rotated
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float64Array

_JUDGED_FRAMES, _JUDGED_PICTURES = 12, 8
_BEST = 99.0
"""dB that stand for equal pictures."""
_LEAST_ALIKE = 30.0
"""dB to the PLY below which a file does not hold the scene: a reader or a writer has misunderstood it."""
_ASSUMED_QUALITY = 30.0
"""dB of a scene against photographs, where none are known."""
_PIECE = 2**20
"""Splats that splat-transform is given at most in one file, where files can be joined: it takes 1.4 GB for them. A
multiple of 256, the splats in a chunk of compressed PLY."""
_TURN_Z = np.diag([-1.0, -1.0, 1.0])
"""splat-transform turns a PLY so, which makes y up in GLB files."""


@dataclass(frozen=True)
class _Format:
    """How one format is written and read.

    Attributes:
        turn: function from a source to the (3, 3) rotation from the PLY's frame to the file's.
        axes: that frame, in words.
    """

    write: Callable[[Source, Path, ExportParams], None]
    read: Callable[[Path], GaussianScene]
    turn: Callable[[Source], Float64Array] = lambda source: np.eye(3)
    axes: str = "those of the PLY"


@dataclass
class Written:
    """What came of an export: paths by output, entries of ``metrics.json``, and of ``metadata.json``."""

    outputs: dict[str, Path] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_formats(
    source: Source,
    params: ExportParams,
    folder: Path,
    renderer: Renderer,
    progress: Callable[[float, str], None],
) -> Written:
    """Writes every format that is asked for, reads it back and measures it.

    Raises:
        FormatError: a file could not be written, or does not hold the scene when read back.
    """
    written = Written()
    names = [name for name in params.to if name in _FORMATS]
    if not names:
        return written
    judge = _Judge(source, renderer)
    size = source.splats.path.stat().st_size
    for number, name in enumerate(names):
        progress(number / len(names), f"writing {name}")
        ((output, file),) = TARGETS[name].files.items()
        path, form = folder / file.rstrip("/"), _FORMATS[name]
        form.write(source, path, params)
        found = form.read(path)
        if len(found) != source.splats.count:
            raise FormatError(f"{path.name} holds {len(found)} of {source.splats.count} splats when read back")
        turn = form.turn(source)
        quality = judge.compare(found, turn, path.name)
        del found
        length = _size(path)
        written.outputs[output] = path
        written.metrics[name] = {"bytes": length, "share_of_ply": round(length / size, 4), **quality}
        written.files[name] = {
            "path": file,
            "axes": form.axes,
            "file_from_scene": turn.round(9).tolist(),
            "lost": TARGETS[name].lost,
            "opens": TARGETS[name].opens,
        }
    return written


class _Judge:
    """Compares scenes with the PLY: on frames of its flight, and on photographs if there are any."""

    def __init__(self, source: Source, renderer: Renderer) -> None:
        self._renderer = renderer
        picks = np.unique(np.linspace(0, len(source.cameras) - 1, _JUDGED_FRAMES).round().astype(int))
        self._cameras = [source.cameras[pick] for pick in picks]
        step = max(1, -(-len(source.pictures) // _JUDGED_PICTURES))
        self._pictures = list(source.pictures)[::step]
        scene = source.splats.scene()
        self._frames = [self._draw(scene, camera) for camera in self._cameras]
        self._quality = self._against_pictures(scene, np.eye(3))

    def compare(self, scene: GaussianScene, turn: Float64Array, name: str) -> dict[str, Any]:
        """How alike a scene is to the PLY, and what it loses against photographs, in dB.

        Args:
            turn: (3, 3) rotation from the PLY's frame to the scene's. The cameras are turned: there are fewer of them.

        Raises:
            FormatError: it is another scene.
        """
        alike = [
            min(
                _BEST,
                float(
                    -10 * torch.log10((self._draw(scene, _seen(camera, turn)) - frame).square().mean().clamp_min(1e-12))
                ),
            )
            for camera, frame in zip(self._cameras, self._frames, strict=True)
        ]
        mean = float(np.mean(alike))
        if mean < _LEAST_ALIKE:
            raise FormatError(f"{name} looks unlike the PLY when read back: {mean:.1f} dB")
        own = self._against_pictures(scene, turn)
        if own is None or self._quality is None:
            # Independent errors add up.
            loss, basis = 10 * np.log10(1 + 10 ** ((_ASSUMED_QUALITY - mean) / 10)), "a scene of 30 dB"
        else:
            loss, basis = self._quality - own, f"{len(self._pictures)} photographs"
        return {
            "psnr_to_ply": round(mean, 2),
            "worst_psnr_to_ply": round(min(alike), 2),
            "loss_db": round(float(loss), 4),
            "loss_against": basis,
        }

    @torch.no_grad()
    def _draw(self, scene: GaussianScene, camera: Camera) -> torch.Tensor:
        return self._renderer.render(scene.to(self._renderer.device), [camera]).rgb[0].clamp(0, 1).cpu()

    def _against_pictures(self, scene: GaussianScene, turn: Float64Array) -> float | None:
        if not self._pictures:
            return None
        views = [replace(view, camera=_seen(view.camera, turn)) for view in self._pictures]
        return evaluate(scene.to(self._renderer.device), views, self._renderer).psnr


def _seen(camera: Camera, turn: Float64Array) -> Camera:
    """The camera in a frame that is turned by (3, 3) `turn`."""
    back = np.eye(4)
    back[:3, :3] = turn.T
    return camera.with_pose(camera.camera_from_world @ back)


def scene_facts(source: Source) -> dict[str, Any]:
    """What every format that has a place for it says of the scene."""
    return {
        "generator": "Scenewright",
        "unit": "metre",
        "up": [round(float(each), 6) for each in source.up],
        "up_from": source.up_from,
        "copyright": source.copyright,
        "models": list(source.models),
        **source.facts,
    }


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def _via_splat_transform(
    turn: Callable[[Source], Float64Array],
    options: Sequence[str] = (),
    join: Callable[[Sequence[Path], Path], None] | None = None,
) -> Callable[[Source, Path, ExportParams], None]:
    """A writer that hands splat-transform the scene as PLY, turned by `turn`.

    Args:
        options: of splat-transform.
        join: makes one file of files that hold `_PIECE` splats each; None if the format has no pieces.
    """

    def write(source: Source, path: Path, params: ExportParams) -> None:
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            if join is None or source.splats.count <= _PIECE:
                _write_ply(source, Path(scratch) / "scene.ply", turn(source))
                convert(Path(scratch) / "scene.ply", path, options)
                return
            pieces = []
            for number, ply in enumerate(_piece_plys(source, Path(scratch), turn(source))):
                pieces.append(Path(scratch) / f"{number}-{path.name}")
                convert(ply, pieces[-1], options)
            join(pieces, path)

    return write


def _piece_plys(source: Source, folder: Path, turn: Float64Array) -> Iterator[Path]:
    """PLY files of `_PIECE` splats each, the last of what is left. All have one path: use each before the next."""
    path, parts = folder / "scene.ply", source.splats.parts()
    part = next(parts)
    for start in range(0, source.splats.count, _PIECE):
        wanted = min(_PIECE, source.splats.count - start)
        with path.open("wb") as file:
            file.write(ply_header(wanted, source.splats.harmonics))
            while wanted:
                part = part if len(part) else next(parts)
                here, part = part.select(slice(0, wanted)), part.select(slice(wanted, None))
                file.write(ply_table(_turned(here, turn)).tobytes())
                wanted -= len(here)
        yield path


def _write_ply(source: Source, path: Path, turn: Float64Array | None = None, harmonics: int | None = None) -> None:
    """Writes the scene as PLY, part by part: millions of splats are never held whole.

    Args:
        turn: (3, 3) rotation to the frame of the file.
        harmonics: coefficients to pad or cut to; None for those that there are.
    """
    count = harmonics or source.splats.harmonics
    with path.open("wb") as file:
        file.write(ply_header(source.splats.count, count))
        for part in source.splats.parts():
            file.write(ply_table(_turned(part, turn).with_harmonics(count)).tobytes())


def _turned(scene: GaussianScene, turn: Float64Array | None) -> GaussianScene:
    return scene if turn is None or np.array_equal(turn, np.eye(3)) else rotated(scene, turn)


def _write_glb(source: Source, path: Path, params: ExportParams) -> None:
    _via_splat_transform(lambda each: each.level, join=join_glb)(source, path, params)
    annotate_glb(path, source.copyright, scene_facts(source))


def _write_usdc(source: Source, path: Path, params: ExportParams) -> None:
    facts = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in scene_facts(source).items()
    }
    turn = _y_up(source)
    write_usdc(source.splats.scene(lambda part: _turned(part, turn)), path, facts, source.copyright)


def _write_usdz(source: Source, path: Path, params: ExportParams) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        usdc = Path(scratch) / "scene.usdc"
        _write_usdc(source, usdc, params)
        write_usdz(usdc, path)


def _write_padded(source: Source, path: Path, params: ExportParams) -> None:
    degree = 3 if params.harmonics is None else params.harmonics
    _write_ply(source, path, harmonics=(degree + 1) ** 2)


def _write_lod(source: Source, path: Path, params: ExportParams) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        finest = Path(scratch) / "0.ply"
        _write_ply(source, finest)
        write_lod(finest, source.splats.count, path)


def _as_it_is(source: Source) -> Float64Array:
    return np.eye(3)


def _y_up(source: Source) -> Float64Array:
    return np.asarray(Y_UP @ source.level, np.float64)


def _glb_frame(source: Source) -> Float64Array:
    return np.asarray(_TURN_Z @ source.level, np.float64)


_OPENGL = "x right, y up, z back"
_FORMATS: dict[str, _Format] = {
    "spz": _Format(_via_splat_transform(_y_up, ("--spz-version", "3"), join_spz), read_spz, _y_up, _OPENGL),
    "sog": _Format(_via_splat_transform(_as_it_is), read_sog),
    "compressed-ply": _Format(_via_splat_transform(_as_it_is, join=join_compressed_ply), read_compressed_ply),
    "ply": _Format(_write_padded, lambda path: read_foreign_ply(path).scene()),
    "splat": _Format(lambda source, path, params: write_splat(source.splats.scene(), path), read_splat),
    "glb": _Format(_write_glb, read_glb, _glb_frame, "y up, as in glTF"),
    "usdc": _Format(_write_usdc, read_usd, _y_up, _OPENGL),
    "usdz": _Format(_write_usdz, read_usd, _y_up, _OPENGL),
    "lod": _Format(_write_lod, read_finest),
}
