"""Finds the installed pipelines: those in the folders of this package, and those that other packages register.

A folder beside this module with a ``pipeline.py`` defines a built-in pipeline as ``PIPELINE``, or several as
``PIPELINES``. Other packages register theirs as entry points of the group ``scenewright.pipelines``, such as
``toy = "toy.pipeline:PIPELINE"``. A pipeline that fails to load is skipped and reported; the others are unaffected.
"""

from __future__ import annotations

import importlib
import json
import logging
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.pipeline import Kind, Pipeline

_LOG = logging.getLogger(__name__)
GROUP = "scenewright.pipelines"
DEFAULTS = "defaults.json"


class UnknownPipeline(ConfigurationError):  # noqa: N818 - named as the other configuration errors
    """No pipeline of that name is installed."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__("spec", name, f"name one of the pipelines: {', '.join(known)}")


@dataclass(frozen=True)
class Installed:
    """All pipelines of this installation.

    Attributes:
        built_in: from this package, by name.
        added: from other packages, by name.
        broken: why a pipeline of another package could not be loaded, by entry point.
    """

    built_in: dict[str, Pipeline]
    added: dict[str, Pipeline]
    broken: dict[str, str]

    def all(self) -> dict[str, Pipeline]:
        """Every usable pipeline, by name."""
        return dict(sorted({**self.added, **self.built_in}.items()))


@cache
def installed() -> Installed:
    """Finds the pipelines and loads their light modules, once per process."""
    built_in = {found.name: found for folder in _folders() for found in _of_module(f"{__package__}.{folder}.pipeline")}
    added: dict[str, Pipeline] = {}
    broken: dict[str, str] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        try:
            added[entry.name] = _of_entry_point(entry, {*built_in, *added})
        except Exception as problem:
            name, why = f"{entry.name} = {entry.value}", f"{type(problem).__name__}: {problem}"
            broken[name] = why
            _LOG.warning("the pipeline %s is left out: %s", name, why)
    return Installed(built_in, added, broken)


def pipelines(kind: Kind | None = None, *, built_in: bool = False) -> dict[str, Pipeline]:
    """The usable pipelines by name, optionally of one kind or without those of other packages."""
    found = installed().built_in if built_in else installed().all()
    return {name: each for name, each in found.items() if kind in (None, each.kind)}


def pipeline(name: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        UnknownPipeline: none has that name; the error lists the installed ones.
    """
    found = installed().all()
    if name not in found:
        raise UnknownPipeline(name, list(found))
    return found[name]


def defaults_files() -> dict[Path, dict[str, Pipeline]]:
    """The files with frozen defaults of the built-in pipelines, each with its pipelines by name."""
    root = Path(str(resources.files(__package__)))
    return {
        root / folder / DEFAULTS: {found.name: found for found in _of_module(f"{__package__}.{folder}.pipeline")}
        for folder in _folders()
    }


def _folders() -> list[str]:
    """Names of the folders of this package that hold a pipeline, without `contract`, which defines the type."""
    root = resources.files(__package__)
    found = (each.name for each in root.iterdir() if each.is_dir() and (each / "pipeline.py").is_file())
    return sorted(set(found) - {"contract"})


def _of_module(name: str) -> list[Pipeline]:
    module = importlib.import_module(name)
    found: tuple[Pipeline, ...] = getattr(module, "PIPELINES", None) or (module.PIPELINE,)
    return [_with_defaults(each, name) for each in found]


def _of_entry_point(entry: EntryPoint, taken: set[str]) -> Pipeline:
    found = entry.load()
    if not isinstance(found, Pipeline) or found.name != entry.name:
        raise TypeError(f"it is not a Pipeline of the name {entry.name!r}")
    if entry.name in taken:
        raise ValueError("another pipeline has this name")
    return _with_defaults(found, entry.module)


def _with_defaults(found: Pipeline, module: str) -> Pipeline:
    """The pipeline with the frozen defaults beside its module, if there are any."""
    package = module.rpartition(".")[0]
    try:
        text = (resources.files(package) / DEFAULTS).read_text(encoding="utf-8") if package else "{}"
    except FileNotFoundError:
        return found
    table: dict[str, Any] = json.loads(text)
    return replace(found, defaults=table.get(found.name, {}))
