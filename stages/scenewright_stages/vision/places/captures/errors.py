"""The one error of captures."""

from __future__ import annotations


class CaptureError(ValueError):
    """A capture cannot be used.

    Args:
        reason: CamelCase class of the fault.
        message: what is wrong, and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
