"""Step 3: what the scenes are, as sentences and as the fields that they were made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageInputs, StageResult
from scenewright_stages.photographs.pictures import write_json
from scenewright_stages.reference.family import place_of, prompt_file
from scenewright_stages.reference.listing import class_name, class_names
from scenewright_stages.reference.params import SURFACES, Place, ReferenceObjectParams, Surface

USE = BackendUse("prompts", "grammar", notes="Sentences of a seeded grammar.")
_ATTEMPTS = 200

_PLACES: dict[Place, tuple[str, ...]] = {
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


@dataclass(frozen=True)
class Fields:
    """What a prompt asks of a scene.

    Attributes:
        text: the sentence.
        place, surface: what is around and below.
        light: where it comes from, a name and an angle in degrees to the right of ahead.
        nearness, clutter: in [0, 1].
    """

    text: str
    place: Place
    surface: Surface
    light: str
    light_degrees: float
    nearness: float
    clutter: float


class PromptsStage(Stage[ReferenceObjectParams]):
    """Writes the prompts of one object."""

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes ``prompts.txt``, ``classes.txt`` and the fields of every prompt."""
        params, attributes = inputs.params, sample.attributes
        name = class_name(attributes["class"], attributes["title"], params.object_name)
        found = list(grammar(params, name, inputs.seed))
        folder, fields = inputs.workspace / "prompts", inputs.workspace / "fields"
        folder.mkdir()
        fields.mkdir()
        (folder / "prompts.txt").write_text("".join(f"{each.text}\n" for each in found), encoding="utf-8")
        names = class_names(attributes["roster"], params.object_name)
        (folder / "classes.txt").write_text("".join(f"{each}\n" for each in names), encoding="utf-8")
        for number, each in enumerate(found):
            write_json(fields / prompt_file(number), asdict(each))
        metrics = {"prompts": [each.text for each in found], "object": name}
        return StageResult({"prompts": folder, "fields": fields}, metrics, (), [USE])


def grammar(params: ReferenceObjectParams, name: str, seed: int) -> Iterator[Fields]:
    """The prompts in order, all different. Further ones leave the earlier ones as they are."""
    taken: set[str] = set()
    for number in range(params.prompts.count):
        for attempt in range(_ATTEMPTS):
            found = _drawn(np.random.default_rng([seed, number, attempt]), name, place_of(params, number))
            if found.text not in taken:
                break
        taken.add(found.text)
        yield found


def _drawn(rng: np.random.Generator, name: str, place: Place) -> Fields:
    surface = SURFACES[rng.integers(len(SURFACES))]
    light = list(_LIGHTS)[rng.integers(len(_LIGHTS))]
    distance = list(_DISTANCES)[rng.integers(len(_DISTANCES))]
    clutter = list(_CLUTTERS)[rng.integers(len(_CLUTTERS))]
    where, on = _PLACES[place], _SURFACES[surface]
    side = light if light == "behind" else f"the {light}"
    text = (
        f"A photo of {_with_article(name)} on {on[rng.integers(len(on))]} {where[rng.integers(len(where))]}, "
        f"{distance}, light from {side}, {clutter}"
    )
    return Fields(text, place, surface, light, _LIGHTS[light], _DISTANCES[distance], _CLUTTERS[clutter])


def _with_article(name: str) -> str:
    return (
        name
        if name.lower().startswith(("a ", "an ", "the "))
        else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
    )


def read_fields(text: str) -> Fields:
    """The fields of a prompt's file."""
    return Fields(**json.loads(text))
