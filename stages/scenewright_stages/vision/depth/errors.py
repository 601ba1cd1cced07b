"""Why a provided depth map was refused."""

from __future__ import annotations


class ProvidedDepthError(ValueError):
    """A depth map or its camera file cannot be used.

    Attributes:
        field: the file, or the field in the camera file, that is wrong.
        message: what is wrong, with the offending value.
        remedy: what the user can do.
    """

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(field, message, remedy)
        self.field = field
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.field}: {self.message}. {self.remedy}"
