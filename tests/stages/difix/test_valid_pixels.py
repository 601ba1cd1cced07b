"""One validity mask a view: whatever says that a pixel does not count, nothing that follows sees the pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from capture_folders import room_views, write_colmap, write_transforms
from input_folders import FolderView
from numpy.typing import NDArray
from synthetic.world import box_room

from scenewright_stages.contract.errors import SampleError, SampleRejected
from scenewright_stages.contract.samples import Sample, SourceFile
from scenewright_stages.difix.gates import Candidate, measure
from scenewright_stages.difix.pair import learned
from scenewright_stages.difix.params import GateParams
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.render import hatched
from scenewright_stages.reconstruct.train import capture_roles, masked_notes
from scenewright_stages.scenes.captures import masks_of
from scenewright_stages.vision.gaussians.start import start_points
from scenewright_stages.vision.imaging.metrics import array_psnr, psnr, sharpness, ssim
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.exposure import exposure_gains
from scenewright_stages.vision.places.captures.finding import list_captures, list_photographs, path_of, read_capture
from scenewright_stages.vision.places.captures.masks import is_mask
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs, load_photographs
from scenewright_stages.vision.types import Mask

SIZE = (48, 36)
RED, GREEN = (0, 0, 255), (0, 255, 0)
"""What stands below the masks, BGR."""


def disc(number: int) -> Mask:
    """The pixels that count: all but a disc, elsewhere in each photograph."""
    rows, columns = np.indices(SIZE[::-1])
    return (rows - 12 - number) ** 2 + (columns - 15 - 3 * number) ** 2 > 49


def paint(folder: Path, colour: tuple[int, int, int]) -> None:
    """A disc of one colour in each photograph, below its mask."""
    for number, path in enumerate(sorted((folder / "images").glob("*.png"))):
        pixels = cv2.imread(str(path))
        pixels[~disc(number)] = colour
        cv2.imwrite(str(path), pixels)


def write_masks(place: Callable[[str], Path], folder: Path, level: int = 255) -> None:
    for number, path in enumerate(sorted((folder / "images").glob("*.png"))):
        target = place(path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), disc(number).astype(np.uint8) * level)


def colmap_names(folder: Path) -> None:
    write_masks(lambda name: folder / "masks" / f"{name}.png", folder)


def plain_names(folder: Path) -> None:
    write_masks(lambda name: folder / "masks" / name, folder)


def labels(folder: Path) -> None:
    """Masks of 0 and 1, as labelling programs write them."""
    write_masks(lambda name: folder / "masks" / name, folder, level=1)


def beside(folder: Path) -> None:
    write_masks(lambda name: folder / "images" / name.replace(".png", ".mask.png"), folder)


def double_size(folder: Path) -> None:
    for number, path in enumerate(sorted((folder / "images").glob("*.png"))):
        (folder / "masks").mkdir(exist_ok=True)
        larger = disc(number).astype(np.uint8).repeat(2, 0).repeat(2, 1) * 255
        cv2.imwrite(str(folder / "masks" / path.name), larger)


def alpha(folder: Path) -> None:
    for number, path in enumerate(sorted((folder / "images").glob("*.png"))):
        opaque = disc(number).astype(np.uint8)[..., None] * 255
        cv2.imwrite(str(path), np.concatenate([cv2.imread(str(path)), opaque], axis=2))


def mask_in_alpha(folder: Path) -> None:
    """Mask files that are black all over, with the mask in their alpha channel."""
    (folder / "masks").mkdir()
    for number, path in enumerate(sorted((folder / "images").glob("*.png"))):
        opaque = disc(number).astype(np.uint8)[..., None] * 255
        cv2.imwrite(
            str(folder / "masks" / path.name), np.concatenate([np.zeros((*SIZE[::-1], 3), np.uint8), opaque], 2)
        )


def mask_path(folder: Path) -> None:
    write_masks(lambda name: folder / "elsewhere" / name, folder)
    data = json.loads((folder / "transforms.json").read_text())
    for frame in data["frames"]:
        frame["mask_path"] = frame["file_path"].replace("images", "./elsewhere")
    (folder / "transforms.json").write_text(json.dumps(data))


CONVENTIONS = [colmap_names, plain_names, labels, beside, double_size, alpha, mask_in_alpha]


def loaded(folder: Path, mark: str = "sparse/0/images.txt", side: int = 48) -> PosedPhotographs:
    (listed,) = list_captures(FolderView(folder)) or []
    files = {path_of(role): folder / key for role, key in listed.files.items()}
    capture = read_capture(mark, "", files, lambda key: files[key].read_bytes())
    return load_photographs(capture, lambda key: files[key], side)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return write_colmap(tmp_path / "room", room_views(box_room(0), 6, SIZE))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_gives_the_same_mask(room: Path, convention: Callable[[Path], None]) -> None:
    clean = loaded(room)
    paint(room, RED)
    convention(room)
    for number, (found, before) in enumerate(zip(loaded(room).photographs, clean.photographs, strict=True)):
        assert found.valid is not None
        np.testing.assert_array_equal(found.valid, disc(number))
        np.testing.assert_array_equal(found.srgb[found.valid], before.srgb[found.valid])
        assert not (found.srgb == (255, 0, 0)).all(axis=2).any()


def test_a_mask_that_a_key_names_counts(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "room", room_views(box_room(0), 6, SIZE))
    mask_path(folder)
    for number, found in enumerate(loaded(folder, "transforms.json").photographs):
        np.testing.assert_array_equal(found.counted(), disc(number))
    (folder / "elsewhere" / "002.png").unlink()
    (listed,) = list_captures(FolderView(folder)) or []
    assert listed.rejected is not None
    assert "002.png" in listed.rejected[1]
    assert "mask_path" in listed.rejected[1]


@pytest.mark.parametrize("side", [48, 24])
@pytest.mark.parametrize("distortion", [0.0, 0.3, -0.2])
def test_what_lies_below_a_mask_changes_no_byte(tmp_path: Path, side: int, distortion: float) -> None:
    """Everything later reads this file only, so nothing later can see a masked colour."""
    bytes_of = []
    for name, colour in (("red", RED), ("green", GREEN)):
        folder = write_colmap(tmp_path / name, room_views(box_room(0), 6, SIZE))
        model = folder / "sparse/0/cameras.txt"
        _, _, width, height, fx, *_ = model.read_text().splitlines()[1].split()
        model.write_text(f"1 SIMPLE_RADIAL {width} {height} {fx} {SIZE[0] / 2} {SIZE[1] / 2} {distortion}\n")
        paint(folder, colour)
        colmap_names(folder)
        loaded(folder, side=side).save(tmp_path / f"{name}.npz")
        bytes_of.append((tmp_path / f"{name}.npz").read_bytes())
    assert bytes_of[0] == bytes_of[1]


def test_without_masks_nothing_is_stored_of_them(room: Path, tmp_path: Path) -> None:
    loaded(room).save(tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz") as arrays:
        assert not [name for name in arrays.files if name.startswith(("valid", "frame", "left_out"))]


def test_pixels_that_undistortion_invents_do_not_count(room: Path) -> None:
    model = room / "sparse/0/cameras.txt"
    _, _, width, height, fx, *_ = model.read_text().splitlines()[1].split()
    model.write_text(f"1 SIMPLE_RADIAL {width} {height} {fx} {SIZE[0] / 2} {SIZE[1] / 2} 0.5\n")
    for each in loaded(room).photographs:
        assert each.valid is not None
        assert not each.valid[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        assert each.valid[SIZE[1] // 2, SIZE[0] // 2]
        assert 0.4 < each.valid_share < 0.9


def test_a_mask_of_another_shape_is_refused_by_name(room: Path) -> None:
    plain_names(room)
    cv2.imwrite(str(room / "masks" / "003.png"), np.zeros((20, 90), np.uint8))
    with pytest.raises(CaptureError, match=r"masks/003.png has 90x20 pixels, its photograph images/003.png 48x36"):
        loaded(room)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("masks/a.png", True),
        ("x/masks/sub/a.jpg", True),
        ("images/a.mask.png", True),
        ("a.mask.png", True),
        ("masks/images/a.png", False),
        ("images/a.png", False),
        ("masks/notes.txt", False),
    ],
)
def test_a_mask_is_told_from_a_photograph_by_its_name(path: str, expected: bool) -> None:
    assert is_mask(path) == expected


def test_masks_of_bare_photographs_are_no_photographs(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        for path in (
            f"hall/{name}.jpg",
            f"hall/{name}.mask.png",
            f"attic/images/{name}.jpg",
            f"attic/masks/{name}.png",
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"x")
    found = {each.id: each for each in list_photographs(FolderView(tmp_path)) or []}
    assert set(found) == {"hall", "attic"}
    source = SourceFile("x", 1, "")
    masks = {name: masks_of(Sample(name, dict.fromkeys(each.files, source))) for name, each in found.items()}
    assert masks["hall"] == {f"{n}.jpg": f"~images/{n}.mask.png" for n in "abcd"}
    assert masks["attic"] == {f"{n}.jpg": f"~masks/{n}.png" for n in "abcd"}
    assert len(found["hall"].files) == len(found["attic"].files) == 8


# Measures.


def views(shape: tuple[int, int] = (40, 50)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(3)
    truth = torch.from_numpy(random.uniform(size=(*shape, 3)).astype(np.float32))
    mask = torch.ones(shape, dtype=torch.bool)
    mask[:, :20] = False
    return truth + 0.05, truth, mask


def test_no_measure_sees_a_masked_pixel() -> None:
    picture, truth, mask = views()
    for wrong in (0.0, 1.0):
        other = torch.where(mask[..., None], picture, torch.full_like(picture, wrong))
        assert float(psnr(other, truth, mask)) == float(psnr(picture, truth, mask))
        assert float(ssim(other, truth, mask)) == float(ssim(picture, truth, mask))
        assert array_psnr(other.numpy(), truth.numpy(), mask.numpy()) == array_psnr(
            picture.numpy(), truth.numpy(), mask.numpy()
        )
        assert float(ssim(other, truth)) != float(ssim(picture, truth))


def test_windows_that_reach_over_the_mask_do_not_count() -> None:
    picture, truth, mask = views()
    cropped = float(ssim(picture[:, 20:], truth[:, 20:]))
    assert float(ssim(picture, truth, mask)) == pytest.approx(cropped, abs=1e-6)
    narrow = torch.zeros_like(mask)
    narrow[18:22, 24:28] = True
    assert 0 < float(ssim(picture, truth, narrow)) < 1


def test_a_masked_edge_is_no_detail() -> None:
    picture = np.full((40, 50, 3), 100, np.uint8)
    picture[::2] += 4
    counted = np.ones((40, 50), np.bool_)
    plain = sharpness(picture)
    picture[:, 30:], counted[:, 30:] = (255, 0, 0), False
    assert sharpness(picture, counted) == pytest.approx(plain, rel=0.2)


@pytest.mark.parametrize("brings_points", [True, False])
def test_gaussians_start_where_something_is_valid(room: Path, brings_points: bool) -> None:
    paint(room, RED)
    plain_names(room)
    found = loaded(room)
    valid, cameras = [each.valid for each in found.photographs], found.cameras
    # What a photograph without its fill would show.
    pictures = [cv2.imread(str(path))[..., ::-1] for path in sorted((room / "images").glob("*.png"))]
    count = len(found.points) if brings_points else 0
    redness = []
    for masks in (valid, []):
        start = start_points(found.points[:count], found.colours[:count], cameras, pictures, 1, 3000, masks)
        redness.append(float((start.srgb[:, 0] - start.srgb[:, 1:].max(axis=1)).max()))
    assert redness[0] < 0.4
    assert redness[1] > 0.6


def test_exposure_is_not_measured_on_masked_pixels(room: Path) -> None:
    photographs = loaded(room)
    assert np.isfinite(exposure_gains(photographs)).all()
    gains = exposure_gains(masked(photographs, 2, 0.0))
    assert np.isnan(gains[2]).all()
    assert np.isfinite(np.delete(gains, 2, axis=0)).all()


# Roles, pictures and pairs.


def masked(photographs: PosedPhotographs, number: int, share: float) -> PosedPhotographs:
    """One photograph with a share of valid pixels."""
    pictures = list(photographs.photographs)
    valid = np.zeros(SIZE[::-1], np.bool_)
    valid.ravel()[: round(share * valid.size)] = True
    pictures[number] = replace(pictures[number], valid=valid)
    return replace(photographs, photographs=tuple(pictures))


def test_a_photograph_that_judges_needs_five_percent(room: Path) -> None:
    photographs, params = loaded(room), ReconstructParams()
    assert capture_roles(photographs, params).held_out == (3,)
    assert capture_roles(masked(photographs, 3, 0.06), params).held_out == (3,)
    with pytest.raises(SampleError, match=r"003 .* 4\.0% of its pixels") as caught:
        capture_roles(masked(photographs, 3, 0.04), params)
    assert caught.value.reason == "Masked"


def test_a_photograph_without_a_valid_pixel_does_not_train_and_is_named(room: Path) -> None:
    photographs = masked(loaded(room), 1, 0.0)
    roles = capture_roles(photographs, ReconstructParams())
    assert roles.train == (0, 2, 4, 5)
    assert masked_notes(photographs, roles) == ["not a pixel is valid, so they do not train: 001"]


def test_pictures_show_what_does_not_count(room: Path) -> None:
    photograph = masked(loaded(room), 1, 0.5).photographs[1]
    shown = hatched(photograph)
    valid = photograph.counted()
    np.testing.assert_array_equal(shown[valid], photograph.srgb[valid].astype(np.float32) / 255)
    assert set(np.unique(np.round(shown[~valid], 2))) == {np.float32(0.4), np.float32(0.6)}


def pair(counted: Mask | None, below: float) -> Candidate:
    """A render that is right where the target counts; `below` is what the target has elsewhere."""
    random = np.random.default_rng(1)
    truth = cv2.GaussianBlur(random.uniform(size=(96, 128, 3)).astype(np.float32), (0, 0), 2)
    truth = (truth - truth.min()) / (truth.max() - truth.min())
    render = np.clip(truth + random.normal(scale=0.08, size=truth.shape), 0, 1).astype(np.float32)
    target = truth.copy()
    target[:, :40] = below
    ones = np.ones(truth.shape[:2], np.float32)
    levels: NDArray[np.uint8] = np.round(target * 255).astype(np.uint8)
    return Candidate(render, ones, levels, np.roll(levels, 30, axis=1), truth, ones > 0, counted)


def test_gates_and_published_targets_leave_out_what_does_not_count() -> None:
    counted = np.ones((96, 128), np.bool_)
    counted[:, :40] = False
    gates = GateParams()
    usual = sharpness(pair(None, 0.5).target[:, 44:])
    found = [measure(pair(counted, below), usual, gates) for below in (0.0, 1.0)]
    # Structures are compared after a blur, into which the fill of a real photograph reaches.
    assert found[0].agreement == pytest.approx(found[1].agreement, abs=0.02)
    assert replace(found[0], agreement=0.0) == replace(found[1], agreement=0.0)
    assert found[0].psnr > measure(pair(None, 0.5), usual, replace_gates()).psnr + 1
    target = learned(pair(counted, 1.0))
    np.testing.assert_array_equal(target[:, :40], np.round(pair(counted, 1.0).render[:, :40] * 255).astype(np.uint8))
    counted[:] = False
    counted[:2, :50] = True
    with pytest.raises(SampleRejected) as caught:
        measure(pair(counted, 0.0), usual, gates)
    assert caught.value.reason == "Masked"


def replace_gates() -> GateParams:
    """Gates that let everything through."""
    return GateParams.model_validate({"psnr": [0.0, 99.0], "registration": 20.0, "agreement": -1.0, "blur": 0.0})
