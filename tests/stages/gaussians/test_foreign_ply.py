"""PLY files of other programs become the same scene, or are refused by file, property and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewright_stages.vision.gaussians.formats import foreign_ply
from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.foreign_ply import read_foreign_ply
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.ply import property_names

COUNT = 7
TYPES = {"float": "f4", "double": "f8", "uchar": "u1", "ushort": "u2", "int": "i4"}


@dataclass
class PlyFile:
    """A PLY of splats as some program might write it; `write` makes the file."""

    order: str = "binary_little_endian"
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    before: str = ""
    after: str = ""
    cut: int = 0

    def write(self, path: Path) -> Path:
        kinds = {name: self.kinds.get(name, "float") for name in self.columns}
        count = len(next(iter(self.columns.values())))
        header = f"ply\nformat {self.order} 1.0\ncomment by some program\n{self.before}element vertex {count}\n"
        header += "".join(f"property {kind} {name}\n" for name, kind in kinds.items())
        header += f"{self.after}end_header\n"
        if self.order == "ascii":
            rows = zip(*self.columns.values(), strict=True)
            body = "".join(" ".join(repr(float(each)) for each in row) + "\n" for row in rows).encode()
        else:
            order = ">" if "big" in self.order else "<"
            table = np.zeros(count, [(name, order + TYPES[kind]) for name, kind in kinds.items()])
            for name, values in self.columns.items():
                table[name] = values
            body = table.tobytes()
        path.write_bytes(header.encode() + body[: len(body) - self.cut])
        return path


def splats(harmonics: int = 1, count: int = COUNT) -> dict[str, np.ndarray]:
    random = np.random.default_rng(harmonics)
    return {name: random.normal(size=count).astype(np.float32) for name in property_names(harmonics)}


@settings(max_examples=40, deadline=None)
@given(
    order=st.sampled_from(["binary_little_endian", "binary_big_endian", "ascii"]),
    harmonics=st.sampled_from([1, 4, 9, 16]),
    double=st.sets(st.sampled_from(["x", "opacity", "scale_1", "rot_3"])),
    extra=st.sets(st.sampled_from(["confidence", "label", "semantic_12"])),
    shuffled=st.randoms(use_true_random=False),
    faces=st.booleans(),
)
def test_every_spelling_of_a_scene_reads_as_the_same_scene(
    order: str,
    harmonics: int,
    double: set[str],
    extra: set[str],
    shuffled: object,
    faces: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    columns = splats(harmonics)
    names = [*columns, *sorted(extra)]
    shuffled.shuffle(names)  # type: ignore[attr-defined]
    given_columns = {name: columns.get(name, np.ones(COUNT)) for name in names}
    after = "element face 0\nproperty list uchar int vertex_indices\n" if faces else ""
    file = PlyFile(order, given_columns, dict.fromkeys(double, "double"), after=after)
    found = read_foreign_ply(file.write(tmp_path_factory.mktemp("ply") / "theirs.ply"))
    scene = found.scene()
    assert np.array_equal(scene.means.numpy(), np.stack([columns[axis] for axis in "xyz"], axis=1))
    assert np.array_equal(scene.opacity_logits.numpy(), columns["opacity"])
    assert np.array_equal(scene.quaternions.numpy()[:, 3], columns["rot_3"])
    assert scene.spherical_harmonics.shape[1] == harmonics
    for channel in range(3):
        for band in range(harmonics - 1):
            expected = columns[f"f_rest_{channel * (harmonics - 1) + band}"]
            assert np.array_equal(scene.spherical_harmonics.numpy()[:, band + 1, channel], expected)
    assert all(any(name in note for note in found.notes) for name in extra)
    assert bool(found.notes) == bool(extra)


def test_splats_that_cannot_be_drawn_are_left_out_and_counted(tmp_path: Path) -> None:
    columns = splats(4)
    columns["x"][0], columns["f_rest_3"][1], columns["scale_0"][2] = np.nan, np.inf, -np.inf
    columns["opacity"][3] = np.inf
    for name in ("rot_0", "rot_1", "rot_2", "rot_3"):
        columns[name][4] = 0
    columns["z"][5] = 1e9
    found = read_foreign_ply(PlyFile(columns=columns).write(tmp_path / "theirs.ply"))
    scene = found.scene()
    assert len(scene) == found.count == 2
    assert np.isfinite(scene.opacity_logits.numpy()).all() and scene.opacity_logits[0] == 20
    counts = [int(re.search(r": (\d+) of 7 splats", note)[1]) for note in found.notes]  # type: ignore[index]
    assert sorted(counts) == [1, 1, 3]


def test_splats_of_impossible_size_or_colour_are_left_out(tmp_path: Path) -> None:
    columns = {name: values.astype(np.float64) for name, values in splats().items()}
    columns["scale_0"][0], columns["f_dc_1"][1], columns["y"][2] = 100, 1e30, 1e300
    file = PlyFile(columns=columns, kinds=dict.fromkeys(columns, "double"))
    found = read_foreign_ply(file.write(tmp_path / "theirs.ply"))
    assert found.count == 4
    assert [note.split(" splats ")[1].split()[0] for note in found.notes] == ["with", "larger", "with"]


@pytest.mark.parametrize(("kind", "most"), [("uchar", 255), ("ushort", 65535), ("float", 1.0)])
def test_colours_may_be_whole_numbers_or_shares(kind: str, most: float, tmp_path: Path) -> None:
    columns = {name: values for name, values in splats().items() if not name.startswith("f_dc")}
    columns |= {"red": np.full(COUNT, most), "green": np.zeros(COUNT), "blue": np.full(COUNT, most * 0.2)}
    file = PlyFile(columns=columns, kinds=dict.fromkeys(("red", "green", "blue"), kind))
    found = read_foreign_ply(file.write(tmp_path / "theirs.ply"))
    assert np.allclose(found.scene().spherical_harmonics[0, 0].numpy() * C0 + 0.5, [1, 0, 0.2], atol=1e-5)
    assert "f_dc" in found.notes[0]


@pytest.mark.parametrize("order", ["binary_little_endian", "ascii"])
@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (b"ply\nformat", b"ply\ncomment by a program that writes comments first\nformat"),
        (b"end_header\n", b"end_header\r\n"),
        (b"float x\n", b"float x\r\n"),
    ],
)
def test_liberties_with_the_header_are_understood(order: str, written: bytes, instead: bytes, tmp_path: Path) -> None:
    path = PlyFile(order, splats()).write(tmp_path / "theirs.ply")
    path.write_bytes(path.read_bytes().replace(written, instead, 1))
    assert read_foreign_ply(path).count == COUNT


def test_empty_lines_in_text_are_skipped(tmp_path: Path) -> None:
    path = PlyFile("ascii", splats()).write(tmp_path / "theirs.ply")
    path.write_bytes(path.read_bytes().replace(b"end_header\n", b"end_header\n\n"))
    assert read_foreign_ply(path).count == COUNT


def test_discs_of_two_scales_are_thin_splats(tmp_path: Path) -> None:
    columns = without("scale_2")
    found = read_foreign_ply(PlyFile(columns=columns).write(tmp_path / "theirs.ply"))
    sizes = np.exp(found.scene().log_scales.numpy())
    assert np.allclose(sizes[:, 2], sizes[:, :2].min(axis=1) / 100, rtol=1e-5)
    assert "discs" in found.notes[0]


def test_compressed_ply_is_read_under_any_name(tmp_path: Path) -> None:
    ends = ("min_x", "min_y", "min_z", "max_x", "max_y", "max_z")
    chunk = [*ends, *(name.replace("_", "_scale_") for name in ends)]
    header = "ply\nformat binary_little_endian 1.0\nelement chunk 1\n"
    header += "".join(f"property float {name}\n" for name in chunk)
    packed = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
    header += "element vertex 2\n" + "".join(f"property uint {name}\n" for name in packed) + "end_header\n"
    ranges = np.array([0, 0, 0, 2, 2, 2, -5, -5, -5, -3, -3, -3], "<f4")
    codes = np.array([[0, 1 << 29 | 1 << 19 | 1 << 9, 0, 0xFF0000FF], [0xFFFFFFFF] * 4], "<u4")
    path = tmp_path / "theirs.ply"
    path.write_bytes(header.encode() + ranges.tobytes() + codes.tobytes())
    found = read_foreign_ply(path)
    assert found.count == 2 and not found.notes
    assert np.allclose(found.scene().means.numpy(), [[0, 0, 0], [2, 2, 2]])


def test_a_file_is_read_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = splats(4)
    columns["x"][2] = np.nan
    for order in ("binary_big_endian", "ascii"):
        path = PlyFile(order, columns).write(tmp_path / "theirs.ply")
        whole = read_foreign_ply(path).scene()
        with monkeypatch.context() as patched:
            patched.setattr(foreign_ply, "_PART", 3)
            patched.setattr(foreign_ply, "_TEXT_PART", 3)
            found = read_foreign_ply(path)
            assert [len(part) for part in found.parts()] == [2, 3, 1]
            for name, tensor in found.scene().tensors.items():
                assert torch.equal(tensor, whole.tensors[name])


def without(*names: str) -> dict[str, np.ndarray]:
    return {name: values for name, values in splats().items() if name not in names}


def all_nan() -> dict[str, np.ndarray]:
    return {name: np.full(COUNT, np.nan) for name in splats()}


REFUSED: dict[str, tuple[Callable[[], PlyFile], str]] = {
    "points": (
        lambda: PlyFile(columns={axis: np.zeros(3) for axis in "xyz"}),
        r"lacks the properties .*scale_0.*cloud of points",
    ),
    "no opacity": (lambda: PlyFile(columns=without("opacity")), r"lacks the properties opacity: export it again"),
    "odd harmonics": (
        lambda: PlyFile(columns=splats() | {f"f_rest_{n}": np.zeros(COUNT) for n in range(10)}),
        r"has 10 properties f_rest_\*",
    ),
    "a gap in the harmonics": (
        lambda: PlyFile(columns=splats() | {f"f_rest_{n + 1}": np.zeros(COUNT) for n in range(9)}),
        r"numbered from 0",
    ),
    "cut off": (lambda: PlyFile(columns=splats(), cut=5), r"ends after 6 of 7 splats"),
    "cut off in text": (lambda: PlyFile("ascii", splats(), cut=90), r"splat 6 has"),
    "nothing to draw": (lambda: PlyFile(columns=all_nan()), r"no splat that can be drawn"),
    "no splats": (lambda: PlyFile(columns=splats(count=0)), r"has no splats"),
    "a list": (
        lambda: PlyFile(columns=splats(), after="property list uchar int neighbours\n"),
        r"property neighbours is a list",
    ),
    "named twice": (lambda: PlyFile(columns=splats(), after="property float x\n"), r"names property x of vertex twice"),
    "a type": (lambda: PlyFile(columns=splats(), after="property quad w\n"), r"not understood: property quad w"),
    "a format": (lambda: PlyFile("binary_middle_endian", splats()), r"not a PLY file of a known format: binary_middle"),
    "faces first": (lambda: PlyFile(columns=splats(), before="element face 0\n"), r"face precedes vertex"),
    "compressed without its ranges": (
        lambda: PlyFile(columns={"packed_position": np.zeros(3)}, kinds={"packed_position": "int"}),
        r"has no packed splats",
    ),
    "colours of neither kind": (
        lambda: PlyFile(columns=without("f_dc_0") | dict.fromkeys(("red", "green", "blue"), np.full(COUNT, 200.0))),
        r"red is above 1: .* or as uchar",
    ),
}


@pytest.mark.parametrize("order", ["binary_little_endian", "ascii"])
def test_a_file_that_promises_too_much_is_refused_before_memory_is_taken(order: str, tmp_path: Path) -> None:
    path = PlyFile(order, splats()).write(tmp_path / "theirs.ply")
    path.write_bytes(path.read_bytes().replace(b"vertex 7", b"vertex 10000000000000"))
    with pytest.raises(FormatError, match="ends after 7 of 10000000000000 splats: it was cut off"):
        read_foreign_ply(path)


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused_by_name_property_and_remedy(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    with pytest.raises(FormatError, match=message) as refusal:
        read_foreign_ply(make().write(tmp_path / "theirs.ply"))
    assert "theirs.ply" in str(refusal.value)
