"""What the page of a world says of its walk, and of where the panorama comes from."""

from __future__ import annotations

from typing import Any

import pytest

from scenewright_stages.worldexplorer.report import metric_rows

WALK = {
    "reach_metres": 0.5,
    "uncovered_mean": 0.001,
    "uncovered_max": 0.003,
    "nearest_gaussian_metres": 0.7,
    "near_metres": 1.3,
    "ground_slip_px": 0.02,
    "ball_slip_px": 11.6,
    "wide_share": 0.0,
    "sharpness_kept": 1.05,
}


def rows(**changes: Any) -> dict[str, bool | None]:
    """Whether each row of the page keeps its limit."""
    export = {"walk": {**WALK, **changes}, "centre_psnr": 39.6, "gaussians": 1000}
    return {row.label: row.passes for row in metric_rows(export, {"photographed": 0.04, "mirrored": 0.18})}


def test_a_good_walk_keeps_every_limit() -> None:
    found = rows()
    limited = {label for label, passes in found.items() if passes is not None}
    assert limited == {label for label, passes in found.items() if passes}
    assert {"Ground slips", "Sharpness kept", "Sharpness on large Gaussians", "Clearance"} <= limited
    assert {"Photographed", "Mirrored"} <= found.keys()


@pytest.mark.parametrize(
    ("label", "changes"),
    [
        ("Ground slips", {"ground_slip_px": 11.6}),
        ("Sharpness kept", {"sharpness_kept": 0.4}),
        ("Sharpness on large Gaussians", {"wide_share": 0.3, "wide_sharpness_kept": 0.4}),
        ("Clearance", {"nearest_gaussian_metres": 0.5}),
    ],
)
def test_a_bad_walk_misses_its_limit(label: str, changes: dict[str, float]) -> None:
    assert rows(**changes)[label] is False


def test_a_walk_that_shows_no_ground_has_no_row_for_it() -> None:
    assert "Ground slips" not in rows(ground_slip_px=None)
