"""Lists the postcards of an input: ``postcards.json`` names the two files of each and says what it is about."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, ValidationError

from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.contract.params import Params

LIST = "postcards.json"


class Entry(Params):
    """What the list says of a postcard.

    Attributes:
        name: its id.
        front, back: keys of its files.
        split: part of the data set that it belongs to.
        motto: words that every view repeats.
        smudged: the view that cannot be drawn.
        parameters: overrides for its own samples.
    """

    name: str
    front: str
    back: str
    split: Literal["train", "test"] = "train"
    motto: str = ""
    smudged: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


def list_postcards(view: InputView) -> Iterable[Listed] | None:
    """One sample for each entry of the list; None when the input has no list."""
    if LIST not in view.keys:
        return None
    return [_listed(position, row) for position, row in enumerate(json.loads(view.read(LIST)))]


def _listed(position: int, row: Any) -> Listed:
    try:
        entry = Entry.model_validate(row)
    except ValidationError as problem:
        return Listed(f"entry-{position}", rejected=("BadEntry", str(problem.errors()[0]["msg"])))
    return Listed(
        entry.name,
        {"front": entry.front, "back": entry.back},
        entry.model_dump(include={"split", "motto", "smudged"}),
        entry.parameters,
    )
