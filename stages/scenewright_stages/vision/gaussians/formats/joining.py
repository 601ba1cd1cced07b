"""Joins files of splats that hold one scene in pieces.

splat-transform holds every splat of a file several times. So the export has it convert large scenes in pieces, whose
files are joined here without decoding a splat. All pieces of a scene come from one writer with the same options.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.glb import read_glb_parts, write_glb
from scenewright_stages.vision.gaussians.formats.ply_elements import parse_elements
from scenewright_stages.vision.gaussians.formats.spz import SPZ_HEADER, spz_sections

_LEVEL = 6
"""Effort of gzip; that of the SPZ library."""


def join_spz(pieces: Sequence[Path], path: Path) -> None:
    """Joins SPZ files of versions 2 and 3: their sections, one for each attribute, follow each other in one stream."""
    headers, sections = [], []
    for piece in pieces:
        header, found = spz_sections(piece)
        headers.append(header)
        # As bytes: sections of small numbers are what is held of a scene, and they are a quarter of its size.
        sections.append(found)
    magic, version, _, *rest = headers[0]
    if any((magic, version, *rest) != (other[0], other[1], *other[3:]) for other in headers):
        raise FormatError(f"{path.name}: its pieces differ in version, degree or precision")
    count = sum(header[2] for header in headers)
    with path.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as stream:
        stream.write(SPZ_HEADER.pack(magic, version, count, *rest))
        for attribute in zip(*sections, strict=True):
            for values in attribute:
                stream.write(values.data)


def join_compressed_ply(pieces: Sequence[Path], path: Path) -> None:
    """Joins compressed PLY files. All but the last hold whole chunks of 256 splats, so chunks need no changes."""
    files = [piece.open("rb") for piece in pieces]
    try:
        headers = [parse_elements(file, piece) for file, piece in zip(files, pieces, strict=True)]
        names = [[element.name for element in header.elements] for header in headers]
        if any(each != names[0] for each in names):
            raise FormatError(f"{path.name}: its pieces differ in their elements")
        files[0].seek(0)
        text = files[0].read(headers[0].start)
        with path.open("wb") as joined:
            for place, name in enumerate(names[0]):
                total = sum(header.elements[place].count for header in headers)
                text = re.sub(rb"element %s \d+" % name.encode(), b"element %s %d" % (name.encode(), total), text)
            joined.write(text)
            for place in range(len(names[0])):
                for file, header in zip(files, headers, strict=True):
                    element = header.elements[place]
                    _copy(file, joined, element.count * element.dtype(header.order).itemsize)
    finally:
        for file in files:
            file.close()


def join_glb(pieces: Sequence[Path], path: Path) -> None:
    """Joins GLB files of one primitive each, whose accessors each have a tightly packed view of their own."""
    parts = [read_glb_parts(piece) for piece in pieces]
    document = parts[0][0]
    if any(other["meshes"] != document["meshes"] for other, _ in parts):
        raise FormatError(f"{path.name}: its pieces differ in their attributes")
    blocks: list[memoryview] = []
    end = 0
    for number, view in enumerate(document["bufferViews"]):
        accessors = [other["accessors"][number] for other, _ in parts]
        first = accessors[0]
        if any(_layout(each) != (first["componentType"], first["type"], number) for each in accessors):
            raise FormatError(f"{path.name}: its pieces differ in their attributes")
        begin = end
        for other, binary in parts:
            place = other["bufferViews"][number]
            blocks.append(binary[place["byteOffset"] : place["byteOffset"] + place["byteLength"]])
            end += place["byteLength"]
        # Last: the first piece's document becomes that of the whole.
        view["byteOffset"], view["byteLength"] = begin, end - begin
        first["count"] = sum(each["count"] for each in accessors)
        for bound, choose in (("min", np.min), ("max", np.max)):
            if bound in first:
                first[bound] = choose([each[bound] for each in accessors], axis=0).tolist()
    document["buffers"][0]["byteLength"] = end
    write_glb(path, document, blocks)


def _layout(accessor: dict[str, Any]) -> tuple[Any, ...]:
    return accessor["componentType"], accessor["type"], accessor["bufferView"]


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    while length:
        block = source.read(min(length, 1 << 22))
        if not block:
            raise FormatError(f"{source.name} ends too early")
        target.write(block)
        length -= len(block)
