"""Lenses: photographs by any lens that OpenCV computes are undistorted, and any other lens is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from input_folders import FolderView
from numpy.typing import NDArray

from scenewright_stages.vision.places.captures.capture import CaptureError, Lens, frame_lens, lens_of
from scenewright_stages.vision.places.captures.finding import read_capture
from scenewright_stages.vision.places.captures.pictures import load_photographs
from scenewright_stages.vision.places.captures.validity import undistorted

WIDTH, HEIGHT, FX, FY, CX, CY = 160, 120, 110.0, 112.0, 82.0, 59.0
PINHOLE = {"w": WIDTH, "h": HEIGHT, "fl_x": FX, "fl_y": FY, "cx": CX, "cy": CY}
RADIAL = {"k1": -0.1, "k2": 0.02}
LENSES: dict[str, dict[str, Any]] = {
    "brown": {**RADIAL, "p1": 0.001, "p2": -0.002},
    "k3": {"camera_model": "OPENCV", **RADIAL, "k3": -0.004},
    "k6": {"camera_model": "FULL_OPENCV", **RADIAL, "k3": 0.01, "k4": 0.05, "k5": -0.01, "k6": 0.002},
    "k6 of no named model": {**RADIAL, "k3": 0.01, "k4": 0.05, "k5": -0.01, "k6": 0.002},
    "prism": {**RADIAL, "s1": 0.004, "s2": -0.002, "s3": 0.003, "s4": 0.001},
    "tilt": {**RADIAL, "tau_x": 0.03, "tau_y": -0.02},
    "fisheye": {"camera_model": "OPENCV_FISHEYE", "k1": 0.05, "k2": 0.01, "k3": -0.003, "k4": 0.001},
    "is_fisheye": {"is_fisheye": True, "k1": 0.05, "k2": 0.01},
    "equidistant": {"is_fisheye": True},
    "pincushion": {"k1": 0.35},
}
TERMS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "s1", "s2", "s3", "s4", "tau_x", "tau_y")


def pattern(rays: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) smooth colours of directions (..., 2) on the plane z = 1."""
    x, y = rays[..., 0], rays[..., 1]
    planes = (np.sin(9 * x + 2 * y), np.sin(8 * y - 3 * x + 1), np.cos(7 * (x + y)))
    return 0.5 + 0.4 * np.stack(planes, axis=-1)


def centres(width: int, height: int) -> NDArray[np.float64]:
    """(H, W, 2) pixel centres."""
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)


def taken(lens: dict[str, Any]) -> NDArray[np.uint8]:
    """What the lens shows of the pattern, by OpenCV's inverse, which no code under test uses."""
    matrix = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
    pixels = centres(WIDTH, HEIGHT).reshape(-1, 1, 2)
    if lens.get("is_fisheye") or lens.get("camera_model") == "OPENCV_FISHEYE":
        terms = np.array([lens.get(name, 0.0) for name in ("k1", "k2", "k3", "k4")])
        rays = cv2.fisheye.undistortPoints(pixels, matrix, terms)
    else:
        terms = np.array([lens.get(name, 0.0) for name in TERMS])
        rays = (pixels - (CX, CY)) / (FX, FY)
        for _ in range(60):
            points = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1)
            rays += (pixels - cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, terms)[0]) / (FX, FY)
    return np.round(pattern(rays.reshape(HEIGHT, WIDTH, 2)) * 255).astype(np.uint8)


def write(folder: Path, lens: dict[str, Any], per_frame: bool) -> Path:
    """Four photographs by one lens, whose keys stand in the file or in each frame."""
    (folder / "images").mkdir(parents=True)
    picture = taken(lens)[..., ::-1]
    frames = []
    for number in range(4):
        cv2.imwrite(str(folder / f"images/{number}.png"), picture)
        pose = np.eye(4)
        pose[0, 3] = number
        frame = {"file_path": f"images/{number}.png", "transform_matrix": pose.tolist()}
        frames.append({**frame, **(PINHOLE | lens if per_frame else {})})
    other = {"camera_angle_x": 0.3, "w": 10, "h": 10} if per_frame else PINHOLE | lens
    (folder / "transforms.json").write_text(json.dumps({**other, "frames": frames}))
    return folder


def error(folder: Path, side: int = 4096) -> tuple[float, float]:
    """PSNR against the pattern as a pinhole shows it, over the valid pixels, and their share."""
    capture = read_capture("transforms.json", "", FolderView(folder).keys, lambda key: (folder / key).read_bytes())
    found = load_photographs(capture, lambda key: folder / key, side).photographs[0]
    camera = found.camera
    rays = (centres(camera.width, camera.height) - camera.principal_point) / camera.focal
    wrong = (found.srgb / 255 - pattern(rays))[found.counted()]
    return float(-10 * np.log10(np.mean(wrong**2))), found.valid_share


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("name", LENSES)
def test_every_lens_of_opencv_is_undistorted(tmp_path: Path, name: str, per_frame: bool) -> None:
    quality, share = error(write(tmp_path / "in", LENSES[name], per_frame))
    assert quality > 45
    assert share > 0.4


@pytest.mark.parametrize("name", ["k6", "fisheye", "prism"])
def test_the_lens_scales_with_its_photograph(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "in", LENSES[name], False)
    data = json.loads((folder / "transforms.json").read_text())
    data |= {key: 2 * data[key] for key in ("w", "h", "fl_x", "fl_y", "cx", "cy")}
    (folder / "transforms.json").write_text(json.dumps(data))
    assert error(folder)[0] > 45
    assert error(folder, 80)[0] > 35


@pytest.mark.slow
def test_ignoring_the_lens_would_lose(tmp_path: Path) -> None:
    """The baseline: the same photographs as if by a pinhole."""
    for name, lens in LENSES.items():
        folder = write(tmp_path / name, lens, False)
        (folder / "transforms.json").write_text(
            json.dumps({**PINHOLE, "frames": json.loads((folder / "transforms.json").read_text())["frames"]})
        )
        assert error(folder)[0] < 40, name


def test_rays_beyond_the_lens_do_not_count(tmp_path: Path) -> None:
    """A strong barrel folds back: rays from far outside land in the photograph a second time."""
    lens = Lens.opencv((WIDTH, HEIGHT), (60.0, 60.0), (80.0, 60.0), [-0.3, 0.0, 0.0, 0.0])
    radius = np.hypot(*np.moveaxis((centres(WIDTH, HEIGHT) - (80, 60)) / 60, -1, 0))
    _, valid = undistorted(np.zeros((HEIGHT, WIDTH, 3), np.uint8), None, lens)
    assert valid is not None
    assert not valid[radius > np.sqrt(1 / 0.9) + 0.02].any()
    assert valid[radius < 1].all()


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"camera_model": "THIN_PRISM_FISHEYE"}, "THIN_PRISM_FISHEYE"),
        ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR"),
        ({"camera_model": "FOV"}, "FOV"),
        ({"camera_model": "PINHOLE", "is_fisheye": True}, "is_fisheye True contradicts camera_model PINHOLE"),
        ({"camera_model": "OPENCV", "is_fisheye": True}, "is_fisheye True contradicts"),
        ({"camera_model": "OPENCV_FISHEYE", "is_fisheye": False}, "is_fisheye False contradicts"),
        ({"camera_model": "PINHOLE", "k1": 0.2}, "k1 = 0.2 contradicts camera_model PINHOLE"),
        ({"camera_model": "SIMPLE_PINHOLE", "p2": 0.1}, "p2 = 0.1 contradicts camera_model SIMPLE_PINHOLE"),
        ({"is_fisheye": "perhaps"}, "is_fisheye is 'perhaps'"),
        ({"k1": 0.1, "k4": 0.01}, "k4 = 0.01 of OPENCV has two meanings"),
        ({"is_fisheye": True, "p1": 0.1}, "p1 of OPENCV_FISHEYE is not known"),
        ({"ftheta_p0": 0.1}, "ftheta_p0"),
        ({"latlong": True}, "latlong"),
        ({"k1": "much"}, "no usable lens"),
        ({"fl_x": -3}, "focal length"),
    ],
)
def test_what_opencv_does_not_compute_is_refused(keys: dict[str, Any], named: str) -> None:
    with pytest.raises(CaptureError) as caught:
        lens_of({**PINHOLE, **keys}, "here")
    assert named in str(caught.value)


def test_a_frame_says_focal_length_or_angle() -> None:
    shared = {"w": 100, "h": 50, "fl_x": 70.0, "fl_y": 70.0}
    angle = 2 * np.arctan(100 / 2 / 40.0)
    assert frame_lens(shared, {"camera_angle_x": angle}, "").focal == pytest.approx((40.0, 40.0))
    assert frame_lens({"w": 100, "h": 50, "camera_angle_x": angle}, {"fl_x": 60.0}, "").focal == (60.0, 60.0)
    assert frame_lens(shared, {"cx": 48.0}, "").intrinsics[0, 2] == 48.0
    both = {"w": 100, "h": 50, "camera_angle_x": angle, "camera_angle_y": 2 * np.arctan(50 / 2 / 44.0)}
    assert lens_of(both, "").focal == pytest.approx((40.0, 44.0))


@pytest.mark.parametrize(
    ("model", "numbers", "coefficients"),
    [
        ("FULL_OPENCV", (FX, FY, CX, CY, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), 8),
        ("SIMPLE_RADIAL_FISHEYE", (FX, CX, CY, 0.1), 4),
        ("RADIAL_FISHEYE", (FX, CX, CY, 0.1, 0.2), 4),
        ("SIMPLE_RADIAL", (FX, CX, CY, 0.0), 0),
    ],
)
def test_models_of_colmap_have_their_coefficients(model: str, numbers: tuple[float, ...], coefficients: int) -> None:
    lens = Lens(model, WIDTH, HEIGHT, numbers)
    assert lens.distortion.size == coefficients
    assert lens.fisheye == model.endswith("FISHEYE")
    half = lens.scaled(WIDTH // 2, HEIGHT // 2)
    np.testing.assert_allclose(half.intrinsics[:2], lens.intrinsics[:2] / 2)
    np.testing.assert_array_equal(half.distortion, lens.distortion)
