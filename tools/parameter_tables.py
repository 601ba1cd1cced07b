"""Writes the parameter tables of the pipelines' pages from the pydantic models: `python tools/parameter_tables.py`.

A page holds them between two markers; everything else on it is written by hand. `--check` writes nothing and exits
with 1 when a page is stale.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.relight.params import RelightParams
from scenewright_stages.vistadream.params import VistaDreamParams

BEGIN = "<!-- parameters: begin (written by tools/parameter_tables.py) -->"
END = "<!-- parameters: end -->"
PAGES: dict[Path, type[BaseModel]] = {
    Path(__file__).parent.parent / "docs" / "reference-object.md": ReferenceObjectParams,
    Path(__file__).parent.parent / "docs" / "relight.md": RelightParams,
    Path(__file__).parent.parent / "docs" / "vistadream.md": VistaDreamParams,
}

_HEADER = "| parameter | default | values | meaning |\n|---|---|---|---|"
_SIGNS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "multiple_of": "multiple of {}"}
_LENGTHS = ("min_length", "max_length")
_KINDS = {int: "whole number", float: "number", str: "text", bool: "true, false"}


def tables(model: type[BaseModel]) -> str:
    """One Markdown table for the model's own fields and one for each of its blocks, with headings."""
    own = [name for name, field in model.model_fields.items() if not _is_block(field)]
    sections = [("At the top", [_row("", name, model.model_fields[name]) for name in own])]
    for name, field in model.model_fields.items():
        if _is_block(field):
            path = field.alias or name
            sections.append((f"`{path}`", list(_rows(field.annotation, f"{path}."))))
    return "\n\n".join("\n".join([f"### {title}\n", _HEADER, *rows]) for title, rows in sections)


def refreshed(page: str, model: type[BaseModel]) -> str:
    """The page with its tables as the model has them now.

    Raises:
        ValueError: the page lacks one of the markers.
    """
    before, _, rest = page.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{tables(model)}\n\n{END}{after}"


def _rows(model: Any, prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if _is_block(field):
            yield from _rows(field.annotation, f"{prefix}{field.alias or name}.")
        else:
            yield _row(prefix, name, field)


def _row(prefix: str, name: str, field: FieldInfo) -> str:
    default = to_json(field.default).decode()
    cells = (f"`{prefix}{field.alias or name}`", f"`{default}`", _values(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(field: FieldInfo) -> str:
    """What a field accepts: the names, or the kind and its range."""
    annotation, optional = _without_none(field.annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" if choice else '`""`' for choice in get_args(annotation))
    if get_origin(annotation) is list:
        return _list_values(field, get_args(annotation)[0])
    limits = [
        text.format(getattr(rule, key)) for rule in field.metadata for key, text in _SIGNS.items() if hasattr(rule, key)
    ]
    limits += [f"at most {rule.max_length} characters" for rule in field.metadata if hasattr(rule, "max_length")]
    return ", ".join([_KINDS[annotation], *limits, *(["or unset"] if optional else [])])


def _list_values(field: FieldInfo, item: Any) -> str:
    """What a list accepts: how many of what."""
    info = FieldInfo.from_annotation(item)
    bounds = {key: getattr(rule, key) for rule in field.metadata for key in _LENGTHS if hasattr(rule, key)}
    low, high = bounds.get("min_length", 0), bounds.get("max_length")
    count = f"{low} to {high}" if low != high else str(low)
    return f"list of {count}: {_values(info)}"


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
    return kinds[0], True


def _is_block(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def main(arguments: list[str]) -> int:
    """Writes the pages, or with ``--check`` names those that are stale; returns the exit code."""
    stale = []
    for path, model in PAGES.items():
        page = path.read_text()
        fresh = refreshed(page, model)
        if fresh != page:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(fresh)
    if stale:
        print(("stale: " if "--check" in arguments else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
