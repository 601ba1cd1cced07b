"""Generates the parameter tables of the pipelines' pages from the models: `python tools/parameter_tables.py`.

A pipeline's page is the one in `docs/` that has its markers. The tables are between them; the rest of the page is
written by hand. `--check` writes nothing and exits with 1 if a page is out of date.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from scenewright_stages.contract.params import OneOf
from scenewright_stages.pipelines import pipelines

DOCS = Path(__file__).parent.parent / "docs"
BEGIN = "<!-- parameters of {name}: begin (written by tools/parameter_tables.py) -->"
END = "<!-- parameters of {name}: end -->"

_HEADER = "| parameter | default | values | meaning |\n|---|---|---|---|"
_SIGNS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "multiple_of": "multiple of {}"}
_LENGTHS = ("min_length", "max_length")
_KINDS = {int: "whole number", float: "number", str: "text", bool: "true, false"}


def tables(model: type[BaseModel]) -> str:
    """One Markdown table for the model's own fields and one for each of its blocks, with headings."""
    own = [(name, field) for name, field in model.model_fields.items() if not _is_block(field)]
    sections = [("At the top", [row for name, field in own for row in _field_rows("", name, field)])]
    for name, field in model.model_fields.items():
        if _is_block(field):
            path = field.alias or name
            sections.append((f"`{path}`", list(_rows(field.annotation, f"{path}."))))
    return "\n\n".join("\n".join([f"### {title}\n", _HEADER, *rows]) for title, rows in sections)


def page_of(name: str) -> Path:
    """The page with a pipeline's markers.

    Raises:
        ValueError: no page has both markers.
    """
    wanted = BEGIN.format(name=name), END.format(name=name)
    for path in sorted(DOCS.glob("*.md")):
        if all(marker in path.read_text() for marker in wanted):
            return path
    raise ValueError(f"no page below docs/ has the lines {' and '.join(wanted)}")


def refreshed(page: str, name: str, model: type[BaseModel]) -> str:
    """The page with up-to-date tables of a pipeline."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{tables(model)}\n\n{end}{after}"


def _rows(model: Any, prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if _is_block(field):
            yield from _rows(field.annotation, f"{prefix}{field.alias or name}.")
        else:
            yield from _field_rows(prefix, name, field)


def _field_rows(prefix: str, name: str, field: FieldInfo) -> Iterator[str]:
    """The row of a field; for a list of blocks also the rows of the block's fields."""
    yield _row(prefix, name, field)
    if (item := _listed_block(field)) is not None:
        yield from _rows(item, f"{prefix}{field.alias or name}[].")


def _listed_block(field: FieldInfo) -> type[BaseModel] | None:
    items = get_args(field.annotation) if get_origin(field.annotation) is list else ()
    return items[0] if items and isinstance(items[0], type) and issubclass(items[0], BaseModel) else None


def _row(prefix: str, name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else to_json(field.default).decode()
    cells = (f"`{prefix}{field.alias or name}`", f"`{default}`", _values(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(field: FieldInfo) -> str:
    """What a field accepts: its choices, or its type and range."""
    annotation, optional = _without_none(field.annotation)
    if choices := _choices(annotation, field.metadata):
        return ", ".join('`""`' if choice == "" else f"`{choice}`" for choice in choices)
    if get_origin(annotation) is list:
        return _list_values(field, get_args(annotation)[0])
    limits = [
        text.format(getattr(rule, key)) for rule in field.metadata for key, text in _SIGNS.items() if hasattr(rule, key)
    ]
    limits += [f"at most {rule.max_length} characters" for rule in field.metadata if hasattr(rule, "max_length")]
    return ", ".join([_KINDS[annotation], *limits, *(["or unset"] if optional else [])])


def _choices(annotation: Any, metadata: Sequence[Any]) -> tuple[str, ...]:
    """The values of a field that accepts only some; empty for others."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((each.values for each in metadata if isinstance(each, OneOf)), ())


def _list_values(field: FieldInfo, item: Any) -> str:
    """What a list accepts: number and type of its items."""
    info = FieldInfo.from_annotation(item)
    bounds = {key: getattr(rule, key) for rule in field.metadata for key in _LENGTHS if hasattr(rule, key)}
    low, high = bounds.get("min_length", 0), bounds.get("max_length")
    count = f"{low} to {high}" if low != high else str(low)
    if _listed_block(field) is not None:
        return f"list of {count} blocks"
    return f"list of {count}: {_values(info)}"


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
    return kinds[0], True


def _is_block(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def main(arguments: list[str]) -> int:
    """Writes the pages, or with ``--check`` lists those that are out of date; returns the exit code."""
    stale = []
    for name, pipeline in pipelines(built_in=True).items():
        path = page_of(name)
        page = path.read_text()
        fresh = refreshed(page, name, pipeline.params)
        if fresh != page:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(fresh)
    if stale:
        print(("stale: " if "--check" in arguments else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
