"""The ``models`` step: fills the model cache on a CPU, before any GPU is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import MODELS_STEP
from scenewright_stages.models import registry
from scenewright_stages.models.filling import Filled, fill_cache
from scenewright_stages.models.sources import SOURCE_ENVIRONMENT, source_of
from scenewright_stages.models.specs import Weights
from scenewright_stages.models.weights import default_cache_dir
from scenewright_stages.worker.process.session import Session

TOKEN_ENVIRONMENT = "HF_TOKEN"
COMPILED = "compile"
"""Folder of the cache in which stages keep compiled GPU kernels."""


def run_models(session: Session, environment: Mapping[str, str] = os.environ) -> Report:
    """Makes sure that the cache holds the weights of every stage that may run.

    Raises:
        ConfigurationError: a licence that is not accepted, no access, or a cache that cannot be written.
        FetchFailed: a download did not go through; the process may be started again.
    """
    task = session.task
    cache = Path(task.models.cache) if task.models.cache else default_cache_dir()
    source = source_of(environment.get(SOURCE_ENVIRONMENT, ""), environment.get(TOKEN_ENVIRONMENT) or None)
    wanted = wanted_weights(session)
    session.progress.begin_step(MODELS_STEP, "fetching", len(wanted))
    outcomes: dict[str, str] = {}
    for weights in wanted:
        session.progress.begin_sample(weights.id)
        filled = fill_cache(weights, cache, source, session.progress.update)
        session.progress.end_sample()
        outcomes[weights.id] = _told(filled)
        print(f"{weights.id}: {outcomes[weights.id]}", flush=True)
        session.progress.count(len(outcomes), 0, 0)
    if wanted:
        (cache / COMPILED).mkdir(exist_ok=True)
    session.progress.enter("finished")
    return Report(step=MODELS_STEP, run=task.run, samples=len(wanted), outputs=outcomes)


def wanted_weights(session: Session) -> list[Weights]:
    """The weights of all backends that the stages that may run could use, each once, licences checked."""
    chain, accepted = session.chain, session.task.models.accept_licenses
    variants = _variants(chain.stages, chain.parameters)
    found: dict[tuple[str, str], Weights] = {}
    for stage in chain.selected_stages():
        for capability, name in stage.backend_choices():
            if _is_registered(capability, name):
                backend = registry.backend(capability, name)
                weights = registry.check_licence(backend, variants.get((capability, name)), accepted)
                if weights is not None:
                    found.setdefault((weights.id, weights.revision), weights)
    return list(found.values())


def _variants(stages: Sequence[StageSpec], parameters: Any) -> dict[tuple[str, str], str]:
    """The ``variant`` beside each parameter that names a backend, by capability and backend.

    Stages further down use a backend as the stage does whose parameter names it.
    """
    found: dict[tuple[str, str], str] = {}
    for stage in stages:
        for capability, path in stage.backend_parameters.items():
            block = parameters
            for part in path.split(".")[:-1]:
                block = getattr(block, part)
            if variant := getattr(block, "variant", ""):
                found[capability, stage.backends[capability]] = variant
    return found


def _is_registered(capability: str, name: str) -> bool:
    """Whether the registry knows it; a pipeline of the user's own may bring other backends."""
    known = capability in registry.capabilities()
    return known and name in {spec.name for spec in registry.backends(capability)}


def _told(filled: Filled) -> str:
    size = filled.status.size_bytes / 1e9
    return f"{'fetched' if filled.fetched else 'present'}, revision {filled.status.revision}, {size:.2f} GB"
