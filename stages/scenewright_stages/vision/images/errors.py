"""Why an image was refused."""

from __future__ import annotations

from typing import Literal

ImageProblem = Literal[
    "missing",
    "unreadable",
    "empty",
    "not-an-image",
    "corrupt",
    "truncated",
    "too-small",
    "too-large",
    "unsupported",
]


class ImageError(ValueError):
    """An image cannot be used; the text names the image, what is wrong and the remedy.

    Attributes:
        reason: stable, machine-readable kind of problem.
        message: what is wrong, with the offending value.
        remedy: what the user can do.
    """

    def __init__(self, reason: ImageProblem, message: str, remedy: str) -> None:
        super().__init__(reason, message, remedy)
        self.reason: ImageProblem = reason
        self.message = message
        self.remedy = remedy

    @property
    def sample_reason(self) -> str:
        """The reason in the form of a record's, such as ``ImageTruncated``."""
        return "Image" + "".join(part.capitalize() for part in self.reason.split("-"))

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}"
