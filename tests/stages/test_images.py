"""Hostile and unusual image files, working sizes and canvases."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.framing import outpaint_canvas, prepare, prepared_window
from scenewright_stages.vision.imaging.images import ImageError, ImageLimits, load_srgb

HEIGHT, WIDTH = 40, 56


def picture() -> Any:
    """(40, 56, 3) uint8: smooth, asymmetric, with a bright corner."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] / (HEIGHT, WIDTH, 1)[0]
    channels = [columns / columns.max(), rows, 0.5 + 0.4 * np.sin(3 * columns + 2 * rows)]
    image = np.stack(channels, axis=-1)
    image[:8, :8] = 1
    return np.rint(image * 255).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cv2_encoded(pixels: Any, extension: str) -> bytes:
    done, data = cv2.imencode(extension, pixels)
    assert done
    return data.tobytes()


def reference() -> Any:
    return picture().astype(np.float32) / 255


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 97, "subsampling": 0}, 0.04),
    ],
)
def test_common_formats_come_out_as_they_went_in(kind: str, options: dict[str, Any], tolerance: float) -> None:
    loaded = load_srgb(encoded(Image.fromarray(picture()), kind, **options))
    assert loaded.srgb.shape == (HEIGHT, WIDTH, 3) and loaded.srgb.dtype == np.float32
    assert np.abs(loaded.srgb - reference()).max() <= tolerance
    assert loaded.alpha is None and loaded.notes == () and loaded.source_format == kind


def test_a_path_and_its_bytes_give_the_same_image(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(Image.fromarray(picture()), "PNG"))
    np.testing.assert_array_equal(load_srgb(path).srgb, load_srgb(path.read_bytes()).srgb)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bit_colour_keeps_what_8_bits_would_lose(extension: str) -> None:
    deep = np.rint(reference().astype(np.float64) * 60000 + 1000).astype(np.uint16)
    loaded = load_srgb(cv2_encoded(deep[..., ::-1], extension))
    high_byte = (deep >> 8).astype(np.float32) / 255
    assert loaded.bits == 16
    np.testing.assert_allclose(loaded.srgb, deep / 65535, atol=1e-6)
    assert np.abs(high_byte - deep / 65535).max() > 1e-3


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bit_grey_is_neither_clipped_nor_wrapped(extension: str) -> None:
    deep: Any = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    loaded = load_srgb(cv2_encoded(deep, extension))
    np.testing.assert_allclose(loaded.srgb, deep[..., None].repeat(3, axis=2) / 65535, atol=1e-6)
    clipped = np.clip(deep, 0, 255) / 255
    assert np.abs(clipped - deep / 65535).max() > 0.9


def test_16_bit_alpha_is_composited_on_white() -> None:
    deep = np.zeros((HEIGHT, WIDTH, 4), np.uint16)
    deep[..., 3] = np.linspace(0, 65535, WIDTH).astype(np.uint16)
    loaded = load_srgb(cv2_encoded(deep, ".png"))
    assert loaded.alpha is not None
    np.testing.assert_allclose(loaded.alpha, deep[..., 3] / 65535, atol=1e-6)
    np.testing.assert_allclose(loaded.srgb[..., 0], 1 - deep[..., 3] / 65535, atol=1e-6)


def test_white_is_zero_grey_is_not_shown_as_a_negative() -> None:
    tifffile = pytest.importorskip("tifffile")
    for kind in (np.uint8, np.uint16):
        white = np.iinfo(kind).max
        grey: Any = np.linspace(0, white, HEIGHT * WIDTH).astype(kind).reshape(HEIGHT, WIDTH)
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, white - grey, photometric="miniswhite")
        np.testing.assert_allclose(load_srgb(buffer.getvalue()).srgb[..., 1], grey / white, atol=1e-6)


def test_cmyk_jpeg_has_the_colours_that_were_printed_not_their_negative() -> None:
    cmyk = Image.fromarray(picture()).convert("CMYK")
    loaded = load_srgb(encoded(cmyk, "JPEG", quality=97, subsampling=0))
    assert loaded.source_mode == "CMYK"
    assert np.abs(loaded.srgb - reference()).mean() < 0.01
    assert np.abs((1 - loaded.srgb) - reference()).mean() > 0.2
    assert any("CMYK" in note for note in loaded.notes)


def test_a_cmyk_image_with_a_broken_profile_is_read_and_the_profile_is_mentioned() -> None:
    cmyk = Image.fromarray(picture()).convert("CMYK")
    loaded = load_srgb(encoded(cmyk, "TIFF", icc_profile=b"no profile at all"))
    assert np.abs(loaded.srgb - reference()).mean() < 0.01
    assert any("ICC profile ignored" in note for note in loaded.notes)


def test_a_wide_gamut_profile_is_applied_and_an_srgb_profile_changes_nothing() -> None:
    image = Image.fromarray(picture())
    srgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = load_srgb(encoded(image, "PNG", icc_profile=srgb_profile))
    np.testing.assert_array_equal(plain.srgb, reference())
    lab_like = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    odd = load_srgb(encoded(image, "PNG", icc_profile=lab_like))
    assert odd.notes and "ICC" in odd.notes[0]


def test_palettes_with_and_without_transparency() -> None:
    palette = Image.fromarray(picture()).quantize(64)
    expected = np.asarray(palette.convert("RGB")) / np.float32(255)
    np.testing.assert_allclose(load_srgb(encoded(palette, "PNG")).srgb, expected, atol=1e-6)
    index = palette.getpixel((30, 30))
    loaded = load_srgb(encoded(palette, "PNG", transparency=index))
    assert loaded.alpha is not None and loaded.alpha.min() == 0 and loaded.alpha.max() == 1
    np.testing.assert_array_equal(loaded.srgb[loaded.alpha == 0], 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_composited_on_white_and_kept(kind: str) -> None:
    image = Image.fromarray(picture()).convert("RGBA")
    image.putalpha(Image.fromarray(np.full((HEIGHT, WIDTH), 128, np.uint8)))
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    loaded = load_srgb(encoded(image, kind, **options))
    assert loaded.alpha is not None
    opacity = 128 / 255
    np.testing.assert_allclose(loaded.srgb, reference() * opacity + 1 - opacity, atol=1e-5)
    assert any("white" in note for note in loaded.notes)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_kinds_become_three_equal_channels(mode: str) -> None:
    grey = Image.fromarray(picture()).convert("L").convert(mode)
    loaded = load_srgb(encoded(grey, "PNG"))
    np.testing.assert_array_equal(loaded.srgb[..., 0], loaded.srgb[..., 2])
    np.testing.assert_allclose(loaded.srgb[..., 0], np.asarray(grey.convert("L")) / 255, atol=1e-6)


def stored_as(orientation: int, pixels: Any) -> Any:
    """The stored pixels that a viewer shows as `pixels` for this EXIF orientation."""
    undo = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(undo[orientation](pixels))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "TIFF16", "WEBP"])
def test_every_exif_orientation_comes_out_upright(orientation: int, kind: str) -> None:
    stored = stored_as(orientation, picture())
    if kind == "TIFF16":
        tifffile = pytest.importorskip("tifffile")
        buffer = io.BytesIO()
        deep = stored.astype(np.uint16) * 257
        tifffile.imwrite(buffer, deep, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        data = buffer.getvalue()
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options: dict[str, Any] = {"quality": 97, "subsampling": 0} if kind == "JPEG" else {}
        if kind == "WEBP":
            options = {"lossless": True}
        data = encoded(Image.fromarray(stored), kind, exif=exif, **options)
    loaded = load_srgb(data)
    assert loaded.srgb.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(loaded.srgb - reference()).max() < 0.05
    assert any("EXIF" in note for note in loaded.notes) == (orientation != 1)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_used_and_recorded(kind: str) -> None:
    first = Image.fromarray(picture())
    second = Image.fromarray(255 - picture())
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    loaded = load_srgb(encoded(first, kind, save_all=True, append_images=[second], **options))
    assert np.abs(loaded.srgb - reference()).mean() < 0.03
    assert any("frames" in note for note in loaded.notes)


def test_focal_length_comes_from_the_35_mm_equivalent_and_nonsense_is_ignored() -> None:
    def with_focal(value: int) -> Any:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0xA405] = value
        return load_srgb(encoded(Image.fromarray(picture()), "JPEG", exif=exif))

    assert load_srgb(encoded(Image.fromarray(picture()), "JPEG")).focal_pixels is None
    loaded = with_focal(28)
    assert loaded.focal_pixels == pytest.approx(28 / 43.2666 * np.hypot(WIDTH, HEIGHT))
    assert loaded.horizontal_degrees == pytest.approx(64.4, abs=0.5)
    broken = with_focal(60000)
    assert broken.focal_pixels is None and "implausible" in broken.notes[0]


def png_header(width: int, height: int) -> bytes:
    """A valid PNG that claims width x height grey pixels and compresses them to almost nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    compressor = zlib.compressobj(1)
    row = bytes(width + 1)
    body = b"".join(compressor.compress(row) for _ in range(64)) + compressor.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 30_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    data = png_header(side, side)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="pixels") as refusal:
            load_srgb(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refusal.value.reason == "too-large"
    assert peak < 4 * 2**20 < side * side


def refused(source: Any, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as refusal:
        load_srgb(source, **options)
    error = refusal.value
    assert error.remedy and str(error).endswith(error.remedy)
    return error


def test_what_cannot_be_read_is_refused_with_its_name_and_a_remedy(tmp_path: Path) -> None:
    error = refused(tmp_path / "absent.png")
    assert error.reason == "missing" and "absent.png" in str(error)
    assert refused(tmp_path).reason == "unreadable"
    assert refused(b"").reason == "empty"
    assert refused(b"just some text, which is no image" * 9).reason == "not-an-image"
    assert refused(b"%PDF-1.7 and so on").reason == "not-an-image"
    assert refused(b"\x89PNG\r\n\x1a\n" + b"\0" * 50).reason == "corrupt"
    assert "lamp.jpg" in str(refused(b"", name="lamp.jpg"))


@pytest.mark.parametrize("size", [(1, 1), (15, 200), (200, 15)])
def test_a_side_below_16_pixels_is_refused_with_the_size(size: tuple[int, int]) -> None:
    error = refused(encoded(Image.new("RGB", size), "PNG"))
    assert error.reason == "too-small" and f"{size[0]}x{size[1]}" in error.message
    load_srgb(encoded(Image.new("RGB", (16, 16)), "PNG"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_never_taken_for_a_picture(kind: str, fraction: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert refused(data[: int(len(data) * fraction)]).reason in ("truncated", "corrupt")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_truncated_16_bit_file_is_refused_too() -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (64, 64, 3), np.uint16)
    for extension in (".png", ".tiff"):
        data = cv2_encoded(noise, extension)
        assert refused(data[: len(data) * 2 // 3]).reason in ("truncated", "corrupt")


def test_flipped_bytes_in_a_png_are_noticed() -> None:
    data = bytearray(encoded(Image.fromarray(picture()), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert refused(bytes(data)).reason in ("truncated", "corrupt")


def test_floating_point_images_have_no_white_and_are_refused() -> None:
    assert refused(encoded(Image.fromarray(np.zeros((20, 20), np.float32)), "TIFF")).reason == "unsupported"


def test_limits_are_the_callers_choice() -> None:
    data = encoded(Image.fromarray(picture()), "PNG")
    assert refused(data, limits=ImageLimits(max_pixels=100)).reason == "too-large"
    assert refused(data, limits=ImageLimits(max_bytes=100)).reason == "too-large"
    assert refused(data, limits=ImageLimits(min_side=41)).reason == "too-small"


@settings(max_examples=200, deadline=None)
@given(st.integers(16, 3000), st.integers(16, 3000), st.integers(32, 1024))
def test_prepared_sizes_obey_the_contract(width: int, height: int, limit: int) -> None:
    window = prepared_window(width, height, limit)
    assert window.width % 32 == window.height % 32 == 0
    assert min(window.width, window.height) >= 32 and max(window.width, window.height) <= limit
    assert window.scale <= 1 or min(width, height) < 32, "photographs are not enlarged"
    left, top, right, bottom = window.box
    assert left >= 0 and top >= 0 and right <= width + 1e-6 and bottom <= height + 1e-6
    assert left + right == pytest.approx(width, abs=1e-6)
    assert top + bottom == pytest.approx(height, abs=1e-6)


def test_preparing_keeps_geometry_exact_where_stretching_does_not() -> None:
    """A disc stays where the window's camera says, and stays round."""
    rows, columns = np.mgrid[:427, :640] + 0.5
    disc = (np.hypot(columns - 400, rows - 150) < 80).astype(np.float32)
    prepared = prepare(np.repeat(disc[..., None], 3, axis=2), 320)
    assert prepared.srgb.shape == (224, 320, 3)
    inside = prepared.srgb[..., 0]
    y, x = np.mgrid[:224, :320] + 0.5
    centre = np.array([(x * inside).sum(), (y * inside).sum()]) / inside.sum()
    camera = prepared.window.camera(Camera.from_field_of_view(640, 427, 60))
    point = np.array([(400 - 320) / camera.focal[0], (150 - 213.5) / camera.focal[0]]) * prepared.scale
    expected = point * camera.focal + camera.principal_point
    np.testing.assert_allclose(centre, expected, atol=0.02)
    stretched = np.array([400 * 320 / 640, 150 * 224 / 427])
    assert np.abs(stretched - expected).max() > 1
    spread = np.sqrt([((x - centre[0]) ** 2 * inside).sum(), ((y - centre[1]) ** 2 * inside).sum()])
    assert spread[0] / spread[1] == pytest.approx(1, abs=1e-3)


def test_an_image_of_the_right_size_is_not_touched() -> None:
    image = np.random.default_rng(0).random((64, 96, 3), np.float32)
    np.testing.assert_allclose(prepare(image, 96).srgb, image, atol=1e-6)
    assert prepare(image, 512).scale == 1


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((320, 640, 3), np.float32)
    stripes[:, ::2] = 1
    prepared = prepare(stripes, 160).srgb
    assert np.abs(prepared - 0.5).max() < 0.05
    assert stripes[2::4, 2::4].min() == 1, "picking every fourth pixel would lose the black stripes"


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_the_image_lies_centred_on_its_canvas(columns: int, rows: int, expansion: float) -> None:
    width, height = 32 * columns, 32 * rows
    canvas = outpaint_canvas(width, height, expansion)
    assert canvas.width % 32 == canvas.height % 32 == 0
    assert 2 * canvas.left == canvas.width - width
    assert 2 * canvas.top == canvas.height - height
    assert (canvas.width > width) == (expansion > 0)
    assert (~canvas.hole()).sum() == width * height


def test_pasting_where_the_border_was_before_rounding_would_miss_the_centre() -> None:
    misses = []
    for size in range(64, 1025, 32):
        canvas = outpaint_canvas(size, size, 0.3)
        before_rounding = int(size * 0.3 / 2)
        misses.append(abs(canvas.left - before_rounding))
        image = np.full((size, size, 3), 0.5, np.float32)
        assert canvas.paste(image)[canvas.top, canvas.left, 0] == 0.5
        assert canvas.paste(image)[canvas.top - 1, canvas.left, 0] == 0
    assert max(misses) >= 7


def test_the_canvas_camera_sees_the_image_where_it_was_pasted() -> None:
    camera = Camera.from_field_of_view(320, 224, 60)
    canvas = outpaint_canvas(320, 224, 0.3)
    outer = canvas.camera(camera)
    assert (canvas.width, canvas.height, canvas.left, canvas.top) == (416, 288, 48, 32)
    assert outer.principal_point == (208, 144)
    np.testing.assert_array_equal(canvas.inner_camera(outer).intrinsics, camera.intrinsics)


def test_a_negative_expansion_and_a_foreign_image_are_refused() -> None:
    with pytest.raises(ValueError, match="expansion"):
        outpaint_canvas(64, 64, -0.1)
    with pytest.raises(ValueError, match="shape"):
        outpaint_canvas(64, 64, 0.3).paste(np.zeros((32, 64, 3), np.float32))
