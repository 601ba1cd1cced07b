"""Supplied masks in the encodings that people have: read right, or refused with the reason; never silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.photographs.masks import Matte, mask_of_transparency, matte_of_mask, read_mask
from scenewright_stages.photographs.pictures import Photograph, read_photograph
from scenewright_stages.vision.imaging.images.stored import upright_turn
from scenewright_stages.vision.imaging.masks import MaskCover, MaskReading
from scenewright_stages.vision.imaging.regions import overlap
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.pictures import read_masked
from scenewright_stages.vision.places.captures.validity import mask_validity

Mask = NDArray[np.bool_]
HEIGHT, WIDTH = 120, 160


def product() -> Mask:
    """A cup that lies within the picture; nothing about it is symmetric."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (66, 52), (34, 30), 20, 0, 360, 1, -1)
    cv2.rectangle(mask, (90, 40), (120, 50), 1, -1)
    return mask > 0


def person() -> Mask:
    """Head and shoulders, cut off by the lower border."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (70, 45), 26, 1, -1)
    cv2.ellipse(mask, (74, 120), (58, 44), 0, 0, 360, 1, -1)
    return mask > 0


SUBJECTS = {"product": (product(), True), "person": (person(), False)}


def grey(mask: Mask, low: int = 0, high: int = 255) -> NDArray[np.uint8]:
    return np.where(mask, high, low).astype(np.uint8)


def soft(mask: Mask) -> NDArray[np.uint8]:
    """The mask with antialiased edges."""
    return cv2.GaussianBlur(grey(mask), (0, 0), 0.8)


def colours(mask: Mask, thing: tuple[int, int, int], rest: tuple[int, int, int] = (0, 0, 0)) -> NDArray[np.uint8]:
    return np.where(mask[..., None], np.array(thing), np.array(rest)).astype(np.uint8)


def palette(values: NDArray[np.uint8], entries: dict[int, tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(values, "P")
    flat = [0] * 768
    for at, entry in entries.items():
        flat[3 * at : 3 * at + 3] = entry
    image.putpalette(flat)
    return image


def rgba(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | int) -> Image.Image:
    full = np.full(rgb.shape[:2], alpha, np.uint8) if isinstance(alpha, int) else alpha
    return Image.fromarray(np.dstack([rgb, full]))


def with_void(mask: Mask, number: int = 1) -> NDArray[np.uint8]:
    """Class numbers with the outline marked as belonging to no class."""
    line = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    return np.where(line, 255, np.where(mask, number, 0)).astype(np.uint8)


def two_classes(mask: Mask) -> NDArray[np.uint8]:
    """The object is class 2; a corner is class 1."""
    values = grey(mask, 0, 2)
    values[:20, :40] = 1
    return values


def photo_like(mask: Mask) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).integers(0, 256, mask.shape, dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def trimap(mask: Mask) -> NDArray[np.uint8]:
    return np.where(cv2.dilate(mask.astype(np.uint8), np.ones((21, 21))) > mask, 128, grey(mask)).astype(np.uint8)


def cut_out_in_few_colours(mask: Mask) -> Image.Image:
    """A picture of the object with a palette; index 255 is transparent."""
    shown = np.where(mask, np.indices(mask.shape).sum(axis=0) % 90, 255).astype(np.uint8)
    image = palette(shown, {number: (2 * number, 90, 40) for number in range(90)})
    image.info["transparency"] = 255
    return image


VOC = {0: (0, 0, 0), 1: (128, 0, 0)}
Made = Any
RIGHT: dict[str, tuple[str, Callable[[Mask], Made], dict[str, Any]]] = {
    "white": ("png", grey, {}),
    "one-bit": ("png", lambda m: Image.fromarray(grey(m)).convert("1"), {}),
    "class-01": ("png", lambda m: grey(m, 0, 1), {}),
    "class-02": ("png", lambda m: grey(m, 0, 2), {}),
    "class-12": ("png", lambda m: grey(m, 1, 2), {}),
    "grey-100": ("png", lambda m: grey(m, 0, 100), {}),
    "grey-40-200": ("png", lambda m: grey(m, 40, 200), {}),
    "inverted": ("png", lambda m: grey(~m), {}),
    "inverted-class": ("png", lambda m: grey(~m, 0, 1), {}),
    "inverted-soft": ("png", lambda m: 255 - soft(m), {}),
    "antialiased": ("png", soft, {}),
    "antialiased-100": ("png", lambda m: (soft(m) * (100 / 255)).astype(np.uint8), {}),
    "jpeg-75": ("jpg", grey, {"quality": 75}),
    "jpeg-20": ("jpg", grey, {"quality": 20}),
    "jpeg-inverted": ("jpg", lambda m: grey(~m), {"quality": 60}),
    "jpeg-colour": ("jpg", lambda m: colours(m, (255, 255, 255)), {"quality": 50}),
    "jpeg-red": ("jpg", lambda m: colours(m, (230, 20, 20)), {"quality": 85}),
    "webp-lossy": ("webp", lambda m: colours(m, (255, 255, 255)), {"quality": 60}),
    "webp-lossless": ("webp", lambda m: colours(m, (255, 255, 255)), {"lossless": True}),
    "bmp": ("bmp", grey, {}),
    "gif": ("gif", grey, {}),
    "tiff": ("tif", grey, {}),
    "rgb": ("png", lambda m: colours(m, (255, 255, 255)), {}),
    "red-on-black": ("png", lambda m: colours(m, (255, 0, 0)), {}),
    "green-on-white": ("png", lambda m: colours(m, (0, 160, 0), (255, 255, 255)), {}),
    "rgba-opaque": ("png", lambda m: rgba(colours(m, (255, 255, 255)), 255), {}),
    "rgba-cut-out": ("png", lambda m: rgba(colours(m, (90, 60, 30), (9, 9, 9)), grey(m)), {}),
    "rgba-soft": ("png", lambda m: rgba(colours(m, (90, 60, 30)), soft(m)), {}),
    "rgba-erased-object": ("png", lambda m: rgba(colours(m, (90, 60, 30), (200, 200, 200)), grey(~m)), {}),
    "rgba-transparent": ("png", lambda m: rgba(colours(m, (255, 255, 255)), 0), {}),
    "la-opaque": ("png", lambda m: Image.merge("LA", [Image.fromarray(grey(m)), Image.fromarray(grey(m | True))]), {}),
    "la-cut-out": ("png", lambda m: Image.merge("LA", [Image.fromarray(grey(m, 7, 9)), Image.fromarray(grey(m))]), {}),
    "voc-palette": ("png", lambda m: palette(grey(m, 0, 1), VOC), {}),
    "voc-palette-15": ("png", lambda m: palette(grey(m, 0, 15), {15: (192, 128, 128)}), {}),
    "voc-palette-void": ("png", lambda m: palette(with_void(m), {**VOC, 255: (224, 224, 192)}), {}),
    "palette-cut-out": ("png", cut_out_in_few_colours, {"transparency": 255}),
    "grey-palette-white-first": (
        "png",
        lambda m: palette(grey(m, 1, 0), {0: (255, 255, 255), 1: (0, 0, 0)}),
        {},
    ),
    "void": ("png", with_void, {}),
    "void-class-7": ("png", lambda m: with_void(m, 7), {}),
    "u16-1": ("png", lambda m: grey(m, 0, 1).astype(np.uint16), {}),
    "u16-255": ("png", lambda m: grey(m).astype(np.uint16), {}),
    "u16-65535": ("png", lambda m: grey(m).astype(np.uint16) * np.uint16(257), {}),
    "u16-soft": ("png", lambda m: soft(m).astype(np.uint16) * np.uint16(257), {}),
    "u16-instance": ("png", lambda m: np.where(m, 1001, 0).astype(np.uint16), {}),
    "i32": ("tif", lambda m: grey(m).astype(np.int32), {}),
    "float-01": ("tif", lambda m: m.astype(np.float32), {}),
    "float-soft": ("tif", lambda m: soft(m).astype(np.float32) / np.float32(255), {}),
    "float-255": ("tif", lambda m: grey(m).astype(np.float32), {}),
    "exif-3": ("png", lambda m: np.rot90(grey(m), 2), {"orientation": 3}),
    "exif-6": ("png", lambda m: np.rot90(grey(m), 1), {"orientation": 6}),
    "exif-8-jpeg": ("jpg", lambda m: np.rot90(grey(m), -1), {"orientation": 8, "quality": 90}),
}
REFUSED: dict[str, tuple[str, Callable[[Mask], Made], str]] = {
    "empty": ("png", lambda m: grey(m & False), "MaskEmpty"),
    "full": ("png", lambda m: grey(m | True), "MaskFull"),
    "half-size": ("png", lambda m: grey(m)[::2, ::2], "MaskSizeDiffers"),
    "two-classes": ("png", two_classes, "MaskUnclear"),
    "two-classes-jpeg": ("jpg", two_classes, "MaskUnclear"),
    "three-colours": (
        "png",
        lambda m: np.where(two_classes(m)[..., None] == 1, (0, 0, 255), colours(m, (255, 0, 0))).astype(np.uint8),
        "MaskUnclear",
    ),
    "trimap": (
        "png",
        lambda m: np.where(cv2.dilate(m.astype(np.uint8), np.ones((21, 21))) > m, 128, grey(m)),
        "MaskUnclear",
    ),
    "a-photograph": ("png", photo_like, "MaskUnclear"),
    "a-photograph-in-colour": (
        "png",
        lambda m: np.dstack([photo_like(m), photo_like(m)[::-1], photo_like(m)]),
        "MaskUnclear",
    ),
    "void-254": ("png", lambda m: np.where(with_void(m) == 255, 254, with_void(m)).astype(np.uint8), "MaskUnclear"),
    "a-dark-matte": ("png", lambda m: soft(m) // 12, "MaskUnclear"),
    "float-logits": ("tif", lambda m: np.where(m, 4.5, -3.5).astype(np.float32), "MaskUnclear"),
    "float-nan": ("tif", lambda m: np.where(m, np.nan, 0).astype(np.float32), "MaskUnclear"),
    "text": ("png", lambda m: b"not a picture", "MaskUnreadable"),
}


def photo(mask: Mask) -> Photograph:
    """A photo with the object in another colour than its background."""
    return Photograph(
        colours(mask, (170, 60, 40), (120, 130, 140)), colours(mask, (170, 60, 40), (120, 130, 140)) / np.float32(255)
    )


def written(path: Path, made: Made, options: dict[str, Any]) -> Path:
    if isinstance(made, bytes):
        path.write_bytes(made)
        return path
    image = made if isinstance(made, Image.Image) else Image.fromarray(np.ascontiguousarray(made))
    kept = dict(options)
    if orientation := kept.pop("orientation", None):
        exif = Image.Exif()
        exif[0x0112] = orientation
        kept["exif"] = exif
    image.save(path, **kept)
    return path


def read(path: Path, mask: Mask, whole: bool, **reading: Any) -> MaskCover:
    return read_mask(path, photo(mask), MaskReading(whole=whole, **reading))


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("encoding", RIGHT)
def test_an_encoding_is_read_right_by_every_pipeline(tmp_path: Path, encoding: str, subject: str) -> None:
    mask, whole = SUBJECTS[subject]
    suffix, make, options = RIGHT[encoding]
    path = written(tmp_path / f"m.{suffix}", make(mask), options)
    found = read(path, mask, whole)
    assert overlap(found.cover >= 128, mask) >= (0.97 if "jpeg" in encoding or "webp" in encoding else 0.985)
    if "inverted" in encoding or "erased" in encoding:
        assert any("inverted" in note for note in found.notes), "who reads the other way says so"


OTHERWISE_IN_CAPTURES: dict[str, str | Mask] = {
    "class-12": "MaskUnclear",
    "green-on-white": "MaskUnclear",
    "empty": product() & False,
    "full": product() | True,
    "half-size": product(),
    "two-classes": two_classes(product()) > 0,
}
"""Captures leave out what is black or 0: what is the object does not matter, and all or nothing may count."""


def counted_by_convention(encoding: str, mask: Mask) -> str | Mask:
    """What counts in the mask of a capture, or the reason why that cannot be told."""
    if encoding in OTHERWISE_IN_CAPTURES:
        return OTHERWISE_IN_CAPTURES[encoding]
    if encoding in REFUSED:
        return REFUSED[encoding][2]
    return ~mask if "inverted" in encoding or "erased" in encoding else mask


@pytest.mark.parametrize("encoding", [*RIGHT, *REFUSED])
def test_captures_read_every_encoding_by_the_same_rules(tmp_path: Path, encoding: str) -> None:
    mask, _ = SUBJECTS["product"]
    suffix, make, options = RIGHT.get(encoding) or (*REFUSED[encoding][:2], {})
    path = written(tmp_path / f"m.{suffix}", make(mask), options)
    wanted = counted_by_convention(encoding, mask)
    if isinstance(wanted, str):
        with pytest.raises(CaptureError, match=rf"m\.{suffix}") as refused:
            mask_validity((path.name, "a.jpg"), path, photo(mask).pixels, 1)
        assert refused.value.reason == wanted
        assert "maskClass" not in str(refused.value), "captures have no such parameter"
        return
    valid, _ = mask_validity((path.name, "a.jpg"), path, photo(mask).pixels, 1)
    assert overlap(valid, wanted) >= 0.96 if wanted.any() else not valid.any()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("ending", ["jpg", "tif", "png"])
@pytest.mark.parametrize("drawn", ["as stored", "upright", "as stored, tagged"])
def test_a_mask_of_a_turned_capture_lies_on_the_stored_photograph(
    tmp_path: Path, orientation: int, ending: str, drawn: str
) -> None:
    """The grid of calibrations is that of the stored pixels, in every format."""
    mask, _ = SUBJECTS["product"]
    turns = {1: 0, 3: 2, 6: 1, 8: -1}[orientation]
    stored = np.rot90(photo(mask).pixels, turns)
    path = written(tmp_path / f"a.{ending}", stored, {"orientation": orientation})
    values = grey(mask) if drawn == "upright" else np.rot90(grey(mask), turns)
    tag = {"orientation": orientation} if "tagged" in drawn else {}
    srgb, valid, _ = read_masked(path.name, path, "m.png", written(tmp_path / "m.png", values, tag))
    assert valid is not None
    assert float(np.median(np.abs(srgb.astype(int) - stored)[valid])) < 9
    assert np.array_equal(valid, np.rot90(mask, turns))
    assert upright_turn(path) == turns % 4


def test_transparency_of_a_capture_is_read_in_every_mode(tmp_path: Path) -> None:
    mask, _ = SUBJECTS["product"]
    shown = np.where(mask, np.indices(mask.shape).sum(axis=0) % 90, 255).astype(np.uint8)
    image = palette(shown, {number: (2 * number, 90, 40) for number in range(90)})
    deep = np.dstack([photo(mask).pixels[..., ::-1], grey(mask)]).astype(np.uint16) * np.uint16(257)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    made = {
        "palette.png": (image, {"transparency": 255}),
        "colours.png": (rgba(photo(mask).pixels, grey(mask)), {}),
        "grey.png": (Image.merge("LA", [Image.fromarray(grey(mask, 90, 80)), Image.fromarray(grey(mask))]), {}),
        "colours.webp": (rgba(photo(mask).pixels, grey(mask)), {"lossless": True}),
        "turned.tif": (rgba(np.rot90(photo(mask).pixels), np.rot90(grey(mask))), {"orientation": 6}),
        "colours.avif": (rgba(photo(mask).pixels, grey(mask)), {}),
    }
    for name, (each, options) in made.items():
        written(tmp_path / name, each, options)
    for path in sorted(tmp_path.iterdir()):
        _, valid, _ = read_masked(path.name, path)
        assert valid is not None, path.name
        wanted = np.rot90(mask) if "turned" in path.name else mask
        assert overlap(valid, wanted) >= 0.99, path.name


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("encoding", REFUSED)
def test_what_cannot_be_told_is_refused_with_the_reason(tmp_path: Path, encoding: str, subject: str) -> None:
    mask, whole = SUBJECTS[subject]
    suffix, make, reason = REFUSED[encoding]
    with pytest.raises(SampleError) as refused:
        read(written(tmp_path / f"m.{suffix}", make(mask), {}), mask, whole)
    assert refused.value.reason == reason
    assert f"m.{suffix}" in refused.value.message


def test_polarity_and_class_settle_what_cannot_be_told(tmp_path: Path) -> None:
    mask, whole = SUBJECTS["product"]
    two = written(tmp_path / "two.png", two_classes(mask), {})
    with pytest.raises(SampleError, match=r"2 classes: 0 .*, 2 .*, 1 .*maskClass"):
        read(two, mask, whole)
    assert np.array_equal(read(two, mask, whole, number=2).cover > 0, mask)
    coded = written(tmp_path / "void.png", with_void(mask, 7), {})
    assert overlap(read(coded, mask, whole, number=7).cover > 0, mask) >= 0.985
    with pytest.raises(SampleError, match="holds no pixel of class 9; it holds 0"):
        read(two, mask, whole, number=9)
    half = np.zeros_like(mask)
    half[:, :100] = True
    path = written(tmp_path / "half.png", grey(half), {})
    with pytest.raises(SampleError, match=r"57% of the picture's border.*maskPolarity"):
        read(path, half, whole)
    for polarity, wanted in (("white", half), ("black", ~half)):
        assert np.array_equal(read(path, half, whole, polarity=polarity).cover > 0, wanted)
    opaque = written(tmp_path / "cut.png", rgba(two_classes(mask)[..., None].repeat(3, axis=2), grey(~mask)), {})
    assert np.array_equal(read(opaque, mask, whole, number=2).cover > 0, mask), "a class is looked for in the colours"


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("upright", [True, False])
def test_a_mask_fits_a_turned_photo_upright_and_as_it_is_stored(
    tmp_path: Path, orientation: int, upright: bool
) -> None:
    mask, _ = SUBJECTS["product"]
    turns = {3: 2, 6: 1, 8: -1}[orientation]
    stored = written(
        tmp_path / "a.jpg", np.rot90(photo(mask).pixels, turns), {"orientation": orientation, "quality": 95}
    )
    path = written(tmp_path / "m.png", grey(mask) if upright else np.rot90(grey(mask), turns), {})
    found = read_mask(path, read_photograph(stored), MaskReading())
    assert np.array_equal(found.cover > 0, mask)


def test_a_turned_photo_that_does_not_decide_is_refused(tmp_path: Path) -> None:
    mask, _ = SUBJECTS["product"]
    plain = Photograph(
        np.full((*mask.shape, 3), 200, np.uint8), np.full((*mask.shape, 3), 0.8, np.float32), orientation=3
    )
    with pytest.raises(SampleError, match="both upright and as it is stored"):
        read_mask(written(tmp_path / "m.png", grey(mask), {}), plain, MaskReading())


def test_a_line_of_void_is_thin_for_its_object_and_not_for_the_photo(tmp_path: Path) -> None:
    mask, _ = SUBJECTS["product"]
    large = np.zeros((8 * HEIGHT, 8 * WIDTH), np.uint8)
    large[400:520, 500:660] = mask
    large[430:450, 700:720] = 255
    with pytest.raises(SampleError, match="2 classes"):
        read(written(tmp_path / "m.png", large, {}), large > 0, True)


def test_a_transparent_picture_is_its_own_mask(tmp_path: Path) -> None:
    mask, _ = SUBJECTS["product"]
    path = written(tmp_path / "a.png", rgba(colours(mask, (255, 255, 255), (255, 255, 255)), soft(mask)), {})
    found = mask_of_transparency(read_photograph(path), MaskReading())
    assert found is not None
    assert found.soft
    assert np.array_equal(found.cover, soft(mask))
    opaque = written(tmp_path / "b.png", rgba(colours(mask, (9, 9, 9)), 255), {})
    assert mask_of_transparency(read_photograph(opaque), MaskReading()) is None


def matte(srgb: NDArray[np.float32], mask: Mask) -> Matte:
    return matte_of_mask(srgb, MaskCover(grey(mask), soft=False), 0.02)


def test_a_mask_gets_an_edge_where_the_photo_shows_it_and_a_matte_is_kept() -> None:
    mask, _ = SUBJECTS["product"]
    srgb = cv2.GaussianBlur(photo(mask).srgb, (0, 0), 1.0)
    found = matte(srgb, mask)
    assert ((found.alpha > 0.05) & (found.alpha < 0.95)).any()
    assert overlap(found.alpha >= 0.5, mask) >= 0.98
    assert found.notes == ()
    given = soft(mask)
    kept = matte_of_mask(srgb, MaskCover(given, soft=True), 0.02)
    assert np.array_equal(kept.alpha, given / np.float32(255))
    assert np.array_equal(matte_of_mask(srgb, MaskCover(grey(mask), soft=False), 0).alpha, mask.astype(np.float32))


@pytest.mark.parametrize("kind", ["glass", "white-on-white", "chrome"])
def test_a_mask_that_the_photo_does_not_show_is_kept_and_said(kind: str) -> None:
    mask, _ = SUBJECTS["product"]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    stripes = 0.6 + 0.3 * ((rows + columns) % 12 < 6)
    if kind == "white-on-white":
        stripes = np.ones(mask.shape)
    elif kind == "chrome":
        stripes = np.where(mask, 0.6 + 0.3 * ((rows - columns) % 12 < 6), stripes)
    srgb = np.repeat(stripes[..., None], 3, axis=2).astype(np.float32)
    srgb[mask] *= np.float32(0.98 if kind == "glass" else 1)
    found = matte(srgb, mask)
    assert np.array_equal(found.alpha, mask.astype(np.float32))
    assert "outline" in found.notes[0]


def test_the_edge_is_as_wide_as_the_object_demands_not_the_photo() -> None:
    mask, _ = SUBJECTS["product"]
    large = np.zeros((8 * HEIGHT, 8 * WIDTH), bool)
    large[400:520, 500:660] = mask
    srgb = photo(large).srgb.astype(np.float32)
    found = matte_of_mask(srgb, MaskCover(grey(large), soft=False), 0.02)
    alone = matte_of_mask(
        np.ascontiguousarray(srgb[390:530, 490:670]), MaskCover(grey(large[390:530, 490:670]), soft=False), 0.02
    )
    assert np.abs(found.alpha[390:530, 490:670] - alone.alpha).max() < 0.02
    assert overlap(found.alpha >= 0.5, large) >= 0.98


def test_the_table_is_long_enough() -> None:
    assert len(RIGHT) + len(REFUSED) >= 40
