"""File endings of pictures and videos, said once for all listers and readers. Imports nothing.

A folder that holds a picture of a format that is not read gets a note, in every pipeline.
"""

from __future__ import annotations

PICTURE_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif",
)  # fmt: skip
"""Pictures that every pipeline reads; the first endings are preferred where a name could mean several files."""
UNREAD_PICTURES = (
    ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".raf", ".rw2", ".orf", ".pef", ".srw", ".raw", ".3fr", ".iiq",
    ".exr", ".hdr", ".jxl", ".jp2", ".j2k", ".jpf", ".psd", ".svg", ".ico", ".tga", ".pbm", ".pgm", ".ppm", ".pnm",
    ".pfm", ".ktx", ".dds", ".insp", ".gif", ".jfif", ".jpe", ".mpo", ".apng", ".xcf", ".eps",
)  # fmt: skip
"""Pictures that no pipeline reads; relight and vistadream read GIF too."""
VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".3gp", ".mpg", ".mpeg", ".insv")
"""Videos that PyAV decodes."""
