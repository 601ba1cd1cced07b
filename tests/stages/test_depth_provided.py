"""Provided depth and disparity maps: formats, calibration, exact resampling and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from scenewright_stages.vision.geometry.depth.maps import ProvidedDepthError, read_map
from scenewright_stages.vision.geometry.depth.provided import read_provided, window_depth
from scenewright_stages.vision.geometry.depth.sidecar import read_sidecar, sidecar_camera, sidecar_path
from scenewright_stages.vision.geometry.framing import prepared_window

DEPTH = np.linspace(1, 6, 24 * 36, dtype=np.float32).reshape(24, 36)
STEREO = {
    "width": 36,
    "height": 24,
    "focalPixels": 40.0,
    "principalPoint": [17.5, 11.5],
    "pixelCentres": 0.0,
    "baselineMetres": 0.2,
    "disparityOffsetPixels": 1.0,
}


def write_pfm(path: Path, values: Any, little: bool = True) -> None:
    header = f"Pf\n{values.shape[1]} {values.shape[0]}\n{-1.0 if little else 1.0}\n".encode()
    path.write_bytes(header + values[::-1].astype("<f4" if little else ">f4").tobytes())


def write_sidecar(path: Path, **changes: Any) -> None:
    content = {key: value for key, value in {**STEREO, **changes}.items() if value is not None}
    path.write_text(json.dumps(content))


def test_every_format_gives_the_same_map(tmp_path: Path) -> None:
    np.save(tmp_path / "a.depth.npy", DEPTH)
    np.savez(tmp_path / "b.depth.npz", depth=DEPTH, other=np.zeros(3))
    np.savez_compressed(tmp_path / "c.depth.npz", DEPTH.astype(np.float64))
    write_pfm(tmp_path / "d.depth.pfm", DEPTH)
    write_pfm(tmp_path / "e.depth.pfm", DEPTH, little=False)
    np.save(tmp_path / "f.depth.npy", DEPTH[..., None])
    for name in ("a.depth.npy", "b.depth.npz", "c.depth.npz", "d.depth.pfm", "e.depth.pfm", "f.depth.npy"):
        np.testing.assert_array_equal(read_provided(tmp_path / name).depth, DEPTH)


def test_16_bit_png_is_scaled_and_zero_means_not_measured(tmp_path: Path) -> None:
    millimetres = np.rint(DEPTH * 1000).astype(np.uint16)
    millimetres[3, 4] = 0
    cv2.imwrite(str(tmp_path / "a.depth.png"), millimetres)
    depth = read_provided(tmp_path / "a.depth.png", scale=0.001).depth
    assert np.isnan(depth[3, 4])
    assert np.nanmax(np.abs(depth - DEPTH)) < 6e-4


def test_nan_infinite_and_negative_values_are_not_measured(tmp_path: Path) -> None:
    values = DEPTH.copy()
    values[0, :4] = (np.nan, np.inf, -np.inf, -2)
    values[1, 0] = 0
    np.save(tmp_path / "a.depth.npy", values)
    provided = read_provided(tmp_path / "a.depth.npy")
    assert np.isnan(provided.depth).sum() == 5
    assert "99.4 %" in provided.notes[0]


def test_disparity_becomes_depth_by_focal_length_baseline_and_offset(tmp_path: Path) -> None:
    disparity = 40.0 * 0.2 / DEPTH - 1.0
    disparity[2, 2] = np.inf
    np.savez(tmp_path / "a.disparity.npz", disparity)
    write_sidecar(tmp_path / "a.camera.json")
    depth = read_provided(tmp_path / "a.disparity.npz").depth
    assert np.isnan(depth[2, 2]), "infinite disparity is a hole, not depth 0"
    np.testing.assert_allclose(np.delete(depth, 74), np.delete(DEPTH, 74), rtol=1e-5)
    without_offset = 40.0 * 0.2 / (disparity[0, 0])
    assert abs(without_offset - DEPTH[0, 0]) > 0.1


def test_disparity_of_a_smaller_map_is_scaled_with_its_focal_length(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "a.camera.json", width=72, height=48, focalPixels=80.0, disparityOffsetPixels=2.0)
    np.save(tmp_path / "a.disparity.npy", 40.0 * 0.2 / DEPTH - 1.0)
    np.testing.assert_allclose(read_provided(tmp_path / "a.disparity.npy").depth, DEPTH, rtol=1e-5)


def test_the_camera_file_is_scaled_to_the_image_and_its_pixel_convention_is_heard(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "a.camera.json")
    camera = sidecar_camera(read_sidecar(tmp_path / "a.camera.json"), 72, 48)
    assert camera.focal == (80, 80) and camera.principal_point == (36, 24)
    write_sidecar(tmp_path / "b.camera.json", focalPixels=[40.0, 42.0], pixelCentres=None, principalPoint=None)
    camera = sidecar_camera(read_sidecar(tmp_path / "b.camera.json"), 36, 24)
    assert camera.focal == (40, 42) and camera.principal_point == (18, 12)
    write_sidecar(tmp_path / "c.camera.json", focalPixels=None, horizontalDegrees=60)
    view = sidecar_camera(read_sidecar(tmp_path / "c.camera.json"), 36, 24).field_of_view
    assert view[0] == pytest.approx(60)


def test_a_map_and_its_image_share_a_camera_file(tmp_path: Path) -> None:
    image = tmp_path / "my.photo.png"
    assert sidecar_path(image) == sidecar_path(tmp_path / "my.photo.disparity.npy")
    assert sidecar_path(image) == tmp_path / "my.photo.camera.json"


def test_the_map_follows_the_images_window_exactly_and_mixes_nothing(tmp_path: Path) -> None:
    """A step edge stays a step, at the place where the prepared image has it."""
    depth = np.full((427, 640), 2.0, np.float32)
    depth[:, 301:] = 7.0
    depth[100, 100] = np.nan
    np.save(tmp_path / "a.depth.npy", depth)
    window = prepared_window(640, 427, 320)
    sampled = window_depth(read_provided(tmp_path / "a.depth.npy"), (640, 427), window).depth
    assert sampled.shape == (224, 320)
    assert np.isin(sampled, (2.0, 7.0)).all(), "nothing mixed, and the single hole filled from its footprint"
    step = (301 - window.left) * window.scale
    columns = np.arange(320) + 0.5
    np.testing.assert_array_equal(sampled[50] == 7, columns > step)
    averaged = cv2.resize(depth, (320, 224), interpolation=cv2.INTER_AREA)
    assert not np.isin(averaged[~np.isnan(averaged)], (2.0, 7.0)).all()


def test_large_holes_stay_holes(tmp_path: Path) -> None:
    depth = np.full((128, 128), 2.0, np.float32)
    depth[40:80, 40:80] = np.nan
    np.save(tmp_path / "a.depth.npy", depth)
    sampled = window_depth(read_provided(tmp_path / "a.depth.npy"), (128, 128), prepared_window(128, 128, 64))
    assert 17 * 17 < np.isnan(sampled.depth).sum() <= 20 * 20 and sampled.camera is None


def test_a_map_of_another_resolution_is_brought_to_the_image(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "a.camera.json")
    np.save(tmp_path / "a.depth.npy", DEPTH)
    window = prepared_window(144, 96, 96)
    result = window_depth(read_provided(tmp_path / "a.depth.npy"), (144, 96), window)
    assert result.camera is not None and result.camera.focal[0] == pytest.approx(40 * 4 * window.scale)
    assert result.depth[0, 0] == DEPTH[0, 0] and result.depth[-1, -1] == DEPTH[-1, -1]


def refusal(path: Path, **options: Any) -> ProvidedDepthError:
    with pytest.raises(ProvidedDepthError) as caught:
        read_provided(path, **options)
    assert caught.value.remedy and caught.value.field in str(caught.value)
    return caught.value


def test_unusable_maps_are_refused_with_field_value_and_remedy(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "a.depth.npy").message
    (tmp_path / "a.depth.exr").write_bytes(b"x")
    assert ".npy, .npz, .pfm, .png" in refusal(tmp_path / "a.depth.exr").remedy
    (tmp_path / "b.depth.npy").write_bytes(b"not numpy")
    assert "cannot be read" in refusal(tmp_path / "b.depth.npy").message
    np.save(tmp_path / "c.depth.npy", np.zeros((4, 5, 3)))
    assert "(4, 5, 3)" in refusal(tmp_path / "c.depth.npy").message
    np.save(tmp_path / "d.depth.npy", np.full((4, 5), np.nan))
    assert "no valid value" in refusal(tmp_path / "d.depth.npy").message
    np.savez(tmp_path / "e.depth.npz", a=DEPTH, b=DEPTH)
    assert "2 arrays" in refusal(tmp_path / "e.depth.npz").message
    cv2.imwrite(str(tmp_path / "f.depth.png"), np.zeros((4, 4), np.uint8))
    assert "16-bit" in refusal(tmp_path / "f.depth.png").remedy
    (tmp_path / "g.depth.pfm").write_bytes(b"PF\n4 4\n-1\n")
    assert "PFM" in refusal(tmp_path / "g.depth.pfm").message
    write_pfm(tmp_path / "h.depth.pfm", DEPTH)
    (tmp_path / "h.depth.pfm").write_bytes((tmp_path / "h.depth.pfm").read_bytes()[:-9])
    assert "cannot be read" in refusal(tmp_path / "h.depth.pfm").message
    np.save(tmp_path / "i.depth.npy", DEPTH)
    assert refusal(tmp_path / "i.depth.npy", scale=0.0).field == "scale"


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.depth.npy", np.array([[{"harm": 1}]], dtype=object), allow_pickle=True)
    assert "cannot be read" in refusal(tmp_path / "a.depth.npy").message


def test_an_npz_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.depth.npz"
    np.savez_compressed(path, np.zeros((1000, 1000), np.float32))
    from scenewright_stages.vision.geometry.depth import maps

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "MAX_MAP_PIXELS", 1000)
        with pytest.raises(ProvidedDepthError, match="uncompressed"):
            read_map(path)


def test_disparity_without_calibration_says_what_to_write_where(tmp_path: Path) -> None:
    np.save(tmp_path / "a.disparity.npy", DEPTH)
    error = refusal(tmp_path / "a.disparity.npy")
    assert error.field == "a.camera.json" and "baselineMetres" in error.remedy
    write_sidecar(tmp_path / "a.camera.json", baselineMetres=None)
    assert refusal(tmp_path / "a.disparity.npy").field == "baselineMetres"


def test_a_camera_file_may_lie_elsewhere_but_must_be_there_if_it_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.disparity.npy", 40.0 * 0.2 / DEPTH - 1.0)
    elsewhere = tmp_path / "camera" / "any.json"
    assert refusal(tmp_path / "a.disparity.npy", camera_file=elsewhere).field == "any.json"
    elsewhere.parent.mkdir()
    write_sidecar(elsewhere)
    depth = read_provided(tmp_path / "a.disparity.npy", camera_file=elsewhere).depth
    np.testing.assert_allclose(depth, DEPTH, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"focalPixels": -3}, "focalPixels"),
        ({"focalPixels": None}, "a.camera.json"),
        ({"baselineMetres": 0}, "baselineMetres"),
        ({"width": None}, "width"),
        ({"fokal": 3}, "fokal"),
    ],
)
def test_a_wrong_camera_file_names_its_field(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    np.save(tmp_path / "a.disparity.npy", DEPTH)
    write_sidecar(tmp_path / "a.camera.json", **changes)
    assert field in refusal(tmp_path / "a.disparity.npy").field


def test_maps_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.depth.npy", DEPTH)
    provided = read_provided(tmp_path / "a.depth.npy")
    with pytest.raises(ProvidedDepthError, match="another shape"):
        window_depth(provided, (100, 100), prepared_window(100, 100, 64))
