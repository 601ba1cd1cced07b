"""What is known about a data set beside its files: the data card, README.md with the header that the Hub reads.

The catalogues of the pipelines collect these facts from the records. The same facts fill the RAI fields of
``croissant.json``, so both say the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scenewright_stages.contract.stage import Catalogue

CARD = "README.md"
UNKNOWN_LICENCE = "not stated"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_HUB_LICENCES = frozenset(
    {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0"}
    | {"cc-by-3.0", "cc-by-sa-3.0", "odbl", "odc-by", "pddl", "unlicense"}
)
"""Identifiers that the Hub knows; others are named."""
_SHOWN = 50
"""Sources that the card names; the manifest names all."""


@dataclass(frozen=True)
class Origin:
    """A photograph that the data set was made from, and its licence as its list states it."""

    name: str
    licence: str = ""


@dataclass(frozen=True)
class Model:
    """A backend that made a part of the data set. Backends without weights have no model."""

    capability: str
    backend: str
    model: str = ""
    revision: str = ""
    licence: str = ""


@dataclass(frozen=True)
class About:
    """Facts about a data set.

    Attributes:
        name: of the data set.
        description: one or two sentences.
        how: how it was made, a sentence for each step.
        labels: who made the labels.
        uses: what it is for.
        limits: what it cannot do.
        biases: which part of the world it shows.
        personal: what it holds of people.
        impact: what may follow from its use.
        tasks: of the Hub's list of tasks.
        counts: images by split.
        classes: labelled images by class; empty if there are none.
        origins: the photographs.
        models: who made it.
        configs: files by split for ``load_dataset``.
        loading: lines of Python that load it.
    """

    name: str
    description: str
    how: Sequence[str]
    labels: str
    uses: str
    limits: Sequence[str]
    biases: str
    personal: str
    impact: str
    tasks: Sequence[str]
    counts: Mapping[str, int]
    origins: Sequence[Origin]
    models: Sequence[Model]
    configs: Mapping[str, Sequence[str]]
    loading: Sequence[str]
    classes: Mapping[str, int] = field(default_factory=dict)

    def licence(self) -> str:
        """The one licence of all photographs; empty if one is not stated, or if they differ."""
        stated = {origin.licence for origin in self.origins}
        return stated.pop() if len(stated) == 1 else ""


def origins_of(catalogue: Catalogue) -> tuple[Origin, ...]:
    """The photographs of a publication, in order; `licence` or `license` is a column of their list."""
    found: dict[str, Origin] = {}
    for entry in catalogue.entries:
        root = entry.sample.root
        name = root.source.uri.rpartition("/")[2] if root.source is not None else root.id
        given = root.attributes.get("licence") or root.attributes.get("license") or ""
        found.setdefault(root.id, Origin(name, str(given)))
    return tuple(found.values())


def models_of(catalogue: Catalogue) -> tuple[Model, ...]:
    """The backends that took part, each once, sorted."""
    names = ("capability", "backend", "model", "revision", "licence")
    uses = (use for entry in catalogue.entries for record in entry.records.values() for use in record.backends)
    found = {Model(**{name: str(use.get(name) or "") for name in names}) for use in uses}
    return tuple(sorted(found, key=lambda one: tuple(vars(one).values())))


def card(about: About) -> bytes:
    """README.md: the header as the Hub's documentation defines it, then sections for people."""
    total = sum(about.counts.values())
    sections = [
        f"# {about.name}",
        about.description,
        "## Load it",
        "```python\n" + "\n".join(about.loading) + "\n```",
        "## Contents",
        _table(("split", "images"), (*about.counts.items(), ("all", total))),
        *([_table(("class", "labelled images"), about.classes.items())] if about.classes else []),
        "## How it was made",
        _items(about.how),
        about.labels,
        "## Sources",
        _sources(about.origins),
        "## Models",
        _models(about.models),
        "## Use and limits",
        about.uses,
        _items(about.limits),
        about.biases,
        about.personal,
        about.impact,
    ]
    return (_header(about, total) + "\n" + "\n\n".join(sections) + "\n").encode()


def _header(about: About, total: int) -> str:
    """YAML front matter. Strings are JSON strings, which are valid YAML whatever they contain."""
    lines = ["---", f"pretty_name: {_quoted(about.name)}"]
    licence = about.licence()
    if licence.lower() in _HUB_LICENCES:
        lines += [f"license: {licence.lower()}"]
    else:
        lines += ["license: other", f"license_name: {_quoted(licence)}"] if licence else ["license: unknown"]
    lines += ["task_categories:", *(f"- {task}" for task in about.tasks)]
    lines += ["size_categories:", f"- {next((name for most, name in _SIZES if total < most), 'n>1M')}"]
    lines += ["tags:", "- image", "- synthetic", "- scenewright"]
    if about.configs:
        lines += ["configs:", "- config_name: default", "  data_files:"]
        for split, paths in about.configs.items():
            lines += [f"  - split: {split}", "    path:", *(f"    - {_quoted(path)}" for path in paths)]
    return "\n".join([*lines, "---"])


def _sources(origins: Sequence[Origin]) -> str:
    rows = [(origin.name, origin.licence or UNKNOWN_LICENCE) for origin in origins[:_SHOWN]]
    table = _table(("photograph", "licence"), rows)
    rest = len(origins) - len(rows)
    return f"{table}\n\n{rest} more are in `manifest.jsonl`." if rest > 0 else table


def _models(models: Sequence[Model]) -> str:
    if not models:
        return "No model took part."
    rows = [(one.capability, one.backend, one.model or "none", one.revision or "", one.licence or "") for one in models]
    return _table(("step", "backend", "weights", "revision", "licence of the weights"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _items(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
