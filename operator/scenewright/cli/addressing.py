"""Which document of a command an option is about: ``--set NAME:field=value``, ``--only NAME:stage``.

With one document an option needs no name. With several, one without a name is for the only document that knows the
field or the stage; if several know it, it is refused with the spelling, because nobody can say which was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from scenewright.api.kinds import spec_model
from scenewright.planning.documents import kind_of, value_at
from scenewright.planning.overrides import apply_overrides
from scenewright.planning.problems import Problem, SpecError
from scenewright_stages.pipelines import pipelines

Document = Mapping[str, Any]


def assignments_of(documents: Sequence[Document], assignments: Sequence[str]) -> list[list[str]]:
    """The ``path=value`` texts of each document.

    Raises:
        SpecError: a name that no document has, or a path that several know.
    """
    found: list[list[str]] = [[] for _ in documents]
    for text in assignments:
        path, _, value = text.partition("=")
        name, colon, rest = path.rpartition(":")
        if colon:
            found[_named(documents, "--set", name)].append(f"{rest}={value}")
        else:
            found[_meant(documents, "--set", text, lambda one, given=text: not _refusal(one, given))].append(text)  # type: ignore[misc]
    return found


def stages_of(documents: Sequence[Document], option: str, text: str) -> list[list[str]]:
    """The stages of ``--only`` or ``--start-from`` by document; a name holds for the stages that follow it.

    Raises:
        SpecError: a name that no document has, or a stage that several have.
    """
    found: list[list[str]] = [[] for _ in documents]
    place: int | None = None
    for part in (each.strip() for each in text.split(",")):
        name, colon, stage = part.rpartition(":")
        if colon:
            place = _named(documents, option, name)
        if stage:
            meant = place
            if meant is None:
                meant = _meant(documents, option, stage, lambda one, given=stage: given in _stages(one))  # type: ignore[misc]
            found[meant].append(stage)
    return found


def _named(documents: Sequence[Document], option: str, name: str) -> int:
    """The document of that name, which may have its kind before it: ``datasetjob/pairs``."""
    kind, _, plain = name.rpartition("/")
    fitting = [
        place
        for place, each in enumerate(documents)
        if value_at(each, "metadata", "name") == plain and kind.lower() in ("", str(each.get("kind", "")).lower())
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        spelt = " or ".join(f"{option} {_full(documents[place])}:…" for place in fitting)
        raise SpecError([Problem(option, name, f"several objects have this name: write {spelt}")])
    known = ", ".join(_name(each) for each in documents)
    raise SpecError([Problem(option, name, f"no object of this command has this name; there are: {known}")])


def _meant(documents: Sequence[Document], option: str, text: str, knows: Callable[[Document], bool]) -> int:
    """The only document that knows what an option without a name is about."""
    if len(documents) == 1:
        return 0
    fitting = [place for place, each in enumerate(documents) if knows(each)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        plain = [_name(each) for each in documents]
        # With its kind if another one has the same name.
        names = [plain[at] if plain.count(plain[at]) == 1 else _full(documents[at]) for at in fitting]
        spelt = " or ".join(f"{option} {name}:{text}" for name in names)
        raise SpecError([Problem(option, text, f"fits {' and '.join(names)}: write {spelt}")])
    known = "; ".join(f"{_name(each)} has {', '.join(_stages(each))}" for each in documents)
    reasons = "; ".join(f"{_name(each)}: {_refusal(each, text)}" for each in documents)
    raise SpecError([Problem(option, text, reasons if option == "--set" else f"no object has this stage: {known}")])


def _refusal(document: Document, text: str) -> str:
    """Why the document cannot take an assignment; empty if it can."""
    try:
        kind = kind_of(document)
        apply_overrides(dict(document), [text], spec_model(kind), sorted(pipelines(kind)))
    except SpecError as error:
        return error.problems[0].remedy
    return ""


def _stages(document: Document) -> list[str]:
    """Names of the document's stages, with its own parameters as far as they are valid."""
    kind, spec = kind_of(document), document.get("spec")
    for name, pipeline in pipelines(kind).items():
        if isinstance(spec, dict) and name in spec:
            for block in (spec[name], *pipeline.sample_blocks()):
                try:
                    return [stage.name for stage in pipeline.stages(pipeline.parse(block or {}))]
                except (ValidationError, TypeError):
                    # Validation tells what is wrong with the block.
                    continue
    return []


def _name(document: Document) -> str:
    return str(value_at(document, "metadata", "name"))


def _full(document: Document) -> str:
    return f"{str(document.get('kind', '')).lower()}/{_name(document)}"
