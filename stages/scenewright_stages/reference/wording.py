"""Converts between scene prompts and fields: the grammar's sentences, and fields recognised in free sentences.

`classic` scenes are drawn from the fields. A free sentence rarely names all of them; the seed draws the missing ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from scenewright_stages.reference.params import SURFACES, Place, Surface

Value = TypeVar("Value")

PLACES: dict[Place, tuple[str, ...]] = {
    "interior": ("in a bright hotel room", "in a quiet living room", "in a furnished room with a window"),
    "forest": ("at the edge of a forest", "in a wooded park", "on a path between trees"),
    "courtyard": ("in a sunny courtyard", "under the roof of a courtyard", "in a backyard"),
    "sunset": ("at the waterfront after sunset", "on a promenade by the sea", "on a quay in the evening"),
    "city": ("in the middle of a city", "on an open square before tall buildings", "at a building site downtown"),
    "studio": ("in a photo studio", "in front of studio lamps", "in a film studio"),
    "sunrise": ("in a meadow at sunrise", "in the fields on a foggy morning", "on a farm early in the day"),
    "night": ("in a field under the night sky", "out in the open at night", "in the country after dark"),
}
_SURFACES: dict[Surface, tuple[str, ...]] = {
    "wood": ("a wooden table", "a plank table", "a wooden counter"),
    "stone": ("a stone slab", "a granite counter", "a stone table"),
    "cloth": ("a table with a cloth", "a linen tablecloth", "a covered table"),
}
_LIGHTS: dict[str, float] = {"left": -90.0, "right": 90.0, "behind": 0.0, "front": 180.0, "back left": -45.0,
                             "back right": 45.0, "front left": -135.0, "front right": 135.0}  # fmt: skip
"""Where the light comes from, with its angle to the right of ahead in degrees."""
_DISTANCES: dict[str, float] = {"close up": 1.0, "from an arm's length": 0.5, "from a little farther away": 0.0}
"""How near the camera is, with the place in the range of scales."""
_CLUTTERS: dict[str, float] = {"nothing else around": 0.0, "a few other things around": 0.5, "a crowded table": 1.0}
"""How much else there is, with the place in the range of numbers of decoys."""

_PLACE_WORDS: dict[Place, str] = {
    "interior": r"(hotel|living |bed|class|dining )?rooms?|indoors?|offices?|kitchens?|cafes?|interiors?|librar(y|ies)",
    "forest": r"forests?|woods|wooded|woodland|trees|jungle|park",
    "courtyard": r"courtyards?|backyards?|patios?|gardens?|terraces?",
    "sunset": r"sunset|dusk|waterfront|promenade|quay|beach|seaside|harbou?r",
    "city": r"cit(y|ies)|streets?|downtown|urban|square|building site",
    "studio": r"(photo|film)?\s?studios?",
    "sunrise": r"sunrise|dawn|meadows?|fields?|farms?|morning",
    "night": r"night|moonlit|stars|after dark",
}
_SURFACE_WORDS: dict[Surface, str] = {
    "cloth": r"(table)?cloths?|linen|blankets?|carpets?|rugs?|towels?|fabric|covered table",
    "stone": r"stone|marble|granite|concrete|slate|rocks?|tiles?|tiled|bricks?|asphalt|pavement",
    "wood": r"wood|wooden|planks?|oak|pine|timber|bench|log",
}
_LIGHT_WORDS: dict[str, str] = {
    "back left": r"back left|behind and (to )?the left",
    "back right": r"back right|behind and (to )?the right",
    "front left": r"front left|front and (to )?the left",
    "front right": r"front right|front and (to )?the right",
    "left": r"(from|on) (the|its|one's) left|left[- ]hand light|from the left side",
    "right": r"(from|on) (the|its|one's) right|right[- ]hand light|from the right side",
    "behind": r"(from|lit from) behind|back-?lit|backlight(ing)?",
    "front": r"from (the )?front|front-?lit|frontal light",
}
_NEARNESS_WORDS: dict[float, str] = {
    1.0: r"close[- ]?ups?|macro|very near",
    0.0: r"farther|further|wide shot|from (a|some) distance|far away",
    0.5: r"arm's length|medium shot",
}
_CLUTTER_WORDS: dict[float, str] = {
    0.0: r"nothing else|empty|minimalist|bare|uncluttered",
    1.0: r"crowded|cluttered|busy|many (other )?(things|objects)",
    0.5: r"a few|some other|several|next to|beside",
}


@dataclass(frozen=True)
class Fields:
    """What a prompt asks of a scene.

    Attributes:
        text: the sentence.
        place, surface: the surroundings, and what the object stands on.
        light: name and direction of the light; the angle is in degrees to the right of straight ahead.
        nearness, clutter: in [0, 1].
    """

    text: str
    place: Place
    surface: Surface
    light: str
    light_degrees: float
    nearness: float
    clutter: float


def drawn_fields(rng: np.random.Generator, name: str, place: Place) -> Fields:
    """Random fields, with a sentence that names all of them."""
    surface = SURFACES[rng.integers(len(SURFACES))]
    light = list(_LIGHTS)[rng.integers(len(_LIGHTS))]
    distance = list(_DISTANCES)[rng.integers(len(_DISTANCES))]
    clutter = list(_CLUTTERS)[rng.integers(len(_CLUTTERS))]
    where, on = PLACES[place], _SURFACES[surface]
    side = light if light == "behind" else f"the {light}"
    text = (
        f"A photo of {with_article(name)} on {on[rng.integers(len(on))]} {where[rng.integers(len(where))]}, "
        f"{distance}, light from {side}, {clutter}"
    )
    return Fields(text, place, surface, light, _LIGHTS[light], _DISTANCES[distance], _CLUTTERS[clutter])


def named_fields(text: str, otherwise: Fields) -> Fields:
    """The fields that a free sentence names; the others, and always the place, come from `otherwise`."""
    light = _named(_LIGHT_WORDS, text, otherwise.light)
    return replace(
        otherwise,
        text=text,
        surface=_named(_SURFACE_WORDS, text, otherwise.surface),
        light=light,
        light_degrees=_LIGHTS[light],
        nearness=_named(_NEARNESS_WORDS, text, otherwise.nearness),
        clutter=_named(_CLUTTER_WORDS, text, otherwise.clutter),
    )


def before_photo(fields: Fields, name: str, number: int) -> Fields:
    """The fields with a sentence that leaves place, surface and light to the user's photo."""
    distance = next(words for words, nearness in _DISTANCES.items() if nearness == fields.nearness)
    clutter = next(words for words, amount in _CLUTTERS.items() if amount == fields.clutter)
    return replace(fields, text=f"A photo of {with_article(name)} in place {number + 1}, {distance}, {clutter}")


def without_object(fields: Fields) -> str:
    """A sentence that describes the surroundings and mentions nothing that could be the object."""
    clutter = next(words for words, amount in _CLUTTERS.items() if amount == fields.clutter)
    side = fields.light if fields.light == "behind" else f"the {fields.light}"
    on, where = _SURFACES[fields.surface][0], PLACES[fields.place][0]
    things = "nothing on it" if fields.clutter == 0 else clutter
    return f"A photo of {on} {where}, light from {side}, {things}"


def read_fields(text: str) -> Fields:
    """The fields of a prompt's file."""
    return Fields(**json.loads(text))


def other_places(text: str, place: Place) -> list[Place]:
    """The places that a sentence names; empty if the drawn place is among them."""
    named = [each for each, words in _PLACE_WORDS.items() if _has(words, text)]
    return [] if place in named else named


def with_article(name: str) -> str:
    """The name with ``a`` or ``an``, unless it already has an article."""
    if name.lower().startswith(("a ", "an ", "the ")):
        return name
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _named(words: Mapping[Value, str], text: str, otherwise: Value) -> Value:
    return next((value for value, pattern in words.items() if _has(pattern, text)), otherwise)


def _has(pattern: str, text: str) -> bool:
    return re.search(rf"\b(?:{pattern})\b", text, re.IGNORECASE) is not None
