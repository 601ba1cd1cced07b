"""Rates as people read them."""

from __future__ import annotations

import pytest

from scenewright.api.status import rate_text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.25, "0.25/min"), (1.834, "1.83/min"), (99.96, "100/min"), (183.4, "183/min"), (1834.2, "1834/min")],
)
def test_a_rate_has_three_digits_and_no_power_of_ten(rate: float, text: str) -> None:
    assert rate_text(rate) == text
