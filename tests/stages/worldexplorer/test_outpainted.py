"""One photograph continued to a panorama by an inpainter: all is painted, nothing known changes, the seam closes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_klein import save_tiny_klein
from world_chain import TINY, Chain
from world_panoramas import room_panorama

from scenewright_stages.backends.inpaint import flux2_klein
from scenewright_stages.backends.inpaint.facts import KLEIN_4B
from scenewright_stages.contract.samples import SOURCE
from scenewright_stages.contract.stage import ModelSettings
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.colour import uint8_from_unit, unit_from_uint8
from scenewright_stages.vision.places.worlds import outpainted as worlds_outpainted
from scenewright_stages.vision.places.worlds.outpainted import DEGREES, outpainted, painting_cameras
from scenewright_stages.vision.places.worlds.panorama import cut_view, directions
from scenewright_stages.vision.types import Float32Array, Mask
from scenewright_stages.worldexplorer.params import WorldExplorerParams
from scenewright_stages.worldexplorer.pipeline import stages

SIZE = 128
ROOM = room_panorama("box", 0).srgb
ROOM = np.clip(cv2.resize(ROOM, (4 * SIZE, 2 * SIZE), interpolation=cv2.INTER_AREA), 0, 1).astype(np.float32)


def known_ahead() -> Mask:
    rays = directions(len(ROOM))
    ahead = np.abs(np.arctan2(rays[..., 0], rays[..., 2])) < np.radians(30)
    return np.asarray(ahead & (np.abs(rays[..., 1]) < 0.3))


class Oracle:
    """Paints what the room has there, and keeps what it was shown."""

    def __init__(self) -> None:
        self.holes: dict[int, float] = {}
        self.errors: list[float] = []

    def __call__(self, view: Float32Array, hole: Mask, number: int) -> Float32Array:
        truth = cut_view(ROOM, painting_cameras(SIZE)[number])
        self.holes[number] = float(hole.mean())
        self.errors.append(float(np.abs(view - truth)[~hole].mean()))
        return np.where(hole[..., None], truth, view).astype(np.float32)


def test_the_views_cover_the_sphere_and_each_sees_what_is_known_before_it() -> None:
    oracle = Oracle()
    painted = outpainted(ROOM, known_ahead(), SIZE, oracle)
    assert len(oracle.holes) == len(painting_cameras(SIZE)) and list(oracle.holes) == sorted(oracle.holes)
    assert all(share < 0.9 for share in oracle.holes.values())
    # Whatever a view shows is where it belongs: also after turning all around, up and down.
    assert max(oracle.errors) < 0.01
    assert np.abs(painted - ROOM).mean() < 0.01
    # Unpainted pixels would be grey.
    assert (
        np.abs(painted - ROOM).max(axis=-1)[:8].mean() < 0.03 and np.abs(painted - ROOM).max(axis=-1)[-8:].mean() < 0.03
    )


def test_known_pixels_stay_bit_for_bit() -> None:
    known = known_ahead()
    painted = outpainted(ROOM, known, SIZE, lambda view, hole, number: np.zeros_like(view))
    np.testing.assert_array_equal(painted[known], ROOM[known])
    assert not painted[~known].any()


def test_a_world_that_is_known_is_not_painted() -> None:
    def refuse(view: Float32Array, hole: Mask, number: int) -> Float32Array:
        raise AssertionError(number)

    np.testing.assert_array_equal(outpainted(ROOM, np.ones(ROOM.shape[:2], np.bool_), SIZE, refuse), ROOM)


def drift(number: int) -> np.float32:
    return np.float32(0.1 if number % 2 else -0.1)


def difference_at_the_seam() -> float:
    """Around the horizon, where every view goes on with what it sees and the last of the ring joins both ends."""

    def continued(view: Float32Array, hole: Mask, number: int) -> Float32Array:
        # Each row goes on as it ends, and between two ends from one to the other. The colour drifts with every view, so
        # two ends differ that have not seen each other.
        filled, columns = view.copy(), np.arange(SIZE)
        for row in np.flatnonzero(hole.any(axis=1) & ~hole.all(axis=1)):
            seen = np.flatnonzero(~hole[row])
            ends = view[row, seen] if seen[0] == 0 and seen[-1] == SIZE - 1 else view[row, seen] + drift(number)
            for channel in range(3):
                filled[row, :, channel] = np.interp(columns, seen, ends[:, channel])
        return np.where(hole[..., None], filled, view).astype(np.float32)

    middle = outpainted(ROOM, known_ahead(), SIZE, continued)[SIZE - 20 : SIZE + 20]
    return float(np.abs(middle[:, 0] - middle[:, -1]).mean())


def test_the_seam_behind_the_camera_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert difference_at_the_seam() < 0.03
    # A ring whose ends meet before a view sees both has a seam.
    blind = tuple((azimuth, 0.0) for azimuth in (0, 45, -45, 90, -90, 135, -135, 180))
    monkeypatch.setattr(worlds_outpainted, "_PLACES", (*blind, *worlds_outpainted._PLACES[len(blind) :]))
    assert difference_at_the_seam() > 0.1


@pytest.mark.parametrize("number", range(16))
def test_cameras_look_where_they_say(number: int) -> None:
    camera: Camera = painting_cameras(SIZE)[number]
    assert camera.field_of_view[0] == pytest.approx(DEGREES)
    right, down, ahead = camera.camera_from_world[:3, :3]
    assert abs(right[1]) < 1e-9 and down[1] >= -1e-9
    elevation = np.degrees(np.arcsin(-ahead[1]))
    assert round(float(elevation)) == ([0] * 8 + [60] * 4 + [-60] * 4)[number]


def test_a_photograph_becomes_a_panorama_by_permitted_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_klein(tmp_path / "cache" / KLEIN_4B.id)
    monkeypatch.setattr(flux2_klein, "LARGEST_AREA", 32 * 32)
    path = tmp_path / "photograph.png"
    shown = cut_view(ROOM, Camera.from_field_of_view(96, 64, 60))
    cv2.imwrite(str(path), uint8_from_unit(shown)[..., ::-1])
    own = {"method": "singleImage", "backend": "flux2-klein", "precision": "fp32", "size": 64, "panoramaHeight": 96}
    chain = Chain(tmp_path, {**TINY, "scaffold": own}, {SOURCE: path}, ModelSettings(tmp_path / "cache", "cpu"))
    assert chain.params.scaffold.paints_around
    made = chain.run("scaffold").made["scaffold", "world"]
    (use,) = made.backends
    assert (use.backend, use.licence) == ("flux2-klein", "apache-2.0")
    assert "invented" in made.warnings[0] and 0.02 < made.metrics["photographed"] < 0.2 and not made.metrics["mirrored"]
    panorama, origin = made.outputs["panorama"].values, made.outputs["origin"].values
    assert panorama.shape == (96, 192, 3) and panorama[origin == 0].std() > 1
    ring = cut_view(ROOM, Camera.from_field_of_view(32, 32, 20))
    found = cut_view(unit_from_uint8(panorama), Camera.from_field_of_view(32, 32, 20))
    assert np.abs(found - ring).mean() < 0.03


def test_only_the_scaffold_then_asks_for_a_gpu() -> None:
    given = {"scaffold": {"backend": "flux2-klein"}}
    chain = {stage.name: stage for stage in stages(WorldExplorerParams.model_validate(given))}
    assert {name for name, stage in chain.items() if stage.pod.gpus} == {"scaffold"}
    assert chain["scaffold"].models.backends == {"inpaint": "flux2-klein"}
    for method in ("panorama", "provided"):
        other = stages(WorldExplorerParams.model_validate({"scaffold": {**given["scaffold"], "method": method}}))
        assert not any(stage.pod.gpus for stage in other)
