"""The pipelines by name: import strings, so that nothing is loaded before it is asked for."""

from __future__ import annotations

import importlib
import os

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.pipeline import Pipeline

EXTRA_ENVIRONMENT = "SCENEWRIGHT_PIPELINES"
"""Further pipelines as ``name=module:ATTRIBUTE,...``, for pipelines of one's own."""

BUILT_IN = {
    "relight": "scenewright_stages.relight.pipeline:PIPELINE",
    "vistadream": "scenewright_stages.vistadream.pipeline:PIPELINE",
}


class UnknownPipeline(ConfigurationError):  # noqa: N818 - as the other configuration errors are named
    """No pipeline of that name is registered."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__("spec", name, f"name one of the pipelines: {', '.join(known)}")


def pipeline_names() -> tuple[str, ...]:
    """Names of all registered pipelines, sorted."""
    return tuple(sorted(_registered()))


def pipeline(name: str) -> Pipeline:
    """The pipeline of that name; loads its light module only.

    Raises:
        UnknownPipeline: there is none; the error lists those there are.
    """
    registered = _registered()
    if name not in registered:
        raise UnknownPipeline(name, sorted(registered))
    module, _, attribute = registered[name].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, Pipeline):
        raise TypeError(f"{registered[name]} is not a Pipeline")
    return found


def _registered() -> dict[str, str]:
    extra = os.environ.get(EXTRA_ENVIRONMENT, "")
    pairs = (entry.partition("=") for entry in extra.split(",") if entry.strip())
    return {**BUILT_IN, **{name.strip(): target.strip() for name, _, target in pairs}}
