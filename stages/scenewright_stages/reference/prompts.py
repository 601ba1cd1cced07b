"""Step 3: writes the scene prompts, as sentences and as the fields from which scenes are drawn.

The sentences come from a seeded grammar, a user's file or a language model. The number of a prompt always determines
its place, because images of one place share a background and the split is fixed before any prompt exists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageInputs, StageResult
from scenewright_stages.photographs.pictures import write_json
from scenewright_stages.reference.conversation import Conversation, Endpoint
from scenewright_stages.reference.family import place_of, prompt_file
from scenewright_stages.reference.listing import class_name, class_names
from scenewright_stages.reference.params import PROJECT, PROMPT_FILE, SYSTEM, ReferenceObjectParams
from scenewright_stages.reference.wording import (
    PLACES,
    Fields,
    before_photo,
    drawn_fields,
    named_fields,
    other_places,
    with_article,
)

GRAMMAR = BackendUse("prompts", "grammar", notes="Sentences of a seeded grammar.")
FILE = BackendUse("prompts", "file", notes="Sentences of the user's file.")
SYSTEM_TEXT = "system_qwen_edit.txt"
_ATTEMPTS = 200
_FIELD = "spec.referenceObject.prompts"


@dataclass(frozen=True)
class Written:
    """The prompts of one object.

    Attributes:
        fields: of each prompt, in order.
        use: the backend that wrote them.
        history: the conversation with a language model, if any.
        warnings: for the user.
    """

    fields: Sequence[Fields]
    use: BackendUse
    history: str = ""
    warnings: Sequence[str] = ()


class PromptsStage(Stage[ReferenceObjectParams]):
    """Writes the prompts of one object."""

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes ``prompts.txt``, ``classes.txt`` and the fields of every prompt.

        Raises:
            ConfigurationError: the file has too few lines, or the endpoint rejects the request.
            SampleError: the model does not write enough different prompts.
        """
        params, attributes = inputs.params, sample.attributes
        name = class_name(attributes["class"], attributes["title"], params.object_name)
        written = self._written(name, inputs)
        folder, fields = inputs.workspace / "prompts", inputs.workspace / "fields"
        folder.mkdir()
        fields.mkdir()
        (folder / "prompts.txt").write_text("".join(f"{each.text}\n" for each in written.fields), encoding="utf-8")
        names = class_names(attributes["roster"], params.object_name)
        (folder / "classes.txt").write_text("".join(f"{each}\n" for each in names), encoding="utf-8")
        if written.history:
            (folder / "conversation_history.txt").write_text(written.history, encoding="utf-8")
        for number, each in enumerate(written.fields):
            write_json(fields / prompt_file(number), asdict(each))
        metrics = {"prompts": [each.text for each in written.fields], "object": name}
        return StageResult({"prompts": folder, "fields": fields}, metrics, written.warnings, [written.use])

    def _written(self, name: str, inputs: StageInputs[ReferenceObjectParams]) -> Written:
        params = inputs.params
        if params.prompts.backend == "file":
            return from_lines(params, _lines(inputs.named[PROMPT_FILE], params), name, inputs.seed)
        if params.prompts.backend == "ollama":
            return from_model(params, name, inputs.seed, self._endpoint(), _prompt_request(name, inputs))
        return Written(list(grammar(params, name, inputs.seed)), GRAMMAR)

    def _endpoint(self) -> Endpoint:
        block, secret = self.params.prompts, self.context.stage.pod.secret
        return Endpoint(block.url, block.model, os.environ.get(secret.variable, "").strip() if secret else "")


def grammar(params: ReferenceObjectParams, name: str, seed: int) -> Iterator[Fields]:
    """The prompts in order, all different. Asking for more never changes the earlier ones."""
    taken: set[str] = set()
    for number in range(params.prompts.count):
        for attempt in range(_ATTEMPTS):
            found = drawn_fields(np.random.default_rng([seed, number, attempt]), name, place_of(params, number))
            if params.scenes.background == "photo":
                found = before_photo(found, name, number)
            if found.text not in taken:
                break
        taken.add(found.text)
        yield found


def from_lines(params: ReferenceObjectParams, lines: Sequence[str], name: str, seed: int) -> Written:
    """The prompts of a user's file, in its order."""
    fields = _read(params, lines, name, seed)
    warnings = _misplaced(fields) if _drawn_in_places(params) else []
    return Written(fields, FILE, warnings=warnings)


def from_model(params: ReferenceObjectParams, name: str, seed: int, endpoint: Endpoint, briefing: str) -> Written:
    """The prompts that a language model writes, one per request.

    Args:
        params: of the pipeline.
        name: of the object.
        seed: sent with every request.
        endpoint: of the model.
        briefing: its system prompt.

    Raises:
        ConfigurationError, SampleError: see :class:`Endpoint` and :class:`Conversation`.
    """
    talk = Conversation(endpoint, seed, [{"role": "system", "content": briefing}])
    lines = talk.prompts([_request(params, number, name, seed) for number in range(params.prompts.count)])
    use = BackendUse("prompts", "ollama", model=endpoint.model, notes="Sentences of a language model.")
    return Written(_read(params, lines, name, seed), use, talk.history())


def _read(params: ReferenceObjectParams, lines: Sequence[str], name: str, seed: int) -> list[Fields]:
    """The fields that the sentences name; missing fields are drawn as in the grammar."""
    places = [place_of(params, number) for number in range(len(lines))]
    return [
        named_fields(line, drawn_fields(np.random.default_rng([seed, number, 0]), name, place))
        for number, (line, place) in enumerate(zip(lines, places, strict=True))
    ]


def _request(params: ReferenceObjectParams, number: int, name: str, seed: int) -> str:
    """The next request to the model: it prescribes the place and leaves everything else open."""
    asked = f"Write prompt {number + 1} of {params.prompts.count} for {with_article(name)}."
    if not _drawn_in_places(params):
        return asked
    phrases = PLACES[place_of(params, number)]
    return f"{asked} The scene is set {phrases[np.random.default_rng([seed, number]).integers(len(phrases))]}."


def _drawn_in_places(params: ReferenceObjectParams) -> bool:
    """Whether the prompt's number determines a scene's place, regardless of its text."""
    return params.scenes.background == "surface" and not params.scenes.painted


def _prompt_request(name: str, inputs: StageInputs[ReferenceObjectParams]) -> str:
    """The system prompt (the user's or the built-in one), then the user's description of the project."""
    own = resources.files(__package__) / "texts" / SYSTEM_TEXT
    given = {each: inputs.named[each].read_text(encoding="utf-8") for each in (SYSTEM, PROJECT) if each in inputs.named}
    parts = [given.get(SYSTEM) or own.read_text(encoding="utf-8"), given.get(PROJECT, ""), f"The object: {name}"]
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _lines(path: Path, params: ReferenceObjectParams) -> list[str]:
    """The first non-empty lines of the file, as many as needed.

    Raises:
        ConfigurationError: there are too few, two are equal, or the file is not text.
    """
    field = f"{_FIELD}.file"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(field, params.prompts.file, "is not text in UTF-8") from None
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if len(lines) < params.prompts.count:
        remedy = f"has {len(lines)} prompts, prompts.count is {params.prompts.count}: add lines or lower the count"
        raise ConfigurationError(field, params.prompts.file, remedy)
    wanted = lines[: params.prompts.count]
    if repeated := [line for line in wanted if wanted.count(line) > 1]:
        raise ConfigurationError(field, params.prompts.file, f"holds the prompt {repeated[0]!r} twice")
    return wanted


def _misplaced(fields: Sequence[Fields]) -> list[str]:
    """Warnings about sentences that name another place than the drawn one."""
    found = []
    for number, each in enumerate(fields, start=1):
        if named := other_places(each.text, each.place):
            found.append(f"line {number} ({', '.join(named)} is drawn in {each.place})")
    if not found:
        return []
    return [
        f"{len(found)} prompts name another place than scenes.places gives them in turn: {'; '.join(found[:5])}; "
        "order scenes.places as the lines"
    ]
