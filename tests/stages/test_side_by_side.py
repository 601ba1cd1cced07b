"""Independent steps run in threads."""

from __future__ import annotations

import threading

import pytest

from scenewright_stages.scenes.side_by_side import side_by_side


def test_steps_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20)
    side_by_side(both.wait, both.wait)


def test_all_steps_end_before_the_first_failure_is_raised() -> None:
    ended = []

    def fail(message: str) -> None:
        raise OSError(message)

    with pytest.raises(OSError, match="disk full"):
        side_by_side(lambda: fail("disk full"), lambda: fail("later"), lambda: ended.append("sheet"))
    assert ended == ["sheet"]
