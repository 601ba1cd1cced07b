"""Errors of the test environments."""

from __future__ import annotations


class Unavailable(Exception):  # noqa: N818 - it names the case
    """This machine lacks something that an environment needs; the message says what and why."""


class DidNotStart(RuntimeError):  # noqa: N818 - it names the case
    """A component ended or did not answer in time; the message ends with the last lines of its log."""
