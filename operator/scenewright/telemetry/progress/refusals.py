"""Why a push is not taken."""

from __future__ import annotations


class RefusedPush(Exception):  # noqa: N818 - the Pod's mistake, or nobody's
    """A push that is not taken.

    Args:
        reason: a word for the metric's label.
        status: the HTTP status that the Pod gets.
        message: for people.
    """

    def __init__(self, reason: str, status: int, message: str) -> None:
        self.reason, self.status = reason, status
        super().__init__(message)
