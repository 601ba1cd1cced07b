"""Reads splats from the PLY files of any program: text or binary of either byte order, with other properties beside.

What is missing is either replaced by what the format means without it, or refused by name. Splats that cannot be drawn
are left out and counted. `ForeignScene.notes` says all of it. Files of millions of splats are read part by part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.ply import property_names
from scenewright_stages.vision.gaussians.scene import HARMONIC_COUNTS, GaussianScene

_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_TYPES = {
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8", "uchar": "u1", "uint8": "u1", "char": "i1",
    "int8": "i1", "ushort": "u2", "uint16": "u2", "short": "i2", "int16": "i2", "uint": "u4", "uint32": "u4",
    "int": "i4", "int32": "i4",
}  # fmt: skip
_LONGEST_HEADER = 65536
_KNOWN = re.compile(r"^(x|y|z|n[xyz]|f_dc_[0-2]|f_rest_\d+|opacity|scale_[0-2]|rot_[0-3]|red|green|blue)$")
_SHOWN = 5
_PART = 250_000
"""Splats that are read at a time."""
_MOST_LOGIT = 20.0
_FAR = 1e6
"""Metres from the origin at which float32 has no centimetres left."""


@dataclass(frozen=True)
class Element:
    """One element of a PLY header: its name, the number of its records, and their (property, numpy type) pairs."""

    name: str
    count: int
    properties: tuple[tuple[str, str], ...]

    def dtype(self, order: str) -> np.dtype[Any]:
        """The type of its records in a byte order."""
        return np.dtype([(name, f"{order}{kind}") for name, kind in self.properties])


@dataclass(frozen=True)
class PlyHeader:
    """A PLY header. `order` is numpy's byte order, "=" for text; `start` is where the first record lies."""

    order: str
    elements: tuple[Element, ...]
    start: int


@dataclass(frozen=True, eq=False)
class ForeignScene:
    """A scene from elsewhere, and sentences about what its file lacked or had too much."""

    scene: GaussianScene
    notes: tuple[str, ...] = field(default=())


def parse_elements(file: BinaryIO, path: Path) -> PlyHeader:
    """The header of an open file, which is left at its first record.

    Raises:
        FormatError: it is not a PLY file, or has lists.
    """
    lines = [line.split() for line in _header_lines(file, path)]
    if len(lines) < 2 or lines[0] != ["ply"] or lines[1][:1] != ["format"] or lines[1][1] not in _ORDERS:
        raise FormatError(f"{path.name} is not a PLY file: it does not begin with ply and its format")
    elements: list[tuple[str, int, list[tuple[str, str]]]] = []
    for words in lines[2:]:
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "element" and len(words) == 3 and words[2].isdigit():
            elements.append((words[1], int(words[2]), []))
        elif words[0] == "property" and len(words) == 3 and words[1] in _TYPES and elements:
            elements[-1][2].append((words[2], _TYPES[words[1]]))
        elif words[0] == "property" and words[1:2] == ["list"] and elements and elements[0][0] == "vertex":
            # Lists, such as a mesh's faces, come after the vertices and are not read.
            if len(elements) == 1:
                raise FormatError(f"{path.name}: property {words[-1]} is a list; splats have numbers alone")
        else:
            raise FormatError(f"{path.name} has a header line that is not understood: {' '.join(words)}")
    for name, _, properties in elements:
        doubled = sorted({each for each, _ in properties if [p for p, _ in properties].count(each) > 1})
        if doubled:
            raise FormatError(f"{path.name} names property {doubled[0]} of {name} twice")
    return PlyHeader(
        _ORDERS[lines[1][1]], tuple(Element(name, count, tuple(each)) for name, count, each in elements), file.tell()
    )


def read_foreign_ply(path: Path) -> ForeignScene:
    """The splats of a PLY file of any program.

    Raises:
        FormatError: it holds no splats; the message names file, property and remedy.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = parse_elements(file, path)
        vertex = next((each for each in header.elements if each.name == "vertex"), None)
        if vertex is None:
            raise FormatError(f"{path.name} has no element vertex")
        names = {name for name, _ in vertex.properties}
        if "packed_position" in names:
            raise FormatError(f"{path.name} is a compressed PLY: rename it to end in .compressed.ply")
        harmonics = _check(names, path)
        if vertex is not header.elements[0]:
            raise FormatError(f"{path.name}: element {header.elements[0].name} precedes vertex; vertices come first")
        if vertex.count == 0:
            raise FormatError(f"{path.name} has no splats")
        scene, notes = _read(_parts(file, header, vertex, path), vertex.count, names, harmonics, path)
    other = sorted(name for name in names if not _KNOWN.match(name))
    if other:
        shown = ", ".join(other[:_SHOWN]) + (f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else "")
        notes.append(f"{path.name}: properties that no splat has are left out: {shown}")
    return ForeignScene(scene, tuple(notes))


def _header_lines(file: BinaryIO, path: Path) -> Iterable[str]:
    size = 0
    while size <= _LONGEST_HEADER:
        raw = file.readline(_LONGEST_HEADER)
        size += len(raw)
        line = raw.decode("ascii", "replace").strip()
        if line == "end_header":
            return
        if not raw:
            break
        yield line
    raise FormatError(f"{path.name} is not a PLY file: its header does not end")


def _check(names: set[str], path: Path) -> int:
    """Number of harmonics. Raises FormatError for what cannot be done without."""
    missing = sorted(set(property_names(1)) - {"nx", "ny", "nz"} - names)
    if {"red", "green", "blue"} <= names:
        missing = [name for name in missing if not name.startswith("f_dc_")]
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


def _parts(file: BinaryIO, header: PlyHeader, vertex: Element, path: Path) -> Iterator[NDArray[Any]]:
    """The vertices as structured arrays, so many at a time."""
    if header.order == "=":
        yield _text(file, vertex, path)
        return
    dtype = vertex.dtype(header.order)
    have = path.stat().st_size - header.start
    if have < vertex.count * dtype.itemsize:
        raise FormatError(
            f"{path.name} ends after {have // dtype.itemsize} of {vertex.count} splats: it was cut off; copy it again"
        )
    for start in range(0, vertex.count, _PART):
        count = min(_PART, vertex.count - start)
        yield np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


def _read(
    parts: Iterable[NDArray[Any]], count: int, names: set[str], harmonics: int, path: Path
) -> tuple[GaussianScene, list[str]]:
    """The splats that can be drawn, and notes about the others. Every number is held once."""
    whole = GaussianScene(
        torch.empty(count, 3), torch.empty(count, 3), torch.empty(count, 4), torch.empty(count),
        torch.empty(count, harmonics, 3),
    )  # fmt: skip
    kept, left_out = 0, dict.fromkeys(_REASONS, 0)
    for table in parts:
        scene = _scene(table, names, harmonics)
        good = _drawable(scene, left_out)
        found = scene if good.all() else scene.select(good)
        for name, tensor in found.tensors.items():
            whole.tensors[name][kept : kept + len(found)] = tensor
        kept += len(found)
    if not kept:
        raise FormatError(f"{path.name} has no splat that can be drawn: numbers are not finite, or not of splats")
    notes = [] if "f_dc_0" in names else ["colours come from red, green and blue: there are no f_dc_*"]
    notes += [f"{path.name}: {bad} of {count} splats {why} are left out" for why, bad in left_out.items() if bad]
    return whole.select(slice(0, kept)), notes


def _text(file: BinaryIO, vertex: Element, path: Path) -> NDArray[Any]:
    dtype = np.dtype([(name, "f4") for name, _ in vertex.properties])
    table = np.zeros(vertex.count, dtype)
    flat = table.view("f4").reshape(vertex.count, -1)
    for number in range(vertex.count):
        words = file.readline().split()
        if len(words) != flat.shape[1]:
            raise FormatError(f"{path.name}: splat {number} has {len(words)} numbers instead of {flat.shape[1]}")
        try:
            flat[number] = [float(word) for word in words]
        except ValueError as problem:
            raise FormatError(f"{path.name}: splat {number} has something that is not a number: {problem}") from problem
    return table


def _scene(table: NDArray[Any], names: set[str], harmonics: int) -> GaussianScene:
    count = len(table)

    def columns(*wanted: str) -> torch.Tensor:
        found = np.empty((count, len(wanted)), np.float32)
        for place, name in enumerate(wanted):
            found[:, place] = table[name]
        return torch.from_numpy(found)

    coefficients = np.zeros((count, harmonics, 3), np.float32)
    if {"f_dc_0", "f_dc_1", "f_dc_2"} <= names:
        for channel in range(3):
            coefficients[:, 0, channel] = table[f"f_dc_{channel}"]
    else:
        whole = table.dtype["red"].kind != "f"
        for channel, name in enumerate(("red", "green", "blue")):
            coefficients[:, 0, channel] = (table[name].astype(np.float32) / (255 if whole else 1) - 0.5) / C0
    for channel in range(3):
        for band in range(harmonics - 1):
            coefficients[:, 1 + band, channel] = table[f"f_rest_{channel * (harmonics - 1) + band}"]
    return GaussianScene(
        columns("x", "y", "z"),
        columns("scale_0", "scale_1", "scale_2"),
        columns("rot_0", "rot_1", "rot_2", "rot_3"),
        columns("opacity")[:, 0],
        torch.from_numpy(coefficients),
    )


_REASONS = (
    "with numbers that are not finite",
    "without a rotation",
    f"farther than {_FAR:.0e} from the origin",
)


def _drawable(scene: GaussianScene, left_out: dict[str, int]) -> torch.Tensor:
    """(N,) bool: the splats that can be drawn. Counts the others by reason, and bounds opacities."""
    finite = torch.ones(len(scene), dtype=torch.bool)
    for name, tensor in scene.tensors.items():
        # An infinite logit is an opacity of exactly 0 or 1, which some programs write.
        allowed = ~torch.isnan(tensor) if name == "opacity_logits" else torch.isfinite(tensor)
        finite &= allowed if tensor.dim() == 1 else allowed.flatten(1).all(dim=1)
    turned = scene.quaternions.norm(dim=1) > 1e-12
    near = scene.means.abs().amax(dim=1) < _FAR
    for why, bad in zip(_REASONS, (~finite, finite & ~turned, finite & turned & ~near), strict=True):
        left_out[why] += int(bad.sum())
    scene.opacity_logits.clamp_(-_MOST_LOGIT, _MOST_LOGIT)
    good: torch.Tensor = finite & turned & near
    return good
