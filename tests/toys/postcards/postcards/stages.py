"""What the stages do: every file says in words what it was made of."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from postcards.pipeline import PostcardParams
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Local, Stage, StageInputs, StageResult

Inputs = StageInputs[PostcardParams]


class Sketch(Stage[PostcardParams]):
    """Writes the frames of one view."""

    def process(self, sample: Sample, inputs: Inputs) -> StageResult:
        time.sleep(inputs.params.seconds)
        view, front = sample.attributes["view"], inputs.path("input", "front").read_text().strip()
        if view == sample.attributes["smudged"]:
            raise SampleError("Smudged", f"the view {view} cannot be drawn; draw it again")
        frames = []
        for number in range(inputs.params.frames):
            words = (front, view, str(number), inputs.params.ink, sample.attributes["motto"], str(inputs.seed % 100))
            frames.append(_written(inputs, f"frame-{number}", " ".join(words) + "\n"))
        return StageResult({"frames": frames}, metrics={"frames": len(frames)})


class Blend(Stage[PostcardParams]):
    """Puts the first frames of all siblings below the frames of the view."""

    def process(self, sample: Sample, inputs: Inputs) -> StageResult:
        time.sleep(inputs.params.seconds)
        lines = [path.read_text() for path in inputs.paths("sketch", "frames")]
        lines += [
            f"{member.sample.attributes['view']}: {_first(member.files['frames']).read_text()}"
            for member in inputs.members("sketch")
        ]
        return StageResult({"blend": _written(inputs, "blend.txt", "".join(lines))})


class Card(Stage[PostcardParams]):
    """Gathers the views that could be drawn."""

    def process(self, sample: Sample, inputs: Inputs) -> StageResult:
        time.sleep(inputs.params.seconds)
        content = {
            "motto": sample.attributes["motto"],
            "back": inputs.path("input", "back").read_text().strip(),
            "cover": inputs.answer["cover"],
            "views": {
                member.sample.attributes["view"]: _first(member.files["blend"]).read_text().splitlines()
                for member in inputs.members("blend")
            },
        }
        return StageResult({"card": _written(inputs, "card.json", _json(content))})


class Album(Stage[PostcardParams]):
    """Lists all cards with their covers."""

    def process(self, sample: Sample, inputs: Inputs) -> StageResult:
        time.sleep(inputs.params.seconds)
        cards = {
            member.sample.id: {
                "split": member.sample.attributes["split"],
                "cover": json.loads(_first(member.files["card"]).read_text())["cover"],
            }
            for member in inputs.members("card")
        }
        return StageResult({"album": _written(inputs, "album.json", _json({"cards": cards}))})


def _first(local: Local) -> Path:
    return local if isinstance(local, Path) else local[0]


def _json(content: Any) -> str:
    return json.dumps(content, indent=1) + "\n"


def _written(inputs: Inputs, name: str, text: str) -> Path:
    path = inputs.workspace / name
    path.write_text(text)
    return path
