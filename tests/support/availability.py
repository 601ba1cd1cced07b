"""What happens to a test whose environment cannot be had: skipped with the reason, but in CI it fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def in_ci() -> bool:
    """Whether nothing may be skipped."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def unavailable(what: str, problem: Exception) -> NoReturn:
    """Ends the test, or all tests of the fixture that calls it."""
    reason = f"no {what}: {problem}"
    if in_ci():
        pytest.fail(reason)
    pytest.skip(reason)
