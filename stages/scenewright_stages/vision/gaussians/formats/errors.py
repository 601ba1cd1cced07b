"""The error of all readers and writers of splat files."""

from __future__ import annotations


class FormatError(ValueError):
    """A file cannot be read, or a scene cannot be written. The message names file, part and remedy."""
