"""Real portraits, taken apart by the matte that the stage finds and put together again, are the same photographs."""

from __future__ import annotations

from collections.abc import Callable

import astronaut
import hopper
import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.photographs.compositing import background_of, composite, split_layers
from scenewright_stages.photographs.pictures import bytes_from_unit, linear_from_bytes
from scenewright_stages.vision.subjects.people.learned import find_people

Floats = NDArray[np.float32]
VARIANTS = astronaut.variants()


def face_only() -> Floats:
    """The face of the astronaut fills the picture, so its borders cut hair and neck ring."""
    return np.ascontiguousarray(astronaut.photograph()[20:210, 160:290])


PORTRAITS: dict[str, Callable[[], Floats]] = {
    **{f"variant-{number}": (lambda number=number: VARIANTS[number][0]) for number in range(len(VARIANTS))},
    "face-only": face_only,
    "glasses": hopper.photograph,
    "negative-glasses": lambda: 1 - hopper.photograph(),
}


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_portrait_without_any_new_light_is_the_photograph(name: str) -> None:
    srgb = PORTRAITS[name]()
    photograph = bytes_from_unit(srgb)
    alpha = bytes_from_unit(find_people(PORTRAITS[name.removeprefix("negative-")]()).alpha)
    parts = split_layers(photograph, alpha)
    background = background_of(parts.whole, parts.behind, alpha)
    edge = (alpha > 0) & (alpha < 255)
    assert edge.sum() > 200
    again = composite(parts.whole, background, alpha)
    assert np.abs(again.astype(np.int16) - photograph).max() <= 2
    # Layers that only copied the photograph would pass the line above, and leave its light in the outline.
    assert (np.abs(parts.whole.astype(np.int16) - background).max(axis=-1)[edge] > 20).mean() > 0.2


def test_the_layers_stay_apart_when_the_person_goes_dark() -> None:
    photograph = bytes_from_unit(face_only())
    alpha = bytes_from_unit(find_people(face_only()).alpha)
    parts = split_layers(photograph, alpha)
    background = background_of(parts.whole, parts.behind, alpha)
    edge = (alpha > 30) & (alpha < 225)
    gone = linear_from_bytes(composite(np.zeros_like(photograph), background, alpha))[edge]
    naive = linear_from_bytes(composite(np.zeros_like(photograph), photograph, alpha))[edge]
    share = 1 - alpha[edge].astype(np.float32) / 255
    error, copied = (np.abs(each.mean(axis=1) / share - 0.75).mean() for each in (gone, naive))
    print(f"{error:.3f} off the grey wall behind her, {copied:.3f} if the photograph itself lay there")
    assert error < copied
