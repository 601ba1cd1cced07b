"""Headers of PLY files of any program: elements, their properties, and the byte order of what follows.

Writers take liberties with this part: comments before the format, line ends of Windows, types that the format does not
know. What cannot be understood is refused by the line it stands in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from scenewright_stages.vision.gaussians.formats.errors import FormatError

_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_TYPES = {
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8", "half": "f2", "float16": "f2",
    "uchar": "u1", "uint8": "u1", "char": "i1", "int8": "i1", "ushort": "u2", "uint16": "u2", "short": "i2",
    "int16": "i2", "uint": "u4", "uint32": "u4", "int": "i4", "int32": "i4", "uint64": "u8", "int64": "i8",
}  # fmt: skip
_LONGEST_HEADER = 65536


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


def parse_elements(file: BinaryIO, path: Path) -> PlyHeader:
    """The header of an open file, which is left at its first record.

    Raises:
        FormatError: it is not a PLY file, or has lists.
    """
    lines = [line.split() for line in _header_lines(file, path)]
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if len(lines) < 2 or lines[0] != ["ply"] or len(lines[1]) < 2 or lines[1][0] != "format":
        raise FormatError(f"{path.name} is not a PLY file: it does not begin with ply and its format")
    if lines[1][1] not in _ORDERS:
        raise FormatError(f"{path.name} is not a PLY file of a known format: {lines[1][1]}")
    elements: list[tuple[str, int, list[tuple[str, str]]]] = []
    for words in lines[2:]:
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


def _header_lines(file: BinaryIO, path: Path) -> Iterator[str]:
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
