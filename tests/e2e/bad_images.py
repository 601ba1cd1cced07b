"""Image files as the world sends them, made in memory: the odd ones that must work, and the broken ones."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image
from scene_jobs import photograph

BOMB_SIDE = 30_000


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def _colour() -> Image.Image:
    return Image.fromarray(photograph())


def rotated() -> bytes:
    """A JPEG that lies on its side, and says so: 64 wide and 96 high once it stands."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.fromarray(photograph(width=64, height=96))
    return _saved(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


def sixteen_bits() -> bytes:
    """A PNG of 16 bits a channel."""
    deep = photograph().astype(np.uint16) * 257
    return cv2.imencode(".png", deep[..., ::-1])[1].tobytes()


def alpha() -> bytes:
    """A PNG whose left quarter is transparent."""
    image = _colour().convert("RGBA")
    opacity = np.full((64, 64), 255, np.uint8)
    opacity[:, :16] = 0
    image.putalpha(Image.fromarray(opacity))
    return _saved(image, "PNG")


def animated() -> bytes:
    """A GIF of two frames."""
    second = Image.fromarray(photograph(seed=1))
    return _saved(_colour().quantize(256), "GIF", save_all=True, append_images=[second.quantize(256)])


GOOD = {
    "plain.png": _saved(_colour(), "PNG"),
    "cmyk.jpg": _saved(_colour().convert("CMYK"), "JPEG"),
    "deep.png": sixteen_bits(),
    "palette.png": _saved(_colour().quantize(256), "PNG"),
    "alpha.png": alpha(),
    "rotated.jpg": rotated(),
    "animated.gif": animated(),
}


def bomb(side: int = BOMB_SIDE, rows_at_once: int = 100) -> bytes:
    """A valid PNG of side x side black grey pixels in less than a megabyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(rows_at_once * (1 + side))) + packer.flush(zlib.Z_FULL_FLUSH)
    # A block after a full flush needs nothing of those before it, so that one can be repeated.
    adler = (side * (1 + side) % 65521) << 16 | 1
    pixels = b"\x78\xda" + block * (side // rows_at_once) + b"\x03\x00" + struct.pack(">I", adler)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _flipped(data: bytes) -> bytes:
    """One byte in the middle of the pixels is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


BAD = {
    "truncated.jpg": (_saved(_colour(), "JPEG", quality=95)[:-400], "ImageTruncated"),
    "corrupt.png": (_flipped(GOOD["plain.png"]), "ImageCorrupt"),
    "dot.png": (_saved(Image.new("RGB", (1, 1)), "PNG"), "ImageTooSmall"),
    "bomb.png": (bomb(), "ImageTooLarge"),
    "text.jpg": (b"not a photograph at all", "ImageNotAnImage"),
}
"""Content and expected reason by name."""
