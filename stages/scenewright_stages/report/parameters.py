"""The effective parameters of a pipeline as rows of a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from scenewright_stages.report.data import Parameter


def parameter_rows(value: BaseModel, default: BaseModel, prefix: str = "") -> Iterator[Parameter]:
    """Every leaf of a block by its path in manifests, with its default."""
    for name, info in type(value).model_fields.items():
        own, usual = getattr(value, name), getattr(default, name)
        path = f"{prefix}{info.alias or name}"
        if isinstance(own, BaseModel):
            yield from parameter_rows(own, usual, f"{path}.")
        else:
            yield Parameter(path, shown(own), shown(usual), info.description or "")


def shown(value: Any) -> str:
    """A value as a manifest has it."""
    if isinstance(value, list):
        return f"[{', '.join(shown(each) for each in value)}]"
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
