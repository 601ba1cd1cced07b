"""Formats of other programs: what splat-transform and usd-core write, our readers and tinyusdz read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from scenewright_stages.exports import TARGETS, ExportParams
from scenewright_stages.scenes.export import formats
from scenewright_stages.scenes.export.source import read_source
from scenewright_stages.vision.gaussians.formats import compressed_ply
from scenewright_stages.vision.gaussians.formats.compressed_ply import read_compressed_ply
from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.glb import annotate_glb, read_glb, read_glb_parts
from scenewright_stages.vision.gaussians.formats.joining import join_compressed_ply, join_glb, join_spz
from scenewright_stages.vision.gaussians.formats.lod import read_finest, write_lod
from scenewright_stages.vision.gaussians.formats.sog import read_sog
from scenewright_stages.vision.gaussians.formats.splat import read_splat, write_splat
from scenewright_stages.vision.gaussians.formats.splat_transform import PROGRAM, convert
from scenewright_stages.vision.gaussians.formats.spz import read_spz
from scenewright_stages.vision.gaussians.formats.usd import read_usd, write_usdc, write_usdz
from scenewright_stages.vision.gaussians.ply import read_ply, write_ply
from scenewright_stages.vision.gaussians.rotation import rotated
from scenewright_stages.vision.gaussians.scene import GaussianScene

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not PROGRAM.is_file(), reason="splat-transform is not installed"),
]
TURN_Z = np.diag([-1.0, -1.0, 1.0])
Reader = Callable[[Path], GaussianScene]


def scene_of(degree: int, count: int = 300, seed: int = 0) -> GaussianScene:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    harmonics = 0.2 * normal(count, (degree + 1) ** 2, 3)
    quaternions = torch.nn.functional.normalize(normal(count, 4), dim=1)
    return GaussianScene(2 * normal(count, 3), normal(count, 3) * 0.5 - 4, quaternions, normal(count), harmonics)


def differences(found: GaussianScene, true: GaussianScene) -> dict[str, float]:
    """The 95th percentile of each attribute's error; splats are matched by place, since writers reorder them."""
    assert len(found) == len(true)
    _, rows = cKDTree(true.means.numpy()).query(found.means.numpy())
    assert len(set(rows.tolist())) == len(true)
    true = true.select(torch.from_numpy(rows))
    unit = [torch.nn.functional.normalize(each.quaternions, dim=1) for each in (found, true)]
    errors = {
        "means": (found.means - true.means).abs().amax(dim=1),
        "scales": (found.log_scales - true.log_scales).abs().amax(dim=1),
        "turns": 1 - (unit[0] * unit[1]).sum(dim=1).abs(),
        "opacity": (found.opacity_logits.sigmoid() - true.opacity_logits.sigmoid()).abs(),
        "colour": (found.spherical_harmonics[:, 0] - true.spherical_harmonics[:, 0]).abs().amax(dim=1),
    }
    summary = {name: float(error.quantile(0.95)) for name, error in errors.items()}
    if true.spherical_harmonics.shape[1] > 1:
        # A palette cannot hold random coefficients well. In another order they would not correlate at all.
        one, other = found.spherical_harmonics[:, 1:], true.spherical_harmonics[:, 1:]
        summary["harmonics"] = 1 - float((one * other).sum() / (one.norm() * other.norm()))
    return summary


LIMITS = {"means": 1e-2, "scales": 0.1, "turns": 1e-3, "opacity": 0.01, "colour": 0.05, "harmonics": 0.3}


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize(
    ("name", "read", "options", "turn"),
    [
        ("scene.spz", read_spz, ("--spz-version", "3"), np.eye(3)),
        ("scene.sog", read_sog, (), np.eye(3)),
        ("scene.compressed.ply", read_compressed_ply, (), np.eye(3)),
        ("scene.glb", read_glb, (), TURN_Z),
    ],
)
def test_what_splat_transform_writes_is_read_by_our_readers(
    name: str, read: Reader, options: tuple[str, ...], turn: np.ndarray, degree: int, tmp_path: Path
) -> None:
    scene = scene_of(degree)
    write_ply(scene, tmp_path / "scene.ply")
    convert(tmp_path / "scene.ply", tmp_path / name, options)
    found = differences(rotated(read(tmp_path / name), turn.T), scene)
    assert all(found[each] <= LIMITS[each] for each in found), found
    # A reader that mistakes the axes is far outside of the limits.
    wrong = rotated(read(tmp_path / name), turn.T @ np.diag([1.0, -1.0, -1.0]))
    assert float((wrong.means.amax(dim=0) - scene.means.amax(dim=0)).abs().max()) > 10 * LIMITS["means"]


@pytest.mark.parametrize("degree", [0, 2])
def test_usd_is_read_back_exactly_by_another_implementation_and_has_the_same_bytes(degree: int, tmp_path: Path) -> None:
    scene, files = scene_of(degree), []
    for number in range(2):
        usdc, usdz = tmp_path / f"{number}.usdc", tmp_path / f"{number}.usdz"
        write_usdc(scene, tmp_path / "scene.usdc", {"licence": "CC0"}, "a note")
        write_usdz(tmp_path / "scene.usdc", usdz)
        usdc.write_bytes((tmp_path / "scene.usdc").read_bytes())
        for path in (usdc, usdz):
            assert max(differences(read_usd(path), scene).values()) < 1e-4
        files.append((usdc.read_bytes(), usdz.read_bytes()))
    assert files[0] == files[1]


def test_splat_files_keep_everything_but_harmonics_and_splat_transform_reads_them(tmp_path: Path) -> None:
    scene = scene_of(1)
    write_splat(scene, tmp_path / "scene.splat")
    assert (tmp_path / "scene.splat").stat().st_size == 32 * len(scene)
    found = differences(read_splat(tmp_path / "scene.splat"), scene.with_harmonics(1))
    assert found["means"] == 0 and found["turns"] < 1e-3 and found["opacity"] < 0.01 and found["colour"] > 0
    convert(tmp_path / "scene.splat", tmp_path / "again.compressed.ply")
    assert len(read_compressed_ply(tmp_path / "again.compressed.ply")) == len(scene)


def test_the_finest_level_of_detail_is_the_scene(tmp_path: Path) -> None:
    scene = scene_of(0, count=1200)
    write_ply(scene, tmp_path / "scene.ply")
    write_lod(tmp_path / "scene.ply", len(scene), tmp_path / "lod")
    found = differences(read_finest(tmp_path / "lod"), scene)
    assert all(found[each] <= LIMITS[each] for each in found), found
    assert len(list((tmp_path / "lod").glob("*/meta.json"))) >= 3


def test_a_glb_file_says_whose_it_is_and_keeps_its_splats(tmp_path: Path) -> None:
    scene = scene_of(0)
    write_ply(scene, tmp_path / "scene.ply")
    convert(tmp_path / "scene.ply", tmp_path / "scene.glb")
    before = read_glb(tmp_path / "scene.glb")
    annotate_glb(tmp_path / "scene.glb", "© somebody", {"unit": "metre"})
    document, _ = read_glb_parts(tmp_path / "scene.glb")
    assert document["asset"]["copyright"] == "© somebody" and document["asset"]["extras"] == {"unit": "metre"}
    assert torch.equal(read_glb(tmp_path / "scene.glb").means, before.means)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("scene.spz", read_spz),
        ("scene.sog", read_sog),
        ("scene.compressed.ply", read_compressed_ply),
        ("scene.glb", read_glb),
        ("scene.splat", read_splat),
        ("scene.usdc", read_usd),
    ],
)
def test_files_that_are_cut_off_or_of_another_kind_are_refused_by_name(name: str, read: Reader, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not a file of splats at all, but of some other kind")
    with pytest.raises(FormatError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "read", "join", "options"),
    [
        ("scene.spz", read_spz, join_spz, ("--spz-version", "3")),
        ("scene.compressed.ply", read_compressed_ply, join_compressed_ply, ()),
        ("scene.glb", read_glb, join_glb, ()),
    ],
)
def test_pieces_are_joined_to_one_file_that_splat_transform_and_our_reader_find_whole(
    name: str, read: Reader, join: Callable[[list[Path], Path], None], options: tuple[str, ...], tmp_path: Path
) -> None:
    scene = scene_of(3, count=700)
    pieces = []
    for number, rows in enumerate((slice(0, 256), slice(256, 512), slice(512, None))):
        ply, piece = tmp_path / f"{number}.ply", tmp_path / f"{number}-{name}"
        write_ply(scene.select(rows), ply)
        convert(ply, piece, options)
        pieces.append(piece)
    join(pieces, tmp_path / name)
    apart = GaussianScene.concatenate([read(piece) for piece in pieces])
    for attribute, values in read(tmp_path / name).tensors.items():
        assert torch.equal(values, apart.tensors[attribute]), attribute
    if name != "scene.glb":  # which splat-transform writes and does not read
        convert(tmp_path / name, tmp_path / "again.ply")
        assert max(differences(read_ply(tmp_path / "again.ply"), apart).values()) < 1e-3
        return
    document, _ = read_glb_parts(tmp_path / name)
    assert len(trimesh.load(tmp_path / name, process=False).geometry["GLTF"].vertices) == len(scene)
    assert document["accessors"][0]["min"] == pytest.approx(apart.means.amin(dim=0).tolist())


def test_pieces_of_different_writers_are_refused(tmp_path: Path) -> None:
    for degree in (0, 1):
        write_ply(scene_of(degree), tmp_path / f"{degree}.ply")
        for end in ("spz", "compressed.ply", "glb"):
            convert(tmp_path / f"{degree}.ply", tmp_path / f"{degree}.{end}", ("--spz-version", "3"))
    for end, join in (("spz", join_spz), ("compressed.ply", join_compressed_ply), ("glb", join_glb)):
        with pytest.raises(FormatError, match=f"joined.{end}: its pieces differ"):
            join([tmp_path / f"0.{end}", tmp_path / f"1.{end}"], tmp_path / f"joined.{end}")


def test_a_compressed_ply_of_many_blocks_is_read_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ply(scene_of(2, count=1500), tmp_path / "scene.ply")
    convert(tmp_path / "scene.ply", tmp_path / "scene.compressed.ply")
    at_once = read_compressed_ply(tmp_path / "scene.compressed.ply")
    monkeypatch.setattr(compressed_ply, "_BLOCK", 512)
    for attribute, values in read_compressed_ply(tmp_path / "scene.compressed.ply").tensors.items():
        assert torch.equal(values, at_once.tensors[attribute])


@pytest.mark.parametrize(
    ("name", "file"), [("spz", "scene.spz"), ("compressed-ply", "s.compressed.ply"), ("glb", "s.glb")]
)
def test_large_scenes_are_converted_in_pieces_that_hold_the_same_splats(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ply(scene_of(1, count=700), tmp_path / "scene.ply")
    source = read_source(tmp_path / "scene.ply", [])
    (file,) = TARGETS[name].files.values()
    form, params = formats._FORMATS[name], ExportParams(to=[name])
    sizes: list[int] = []

    def counted(ply: Path, target: Path, options: Sequence[str] = ()) -> None:
        sizes.append(len(read_ply(ply)))
        convert(ply, target, options)

    monkeypatch.setattr(formats, "convert", counted)
    form.write(source, tmp_path / file, params)
    at_once = form.read(tmp_path / file)
    monkeypatch.setattr(formats, "_PIECE", 256)
    form.write(source, tmp_path / file, params)
    assert sizes == [700, 256, 256, 188]
    found = differences(form.read(tmp_path / file), at_once)
    assert all(found[each] <= LIMITS[each] for each in found), found
