"""Panoramas stand level, by metadata or by what they show, and a partial one lies on its part of the sphere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.vision.imaging.images.loading import load_srgb
from scenewright_stages.vision.places.worlds import levelling
from scenewright_stages.vision.places.worlds.levelling import measured_up, stated_turn, tilt_degrees, turned_sphere
from scenewright_stages.vision.types import Float32Array
from scenewright_stages.worldexplorer.depth import guessed
from scenewright_stages.worldexplorer.params import WorldDepthParams
from scenewright_stages.worldexplorer.scaffold import read_panorama

ROOM = Path(__file__).parents[3] / "examples" / "inputs" / "panoramas" / "interior.jpg"
ROWS = 256


@pytest.fixture(scope="module")
def level() -> Float32Array:
    picture = load_srgb(ROOM).srgb
    return np.clip(cv2.resize(picture, (2 * ROWS, ROWS), interpolation=cv2.INTER_AREA), 0, 1).astype(np.float32)


def written(path: Path, panorama: Float32Array, **gpano: object) -> Path:
    """A picture with GPano metadata."""
    fields = "".join(f"<GPano:{name}>{value}</GPano:{name}>" for name, value in gpano.items())
    xmp = f"<rdf:RDF><rdf:Description>{fields}</rdf:Description></rdf:RDF>"
    pixels = Image.fromarray(np.round(panorama * 255).astype(np.uint8))
    if path.suffix == ".png":
        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", xmp if gpano else "")
        pixels.save(path, pnginfo=texts)
    else:
        pixels.save(path, quality=98, **({"xmp": xmp.encode()} if gpano else {}))
    return path


def tilted(panorama: Float32Array, roll: float, pitch: float) -> Float32Array:
    """As a camera with roll and pitch takes it."""
    return turned_sphere(panorama, stated_turn(roll, pitch).T)


@pytest.mark.parametrize(("roll", "pitch"), [(0, 0), (20, 0), (-35, 0), (12, 15), (0, -20)])
def test_the_vertical_is_measured_where_edges_show_it(level: Float32Array, roll: float, pitch: float) -> None:
    up = measured_up(tilted(level, roll, pitch))
    assert up is not None
    expected = stated_turn(roll, pitch).T @ (0, -1, 0)
    assert np.degrees(np.arccos(up @ expected)) < 1.2


def test_a_scene_without_straight_edges_gives_no_vertical() -> None:
    random = np.random.default_rng(0)
    noise = cv2.GaussianBlur(random.random((ROWS, 2 * ROWS, 3)).astype(np.float32), (0, 0), 6)
    assert measured_up(np.clip((noise - 0.5) * 6 + 0.5, 0, 1)) is None


def test_edges_too_few_of_which_agree_give_no_vertical(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two edges always meet somewhere, which says nothing; these lie in fewer views than a vertical needs."""
    random = np.random.default_rng(1)
    for _ in range(200):
        normals = random.normal(size=(8, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        edges = normals, random.uniform(0.1, 1.0, 8), np.arange(8) % 3
        monkeypatch.setattr(levelling, "_edges", lambda _, edges=edges: edges)
        assert measured_up(np.zeros((ROWS, 2 * ROWS, 3), np.float32)) is None


@pytest.mark.parametrize("stated", [{}, {"PoseRollDegrees": 20}, {"PoseRollDegrees": -20}])
@pytest.mark.slow
def test_a_rolled_panorama_gives_the_distances_of_the_level_one(
    tmp_path: Path, level: Float32Array, stated: dict[str, object]
) -> None:
    found = read_panorama(written(tmp_path / "rolled.jpg", tilted(level, 20, 0), **stated), ROWS)
    assert found.metrics["levelled"] == ("stated" if stated else "measured")
    block = WorldDepthParams()
    expected = guessed(level, block)[1]
    median = float(np.median(np.abs(guessed(found.srgb, block)[1] / expected - 1)))
    untouched = float(np.median(np.abs(guessed(tilted(level, 20, 0), block)[1] / expected - 1)))
    assert median < 0.03 < untouched


def test_a_level_panorama_keeps_its_pixels(tmp_path: Path, level: Float32Array) -> None:
    path = written(tmp_path / "level.png", level, PoseHeadingDegrees=123.5)
    found = read_panorama(path, ROWS)
    np.testing.assert_array_equal(found.srgb, load_srgb(path).srgb)
    assert found.notes == ()
    assert found.metrics["levelled"] == "level"
    assert found.metrics["heading_degrees"] == 123.5


def test_metadata_that_the_picture_contradicts_are_not_followed(tmp_path: Path, level: Float32Array) -> None:
    found = read_panorama(written(tmp_path / "a.jpg", tilted(level, 20, 0), PoseRollDegrees=7), ROWS)
    assert any("the edges are followed" in note for note in found.notes)
    up = measured_up(found.srgb)
    assert up is not None
    assert tilt_degrees(up) < 1.5


def test_a_partial_panorama_lies_where_its_metadata_say_and_the_rest_is_unseen(
    tmp_path: Path, level: Float32Array
) -> None:
    top, left, high, wide = ROWS // 4, ROWS // 2, ROWS // 2, ROWS
    area = {
        "CroppedAreaLeftPixels": left, "CroppedAreaTopPixels": top, "CroppedAreaImageWidthPixels": wide,
        "CroppedAreaImageHeightPixels": high, "FullPanoWidthPixels": 2 * ROWS, "FullPanoHeightPixels": ROWS,
    }  # fmt: skip
    path = written(tmp_path / "part.png", level[top : top + high, left : left + wide], **area)
    found = read_panorama(path, ROWS)
    inside = (slice(top, top + high), slice(left, left + wide))
    np.testing.assert_array_equal(found.srgb[inside], load_srgb(path).srgb)
    assert found.shown[inside].all()
    assert found.shown.sum() == high * wide
    assert "35% of the sphere" in found.notes[0]
    with pytest.raises(SampleError, match="does not lie in the whole panorama"):
        read_panorama(written(tmp_path / "bad.png", level, **{**area, "CroppedAreaLeftPixels": 400}), ROWS)
    with pytest.raises(SampleError, match=r"part\.png has 256x128 .*|a\.png has 256x256 pixels"):
        read_panorama(written(tmp_path / "a.png", level[:, :ROWS]), ROWS)
