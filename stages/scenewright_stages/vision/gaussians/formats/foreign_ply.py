"""Reads splats from the PLY files of any program: text, binary or compressed, with whatever other properties they have.

What is missing is either replaced by what the format means without it, or refused by name. Splats that cannot be drawn
are left out and counted. A `SplatFile` is read part by part: five million splats take 1.2 GB when they are held whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.formats.compressed_ply import read_compressed_ply
from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.ply_elements import Element, PlyHeader, parse_elements
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.ply import property_names
from scenewright_stages.vision.gaussians.scene import HARMONIC_COUNTS, GaussianScene

_KNOWN = re.compile(r"^(x|y|z|n[xyz]|f_dc_[0-2]|f_rest_\d+|opacity|scale_[0-2]|rot_[0-3]|red|green|blue)$")
_COLOURS = ("red", "green", "blue")
_SHOWN = 5
_PART = 250_000
"""Splats that are read at a time."""
_TEXT_PART = 25_000
"""The same for text, of which every number is an object at first."""
_MOST_LOGIT = 20.0
_FAR = 1e6
"""Metres from the origin, and size of a splat, at which float32 has no centimetres left."""
_BRIGHT = 1e4
"""Coefficients of a colour beyond this are damage: a picture's colours need less than two."""
_DISC = float(np.log(0.01))
"""Logarithm of a disc's thickness as a share of its smaller radius."""


@dataclass(frozen=True, eq=False)
class SplatFile:
    """A file of splats that was looked through once.

    Attributes:
        path: the file.
        count: splats that can be drawn; `parts` and `scene` hold those alone.
        harmonics: coefficients per colour, one of `HARMONIC_COUNTS`.
        notes: sentences about what the file lacked or had too much.
        read: starts reading from the beginning, some splats at a time.
    """

    path: Path
    count: int
    harmonics: int
    notes: tuple[str, ...]
    read: Callable[[], Iterator[GaussianScene]]

    def parts(self) -> Iterator[GaussianScene]:
        """The splats in the order of the file, at most `_PART` at a time."""
        return self.read()

    def scene(self, change: Callable[[GaussianScene], GaussianScene] = lambda part: part) -> GaussianScene:
        """All splats. Every number is held once, also when `change` is applied: to each part."""
        whole = GaussianScene.unfilled(self.count, self.harmonics)
        start = 0
        for part in self.parts():
            for name, tensor in change(part).tensors.items():
                whole.tensors[name][start : start + len(part)] = tensor
            start += len(part)
        return whole


def read_foreign_ply(path: Path) -> SplatFile:
    """The splats of a PLY file of any program. All of the file is looked at.

    Raises:
        FormatError: it holds no splats; the message names file, property and remedy.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = parse_elements(file, path)
    vertex = next((each for each in header.elements if each.name == "vertex"), None)
    if vertex is None:
        raise FormatError(f"{path.name} has no element vertex")
    if vertex.count == 0:
        raise FormatError(f"{path.name} has no splats")
    names = {name for name, _ in vertex.properties}
    if "packed_position" in names:
        return _compressed(path)
    harmonics = _check(names, path)
    if vertex is not header.elements[0]:
        raise FormatError(f"{path.name}: element {header.elements[0].name} precedes vertex; vertices come first")
    count, left_out = 0, dict.fromkeys(_REASONS, 0)
    for part in _drawable_parts(path, header, vertex, harmonics, left_out):
        count += len(part)
    return SplatFile(
        path,
        _some(count, path),
        harmonics,
        (*_notes_on(names, path), *_notes_on_missing(left_out, vertex.count, path)),
        lambda: _drawable_parts(path, header, vertex, harmonics, dict.fromkeys(_REASONS, 0)),
    )


def _compressed(path: Path) -> SplatFile:
    """A compressed PLY, whose splats are small enough to be unpacked at once."""

    def parts() -> Iterator[GaussianScene]:
        whole = read_compressed_ply(path)
        for start in range(0, len(whole), _PART):
            yield _drawable(whole.select(slice(start, start + _PART)), left_out)

    left_out = dict.fromkeys(_REASONS, 0)
    count, harmonics, total = 0, 1, 0
    for part in parts():
        count, harmonics = count + len(part), part.spherical_harmonics.shape[1]
    total = count + sum(left_out.values())
    return SplatFile(path, _some(count, path), harmonics, tuple(_notes_on_missing(left_out, total, path)), parts)


def _some(count: int, path: Path) -> int:
    if not count:
        raise FormatError(f"{path.name} has no splat that can be drawn: numbers are not finite, or not of splats")
    return count


def _notes_on(names: set[str], path: Path) -> Iterator[str]:
    if "f_dc_0" not in names:
        yield "colours come from red, green and blue: there are no f_dc_*"
    if "scale_2" not in names:
        yield f"{path.name} holds discs, with two scales: they are written as splats a hundredth as thick as wide"
    other = sorted(name for name in names if not _KNOWN.match(name))
    if other:
        shown = ", ".join(other[:_SHOWN]) + (f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else "")
        yield f"{path.name}: properties that no splat has are left out: {shown}"


def _notes_on_missing(left_out: dict[str, int], count: int, path: Path) -> Iterator[str]:
    for why, bad in left_out.items():
        if bad:
            yield f"{path.name}: {bad} of {count} splats {why} are left out"


def _check(names: set[str], path: Path) -> int:
    """Number of harmonics. Raises FormatError for what cannot be done without."""
    missing = sorted(set(property_names(1)) - {"nx", "ny", "nz"} - names)
    if set(_COLOURS) <= names:
        missing = [name for name in missing if not name.startswith("f_dc_")]
    if {"scale_0", "scale_1"} <= names:
        missing = [name for name in missing if name != "scale_2"]
    if missing:
        is_cloud = "scale_0" not in names and {"x", "y", "z"} <= names
        remedy = "it is a cloud of points: train splats on it first" if is_cloud else "export it again with them"
        raise FormatError(f"{path.name} lacks the properties {', '.join(missing)}: {remedy}")
    rest = {name for name in names if name.startswith("f_rest_")}
    wanted = {f"f_rest_{number}" for number in range(len(rest))}
    if len(rest) not in {3 * (count - 1) for count in HARMONIC_COUNTS} or rest != wanted:
        raise FormatError(
            f"{path.name} has {len(rest)} properties f_rest_*; whole degrees have 0, 9, 24 or 45, numbered from 0: "
            "export it again with one of them"
        )
    return len(rest) // 3 + 1


def _drawable_parts(
    path: Path, header: PlyHeader, vertex: Element, harmonics: int, left_out: dict[str, int]
) -> Iterator[GaussianScene]:
    """The splats that can be drawn. Counts the others by reason."""
    with path.open("rb") as file:
        file.seek(header.start)
        tables = _text(file, vertex, path) if header.order == "=" else _binary(file, header, vertex, path)
        for table in tables:
            yield _drawable(_scene(table, harmonics, path), left_out)


def _binary(file: BinaryIO, header: PlyHeader, vertex: Element, path: Path) -> Iterator[NDArray[Any]]:
    """The vertices as structured arrays, so many at a time."""
    dtype = vertex.dtype(header.order)
    have = path.stat().st_size - header.start
    if have < vertex.count * dtype.itemsize:
        raise FormatError(
            f"{path.name} ends after {have // dtype.itemsize} of {vertex.count} splats: it was cut off; copy it again"
        )
    for start in range(0, vertex.count, _PART):
        count = min(_PART, vertex.count - start)
        yield np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


def _text(file: BinaryIO, vertex: Element, path: Path) -> Iterator[NDArray[Any]]:
    """The same for text, whose numbers are kept as doubles until colours are scaled."""
    names = [name for name, _ in vertex.properties]
    lines = (words for words in map(bytes.split, file) if words)
    for start in range(0, vertex.count, _TEXT_PART):
        wanted = min(_TEXT_PART, vertex.count - start)
        rows = list(islice(lines, wanted))
        for number, words in enumerate(rows, start):
            if len(words) != len(names):
                raise FormatError(f"{path.name}: splat {number} has {len(words)} numbers instead of {len(names)}")
        if len(rows) < wanted:
            raise FormatError(
                f"{path.name} ends after {start + len(rows)} of {vertex.count} splats: it was cut off; copy it again"
            )
        try:
            values = np.array(rows, np.bytes_).astype(np.float64)
        except ValueError as problem:
            raise FormatError(
                f"{path.name}: a splat after {start} has something that is not a number: {problem}"
            ) from problem
        table = np.empty(len(rows), vertex.dtype("="))
        for place, name in enumerate(names):
            table[name] = values[:, place]
        yield table


def _scene(table: NDArray[Any], harmonics: int, path: Path) -> GaussianScene:
    names = set(table.dtype.names or ())
    count = len(table)

    def columns(*wanted: str) -> NDArray[np.float32]:
        found = np.empty((count, len(wanted)), np.float32)
        # What float32 cannot hold becomes infinite, and such splats are left out.
        with np.errstate(over="ignore"):
            for place, name in enumerate(wanted):
                found[:, place] = table[name]
        return found

    coefficients = np.empty((count, harmonics, 3), np.float32)
    if {"f_dc_0", "f_dc_1", "f_dc_2"} <= names:
        coefficients[:, 0] = columns("f_dc_0", "f_dc_1", "f_dc_2")
    else:
        for channel, name in enumerate(_COLOURS):
            coefficients[:, 0, channel] = (_shares(table[name], name, path) - 0.5) / C0
    for channel in range(3):
        names_of_channel = (f"f_rest_{channel * (harmonics - 1) + band}" for band in range(harmonics - 1))
        coefficients[:, 1:, channel] = columns(*names_of_channel)
    scales = ("scale_0", "scale_1", "scale_2")
    sizes = columns(*(name for name in scales if name in names))
    if sizes.shape[1] == 2:
        sizes = np.concatenate([sizes, sizes.min(axis=1, keepdims=True) + np.float32(_DISC)], axis=1)
    return GaussianScene(
        torch.from_numpy(columns("x", "y", "z")),
        torch.from_numpy(sizes),
        torch.from_numpy(columns("rot_0", "rot_1", "rot_2", "rot_3")),
        torch.from_numpy(columns("opacity")[:, 0]),
        torch.from_numpy(coefficients),
    )


def _shares(values: NDArray[Any], name: str, path: Path) -> NDArray[np.float32]:
    """(N,) colours in [0, 1] from whole numbers of any size, or from shares."""
    if values.dtype.kind != "f":
        return np.asarray(values / np.float32(np.iinfo(values.dtype).max), np.float32)
    if np.nanmax(values, initial=0) > 1 + 1e-3:
        raise FormatError(f"{path.name}: {name} is above 1: export it again with colours from 0 to 1, or as uchar")
    return np.asarray(values, np.float32)


_REASONS = (
    "with numbers that are not finite",
    "without a rotation",
    f"farther than {_FAR:.0e} from the origin",
    f"larger than {_FAR:.0e}",
    f"with colours beyond {_BRIGHT:.0e}",
)


def _drawable(scene: GaussianScene, left_out: dict[str, int]) -> GaussianScene:
    """The splats that can be drawn, with bounded opacities. Counts the others by their first reason."""
    finite = torch.ones(len(scene), dtype=torch.bool)
    for name, tensor in scene.tensors.items():
        # An infinite logit is an opacity of exactly 0 or 1, which some programs write.
        allowed = ~torch.isnan(tensor) if name == "opacity_logits" else torch.isfinite(tensor)
        finite &= allowed if tensor.dim() == 1 else allowed.flatten(1).all(dim=1)
    good = torch.ones(len(scene), dtype=torch.bool)
    fine = (
        finite,
        scene.quaternions.norm(dim=1) > 1e-12,
        scene.means.abs().amax(dim=1) < _FAR,
        scene.log_scales.amax(dim=1) < float(np.log(_FAR)),
        scene.spherical_harmonics.abs().amax(dim=(1, 2)) < _BRIGHT,
    )
    for why, passes in zip(_REASONS, fine, strict=True):
        left_out[why] += int((good & ~passes).sum())
        good &= passes
    scene.opacity_logits.clamp_(-_MOST_LOGIT, _MOST_LOGIT)
    return scene if bool(good.all()) else scene.select(good)
