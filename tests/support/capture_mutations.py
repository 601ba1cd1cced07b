"""Captures with one thing changed, of every kind of file, key and number: what the fuzz of the readers tries.

A mutation says by which words a user would recognise it. A reader must say them, in a note or in a refusal, unless the
changed value is one that a capture may have; then it must show in what is read.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from PIL import Image

Files = Mapping[str, bytes]
_WRONG: tuple[Any, ...] = (
    "text", "12", "", [], [1, "x"], [[1, 2], [3]], {"x": 1}, {}, True, None,
    math.nan, math.inf, -math.inf, 10**400, -3.0, 0, 1e30, 1e-30,
)  # fmt: skip
_NAMES = ("brightness", "my_scale", "distortion_q", "comment", "rolling_shutter_time", "axis_swap", "owner", "k9")
_EXTRAS = (
    "notes.txt", "images/IMG_9.CR2", "images/extra.png", "clip.mov", "points.las", "images/IMG_1.dng", "old/x.jpg",
    "sparse/0/extra.bin", "masks/nobody.png", "depth/000.npy", "database.db", "images/photo.jxl", "sub/readings.csv",
    "sparse/1/images.bin", "cameras.xml", "images_2/000.png", "images/000.mask.txt", "capture.json", "Ümlaut.png",
)  # fmt: skip
_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 12345\n"
_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Mutation:
    """A changed capture.

    Attributes:
        title: for test reports.
        files: content by path.
        words: a refusal must hold a word of each group, a note one of the last group.
        may_be: whether a capture may be so. It need not be named if it shows in what is read.
        harmless: whether it may be read as the unchanged capture, without a word.
    """

    title: str
    files: Files
    words: tuple[tuple[str, ...], ...]
    may_be: bool = False
    harmless: bool = False


def mutations(name: str, files: Files, random: np.random.Generator) -> Iterator[Mutation]:
    """All single changes of a capture; random numbers choose places and values."""
    yield from _file_mutations(name, files, random)
    masks = [key for key in sorted(files) if _is_mask(key)]
    for key in sorted(files):
        if key.endswith(".json"):
            yield from _json_mutations(name, files, key, random)
        elif key.endswith(".txt"):
            yield from _line_mutations(name, files, key, random)
        elif key.endswith(".bin"):
            yield from _binary_mutations(name, files, key)
        elif key.endswith(".ply"):
            yield from _point_mutations(name, files, key)
    pictures = [key for key in sorted(files) if key.endswith(_PICTURES) and key not in masks and "depth" not in key]
    yield from _picture_mutations(name, files, pictures)
    yield from _mask_mutations(name, files, masks)
    yield from _depth_mutations(name, files)


def _is_mask(key: str) -> bool:
    return key.endswith(".png") and ("masks/" in key or key.endswith(".mask.png"))


def _named(key: str) -> tuple[str, ...]:
    """The words by which a user recognises a file."""
    name = PurePosixPath(key).name
    return key, name, PurePosixPath(key).stem, name.split(".")[0].removeprefix("m_")


def _file_mutations(name: str, files: Files, random: np.random.Generator) -> Iterator[Mutation]:
    for key in sorted(files):
        words = (_named(key),)
        others = {each: data for each, data in files.items() if each != key}
        bare = name.startswith("bare") and not _is_mask(key)
        yield Mutation(f"{name}: without {key}", others, words, may_be=bare)
        renamed = key.replace(PurePosixPath(key).name, f"renamed{PurePosixPath(key).suffix}")
        found = {**others, renamed: files[key]}
        yield Mutation(f"{name}: {key} renamed", found, ((*_named(key), renamed, "renamed"),), may_be=bare)
        upper = key.replace(PurePosixPath(key).name, PurePosixPath(key).name.upper())
        if upper != key:
            found = {**others, upper: files[key]}
            yield Mutation(f"{name}: {key} in capitals", found, ((*_named(key), *_named(upper)),), bare, True)
        at = int(random.integers(1, max(2, len(files[key]) - 1)))
        contents = {f"cut at {at}": files[key][:at], "cut by a byte": files[key][:-1], "empty": b"", "pointer": _LFS}
        contents["zeros"] = bytes(len(files[key]))
        contents["web page"] = b"<!DOCTYPE html><html><body>404</body></html>\n"
        if key.endswith((".txt", ".json")):
            contents["line ends lost"] = files[key].replace(b"\n", b" ")
        contents["archive"] = b"PK\3\4" + bytes(40)
        for what, data in contents.items():
            if data != files[key]:
                # The last byte of a text is the end of its last line.
                same = (what == "cut by a byte" and data + b"\n" == files[key]) or (
                    "lost" in what and key.endswith("json")
                )
                yield Mutation(f"{name}: {key} {what}", {**files, key: data}, words, harmless=same)
    for extra in _EXTRAS:
        if extra not in files:
            yield Mutation(f"{name}: with {extra}", {**files, extra: b"\0\1"}, (_named(extra),))


def _json_mutations(name: str, files: Files, key: str, random: np.random.Generator) -> Iterator[Mutation]:
    """Unknown, wrong, missing and repeated keys, at the top, in a frame and in a camera."""
    for path, mapping in _mappings(json.loads(files[key])):
        where = f"{name}: {key} {path}"
        for unknown in _NAMES:
            changed = json.loads(files[key])
            _at(changed, path)[unknown] = [1, "a", 0.5, {"x": 1}][int(random.integers(4))]
            yield Mutation(f"{where} with {unknown}", _with(files, key, changed), ((key,), (unknown,)))
        for known, value in mapping.items():
            words = ((key,), (known, "frame") if known == "frames" else (known,))
            for wrong in _WRONG:
                if type(wrong) is type(value) and isinstance(wrong, str | bool):
                    continue
                changed = json.loads(files[key])
                _at(changed, path)[known] = wrong
                # The centre of a picture that was cut may be anywhere.
                usual = known in ("cx", "cy") and wrong in (0, -3.0, 1e-30) and wrong is not True
                title = f"{where} {known} = {str(wrong)[:20]!r}"
                yield Mutation(title, _with(files, key, changed), words, may_be=usual)
            changed = json.loads(files[key])
            del _at(changed, path)[known]
            optional = known in _OPTIONAL
            yield Mutation(f"{where} without {known}", _with(files, key, changed), words, optional, known in _UNREAD)
            if isinstance(value, list) and value and isinstance(value[0], list):
                yield from _matrix_mutations(f"{where} {known}", files, (key, path, known))
            if isinstance(value, int | float) and not isinstance(value, bool):
                for factor in (2, 0.5, 1.07):
                    changed = json.loads(files[key])
                    new = value * factor
                    _at(changed, path)[known] = int(new) if isinstance(value, int) and factor != 1.07 else new
                    title = f"{where} {known} times {factor}"
                    yield Mutation(title, _with(files, key, changed), words, may_be=True, harmless=known in _UNREAD)
            text = json.dumps(_at(json.loads(files[key]), path))
            twice = text[:-1] + f', "{known}": {json.dumps(value)}}}'
            data = files[key].decode().replace(text, twice, 1).encode()
            if data != files[key]:
                yield Mutation(f"{where} {known} twice", {**files, key: data}, words)
    data = json.loads(files[key])
    for what, content in (("a list", [data]), ("a text", "x"), ("null", None), ("a number", 3), ("{}", {})):
        if "frames" in data or what != "{}":
            yield Mutation(f"{name}: {key} is {what}", _with(files, key, content), ((key,),))
    yield Mutation(f"{name}: {key} nested", {**files, key: b"[" * 100_000}, ((key,),))
    yield Mutation(f"{name}: {key} with a comma", {**files, key: files[key].rstrip()[:-1] + b",}"}, ((key,),))
    yield Mutation(f"{name}: {key} of two objects", {**files, key: files[key] * 2}, ((key,),))
    latin = b'{"comment": "\xe4", ' + files[key].lstrip()[1:]
    yield Mutation(f"{name}: {key} in Latin-1", {**files, key: latin}, ((key,),))
    marked = b"\xef\xbb\xbf" + files[key]
    yield Mutation(f"{name}: {key} marked as UTF-8", {**files, key: marked}, ((key,),), harmless=True)
    yield from _frame_mutations(name, files, key)


_OPTIONAL = (
    "cx", "cy", "w", "h", "fl_x", "ply_file_path", "mask_path", "applied_transform", "fl_y", "camera_model",
    "depth_file_path", "depth_unit_scale_factor",
)  # fmt: skip
"""Keys that a file may lack; it must show in what is read."""
_UNREAD = (
    "aabb_scale", "sharpness", "applied_transform", "w", "h", "cx", "cy", "fl_x", "fl_y", "camera_model",
    "depth_unit_scale_factor",
)  # fmt: skip
"""Keys that a file may lack or hold with another value without a change of what is read."""


def _matrix_mutations(title: str, files: Files, at: tuple[str, tuple[Any, ...], str]) -> Iterator[Mutation]:
    """Matrices of other shapes, and ones that are no motion."""
    key, path, known = at
    given = np.array(_at(json.loads(files[key]), path)[known], float)
    scaled, mirrored, moved, nan = given.copy(), given.copy(), given.copy(), given.copy()
    scaled[:3, :3] *= 2
    mirrored[:3, 0] *= -1
    moved[0, -1] = 1e30
    nan[1, 1] = np.nan
    for what, matrix in {
        "all zero": np.zeros_like(given), "scaled": scaled, "mirrored": mirrored, "far away": moved, "nan": nan,
        "transposed": given.T, "2x2": given[:2, :2], "4x2": given[:, :2], "flat": given.ravel(),
        "without a column": given[:, :-1], "with a row": np.vstack([given, given[:1]]), "nested": given[None],
        "of ones": np.ones_like(given),
    }.items():  # fmt: skip
        changed = json.loads(files[key])
        _at(changed, path)[known] = matrix.tolist()
        lens = known == "intrinsics"
        yield Mutation(f"{title} {what}", _with(files, key, changed), ((key,), (known,)), may_be=lens and what != "nan")
    changed = json.loads(files[key])
    _at(changed, path)[known] = [[str(each) for each in row] for row in given.tolist()]
    yield Mutation(f"{title} of texts", _with(files, key, changed), ((key,), (known,)))
    if given.shape == (4, 4):
        changed = json.loads(files[key])
        _at(changed, path)[known][3][3] = 2
        yield Mutation(f"{title} with another last row", _with(files, key, changed), ((key,), (known,)))


def _frame_mutations(name: str, files: Files, key: str) -> Iterator[Mutation]:
    """Frames that are there twice, are missing or are no frames."""
    frames = json.loads(files[key]).get("frames")
    if not frames or len(frames) < 2:
        return
    picture = _named(frames[0]["file_path"])
    for what, change in {
        "again": frames[0], "again elsewhere": {**frames[0], "transform_matrix": frames[1]["transform_matrix"]},
        "null": None, "a text": "x", "a number": 3, "a list": [1], "empty": {},
        "outside": {**frames[0], "file_path": "../../secret.png"}, "a folder": {**frames[0], "file_path": "images"},
        "absolute": {**frames[0], "file_path": "/data/" + frames[0]["file_path"]},
    }.items():  # fmt: skip
        changed = {**json.loads(files[key]), "frames": [*frames, change]}
        last = f"frame {len(frames)}"
        yield Mutation(f"{name}: {key} with a frame {what}", _with(files, key, changed), ((key,), (last, *picture)))
    for count in (0, 1, len(frames) - 1):
        changed = {**json.loads(files[key]), "frames": frames[:count]}
        words = ((key,), ("frames", "usable views", *_named(frames[-1]["file_path"])))
        yield Mutation(f"{name}: {key} with {count} frames", _with(files, key, changed), words)


def _mappings(data: Any) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
    found: list[tuple[tuple[str | int, ...], dict[str, Any]]] = [((), data)]
    if data.get("frames"):
        found.append((("frames", 0), data["frames"][0]))
    found += [((each,), value) for each, value in data.items() if isinstance(value, dict)][:1]
    return found


def _at(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


def _with(files: Files, key: str, data: Any) -> Files:
    return {**files, key: json.dumps(data).encode()}


def _line_mutations(name: str, files: Files, key: str, random: np.random.Generator) -> Iterator[Mutation]:
    """Words replaced, lost and added, lines lost and repeated, in each kind of line."""
    lines = files[key].decode().splitlines()
    filled = [number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")]
    number = filled[int(random.integers(len(filled)))]
    words = lines[number].split()

    def changed(what: str, *new: str, may_be: bool = False, harmless: bool = False) -> Mutation:
        found = [*lines[:number], *new, *lines[number + 1 :]]
        data = ("\n".join(found) + "\n").encode()
        title = f"{name}: {key} line {number + 1} {what}"
        return Mutation(title, {**files, key: data}, ((key, PurePosixPath(key).name),), may_be, harmless)

    unread = "points3D" in key
    for place in range(len(words)):
        for value in ("x1", "nan", "inf", "-1", "1e400", "0", "1e30", "999999999999999999999"):
            if words[place] != value:
                new = " ".join([*words[:place], value, *words[place + 1 :]])
                # Positions may be anything finite, and colours 0; ids of points and their errors are not read.
                number_ = value in ("-1", "0", "1e30", "999999999999999999999")
                free = number_ and (unread or ("images" in key and place in (5, 6, 7)))
                free |= value in ("0", "-1") and "cameras" in key and place >= 6
                free |= value == "0" and "images" in key and 0 < place < 5
                # Ids of photographs and points and the errors of points are not used.
                unused = (place == 0 and "cameras" not in key and "e" not in value) or (unread and place == 7)
                yield changed(f"word {place} is {value}", new, may_be=free, harmless=unused)
        rest = " ".join([*words[:place], *words[place + 1 :]])
        yield changed(f"without word {place}", rest, harmless=unread and place == 7)
    yield changed("with a word more", f"{lines[number]} 7", may_be="images" in key, harmless=unread)
    yield changed("twice", lines[number], lines[number], harmless="cameras" in key)
    yield changed("lost")
    yield changed("as a comment", f"# {lines[number]}")
    yield changed("in two", " ".join(words[:4]), " ".join(words[4:]))
    yield changed("with commas", ",".join(words))
    yield changed("with tabs", "\t".join(words), harmless=True)
    if "cameras" in key:
        for model in ("FOV", "PINHOLES", "SIMPLE_RADIAL", "7"):
            yield changed(f"of model {model}", " ".join([words[0], model, *words[2:]]), may_be=model.startswith("S"))
    if "images" in key:
        again = " ".join(["99", *words[1:]])
        yield changed("again with another id", lines[number], "", again)
        double = " ".join([words[0], *(str(2 * float(each)) for each in words[1:5]), *words[5:]])
        yield changed("with a quaternion of length 2", double)
        yield changed("of another camera", " ".join([*words[:8], "7", *words[9:]]))
    windows = "\r\n".join(lines).encode() + b"\r\n"
    yield Mutation(f"{name}: {key} of Windows", {**files, key: windows}, ((key,),), harmless=True)
    wide = files[key].decode().encode("utf-16")
    yield Mutation(f"{name}: {key} in UTF-16", {**files, key: wide}, ((key, PurePosixPath(key).name),))
    if any(not line.strip() for line in lines):
        data = ("\n".join(line for line in lines if line.strip()) + "\n").encode()
        yield Mutation(f"{name}: {key} without empty lines", {**files, key: data}, ((key, PurePosixPath(key).name),))


def _binary_mutations(name: str, files: Files, key: str) -> Iterator[Mutation]:
    """Numbers at their places in COLMAP's files."""
    stem, data = PurePosixPath(key).stem, files[key]
    fields: dict[str, tuple[int, str, tuple[Any, ...]]] = {"count": (0, "<Q", (0, 2**63, 10**9))}
    if stem == "cameras":
        fields |= {
            "camera": (8, "<i", (-1, 9)),
            "model": (12, "<i", (-1, 99, 7, 4)),
            "width": (16, "<Q", (0, 2**63, 7)),
        }
        fields |= {"focal length": (32, "<d", (math.nan, math.inf, -1.0, 0.0, 1e300, 1e-300))}
    elif stem == "images":
        fields |= {"quaternion": (12, "<d", (math.nan, math.inf, 1e300)), "camera": (68, "<i", (-1, 9))}
        fields |= {"translation": (44, "<d", (math.nan, math.inf, 1e300)), "name": (72, "<c", (b"\0", b"\xff"))}
    elif stem == "points3D":
        fields |= {"position": (16, "<d", (math.nan, math.inf, 1e300)), "track": (51, "<Q", (2**62,))}
    else:
        return
    words = ((key, PurePosixPath(key).name),)
    for field, (place, layout, values) in fields.items():
        for value in values:
            changed = bytearray(data)
            struct.pack_into(layout, changed, place, value)
            yield Mutation(f"{name}: {key} {field} = {value!r}", {**files, key: bytes(changed)}, words)
    yield Mutation(f"{name}: {key} with more bytes", {**files, key: data + b"\0\1\2"}, words)


def _point_mutations(name: str, files: Files, key: str) -> Iterator[Mutation]:
    """Points that are no numbers, headers of other kinds."""
    begin = files[key].index(b"end_header\n") + 11
    header, body = files[key][:begin], files[key][begin:]
    count = len(body) // 15
    for what, data in {
        "with a NaN": header + struct.pack("<f", math.nan) + body[4:],
        "all NaN": header + (struct.pack("<3f", *[math.nan] * 3) + bytes(3)) * count,
        "all infinite": header + (struct.pack("<3f", *[math.inf] * 3) + bytes(3)) * count,
        "with bytes after": files[key] + bytes(3),
        "big-endian": files[key].replace(b"little", b"big"),
        "without points": header.replace(str(count).encode(), b"0"),
        "without x": files[key].replace(b"float x", b"float u"),
        "of many points": files[key].replace(f"vertex {count}".encode(), b"vertex 99999999999"),
        "far away": header + struct.pack("<f", 3e38) + body[4:],
    }.items():
        yield Mutation(f"{name}: {key} {what}", {**files, key: data}, (_named(key),))


def encoded(picture: np.ndarray, ending: str = ".png") -> bytes:
    """A picture as a file."""
    return bytes(cv2.imencode(ending, picture)[1])


def _picture_mutations(name: str, files: Files, pictures: list[str]) -> Iterator[Mutation]:
    """Photographs of other sizes, formats and contents."""
    key = pictures[2]
    words = (_named(key),)
    if name.startswith("rig"):
        words = ((*_named(key), PurePosixPath(key).parent.name),)
    picture = cv2.imdecode(np.frombuffer(files[key], np.uint8), -1)
    other = files[pictures[1]]
    height, width = picture.shape[:2]
    tall = picture[: height // 2]
    animated, paletted, cmyk, deep = io.BytesIO(), io.BytesIO(), io.BytesIO(), picture[..., :3].astype(np.uint16) * 257
    image = Image.fromarray(picture[..., 2::-1].copy())
    image.save(animated, "GIF", save_all=True, append_images=[Image.new("RGB", image.size)])
    image.convert("P").save(paletted, "PNG")
    image.convert("CMYK").save(cmyk, "JPEG")
    clear = np.dstack([picture[..., :3], np.zeros((height, width), np.uint8)])
    shown = {"in JPEG": encoded(picture, ".jpg"), "in grey": encoded(picture[..., 0]), "in CMYK": cmyk.getvalue()}
    shown |= {"paletted": paletted.getvalue(), "of 16 bits": encoded(deep), "animated": animated.getvalue()}
    shown |= {"doubled": encoded(cv2.resize(picture, None, fx=2, fy=2))}
    for what, data in shown.items():
        if not (name.startswith("alpha") and what == "in JPEG"):
            yield Mutation(f"{name}: {key} {what}", {**files, key: data}, words, may_be=True, harmless=True)
    for what, data in {
        "half as tall": encoded(tall), "of one pixel": encoded(picture[:1, :1]), "a copy": other,
        "on its side": encoded(np.rot90(picture).copy()), "transparent": encoded(clear),
        "black": encoded(np.zeros_like(picture)[..., :3]), "bad data": _corrupt(files[key]),
    }.items():  # fmt: skip
        same = what in ("half as tall", "of one pixel", "on its side", "black") and name.startswith("bare")
        yield Mutation(f"{name}: {key} {what}", {**files, key: data}, words, may_be=same)


def _corrupt(data: bytes) -> bytes:
    """A file with damaged bytes in its middle."""
    middle = len(data) // 2
    return data[:middle] + bytes(each ^ 0x55 for each in data[middle : middle + 8]) + data[middle + 8 :]


def _mask_mutations(name: str, files: Files, masks: list[str]) -> Iterator[Mutation]:
    """Masks of the wrong polarity, of other sizes and kinds."""
    if not masks:
        return
    planes = {key: cv2.imdecode(np.frombuffer(files[key], np.uint8), cv2.IMREAD_GRAYSCALE) for key in masks}
    inverted = {key: encoded(255 - plane) for key, plane in planes.items()}
    yield Mutation(f"{name}: all masks inverted", {**files, **inverted}, (("mask",), ("invert", "left out")))
    rest = {key: data for key, data in files.items() if key not in masks}
    yield Mutation(f"{name}: without masks", rest, (("mask",),), may_be=True)
    black = {key: encoded(np.zeros_like(plane)) for key, plane in planes.items()}
    yield Mutation(f"{name}: all masks black", {**files, **black}, (("mask", *masks),))
    key, plane = masks[1], planes[masks[1]]
    words = ((*_named(key), PurePosixPath(key).name.split(".")[0]),)
    random = np.random.default_rng(0)
    for what, data in {
        "another shape": encoded(plane[: plane.shape[0] // 2]), "a pixel": encoded(plane[:1, :1]),
        "black": encoded(np.zeros_like(plane)),
        "colours": encoded(random.integers(0, 255, (*plane.shape, 3), np.uint8)),
        "bad data": _corrupt(files[key]), "inverted": encoded(255 - plane),
    }.items():  # fmt: skip
        yield Mutation(f"{name}: {key} {what}", {**files, key: data}, words)
    for what, data in {
        "grey": encoded(np.where(plane > 0, 128, 0).astype(np.uint8)),
        "soft": encoded(cv2.GaussianBlur(plane, (0, 0), 1)),
        "small": encoded(plane[::2, ::2]), "of 0 and 1": encoded((plane > 0).astype(np.uint8)),
        "of 16 bits": encoded(plane.astype(np.uint16) * 257), "in colour": encoded(np.dstack([plane] * 3)),
        "white": encoded(np.full_like(plane, 255)),
    }.items():  # fmt: skip
        yield Mutation(f"{name}: {key} {what}", {**files, key: data}, words, may_be=True, harmless=True)


def _depth_mutations(name: str, files: Files) -> Iterator[Mutation]:
    """Depth maps of other sizes, units and kinds."""
    maps = [key for key in sorted(files) if key.startswith("depth/")]
    if not maps:
        return
    planes = {key: cv2.imdecode(np.frombuffer(files[key], np.uint8), -1) for key in maps}
    metres = {key: encoded((plane // 3).astype(np.uint16)) for key, plane in planes.items()}
    yield Mutation(f"{name}: all depth in another unit", {**files, **metres}, (("depth_file_path",),))
    empty = {key: encoded(np.zeros_like(plane)) for key, plane in planes.items()}
    yield Mutation(f"{name}: all depth unknown", {**files, **empty}, (("depth_file_path", *maps),))
    key, plane = maps[1], planes[maps[1]]
    for what, data in {
        "8 bits": encoded((plane // 256).astype(np.uint8)), "colours": encoded(np.dstack([plane] * 3)),
        "another shape": encoded(plane[: plane.shape[0] // 2]), "unknown": encoded(np.zeros_like(plane)),
    }.items():  # fmt: skip
        yield Mutation(f"{name}: {key} {what}", {**files, key: data}, (_named(key),), may_be=what == "unknown")
