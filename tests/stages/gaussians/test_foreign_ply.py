"""PLY files of other programs become the same scene, or are refused by file, property and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.foreign_ply import read_foreign_ply
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.ply import property_names

COUNT = 7
TYPES = {"float": "f4", "double": "f8", "uchar": "u1", "int": "i4"}


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
    scene = found.scene
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
    assert len(found.scene) == 2
    assert np.isfinite(found.scene.opacity_logits.numpy()).all() and found.scene.opacity_logits[0] == 20
    counts = [int(re.search(r": (\d+) of 7 splats", note)[1]) for note in found.notes]  # type: ignore[index]
    assert sorted(counts) == [1, 1, 3]


def test_colours_may_be_bytes(tmp_path: Path) -> None:
    columns = {name: values for name, values in splats().items() if not name.startswith("f_dc")}
    columns |= {"red": np.full(COUNT, 255), "green": np.zeros(COUNT), "blue": np.full(COUNT, 51)}
    file = PlyFile(columns=columns, kinds=dict.fromkeys(("red", "green", "blue"), "uchar"))
    found = read_foreign_ply(file.write(tmp_path / "theirs.ply"))
    assert np.allclose(found.scene.spherical_harmonics[0, 0].numpy() * C0 + 0.5, [1, 0, 0.2], atol=1e-6)
    assert "f_dc" in found.notes[0]


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
    "a type": (lambda: PlyFile(columns=splats(), after="property half w\n"), r"not understood: property half w"),
    "a format": (lambda: PlyFile("binary_middle_endian", splats()), r"not a PLY file"),
    "faces first": (lambda: PlyFile(columns=splats(), before="element face 0\n"), r"face precedes vertex"),
    "compressed": (
        lambda: PlyFile(columns={"packed_position": np.zeros(3)}, kinds={"packed_position": "int"}),
        r"compressed PLY: rename it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused_by_name_property_and_remedy(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    with pytest.raises(FormatError, match=message) as refusal:
        read_foreign_ply(make().write(tmp_path / "theirs.ply"))
    assert "theirs.ply" in str(refusal.value)
