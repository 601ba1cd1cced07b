"""The ``models`` step: fills the model cache on a CPU before any GPU is requested."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from scenewright_stages.backends.runtime.cache.filling import Filled, fill_cache
from scenewright_stages.backends.runtime.cache.sources import SOURCE_ENVIRONMENT, source_for, source_of
from scenewright_stages.backends.runtime.cache.weights import default_cache_dir
from scenewright_stages.backends.runtime.choices import choices_of, licensed_weights
from scenewright_stages.contract.backends import Weights
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import MODELS_STEP
from scenewright_stages.worker.process.session import Session

TOKEN_ENVIRONMENT = "HF_TOKEN"
COMPILED = "compile"
"""Folder of the cache in which stages keep compiled GPU kernels."""


def run_models(session: Session, environment: Mapping[str, str] = os.environ) -> Report:
    """Makes sure that the cache holds the weights of every stage that may run.

    Raises:
        ConfigurationError: a licence is not accepted, access is denied, or the cache is not writable.
        FetchFailed: a download failed; a retry may succeed.
    """
    task = session.task
    cache = Path(task.models.cache) if task.models.cache else default_cache_dir()
    source = source_of(environment.get(SOURCE_ENVIRONMENT, ""), environment.get(TOKEN_ENVIRONMENT) or None)
    wanted = wanted_weights(session)
    session.progress.begin_step(MODELS_STEP, "fetching", len(wanted))
    outcomes: dict[str, str] = {}
    for weights in wanted:
        name = _name(weights, wanted)
        session.progress.begin_sample(name)
        filled = fill_cache(weights, cache, source_for(weights, source), session.progress.update)
        session.progress.end_sample()
        outcomes[name] = _outcome_text(filled)
        print(f"{name}: {outcomes[name]}", flush=True)
        session.progress.count(len(outcomes), 0, 0)
    if wanted:
        (cache / COMPILED).mkdir(exist_ok=True)
    session.progress.enter("finished")
    return Report(step=MODELS_STEP, run=task.run, samples=len(wanted), outputs=outcomes)


def wanted_weights(session: Session) -> list[Weights]:
    """The weights of all backends that the selected stages could use, each once.

    Raises:
        LicenceNotAccepted: a licence is not accepted, and no alternative backend can serve.
    """
    chain, accepted = session.chain, session.task.models.accept_licenses
    found: dict[tuple[str, str], Weights] = {}
    for choice in choices_of(chain.stages, chain.parameters, chain.selected):
        for weights in licensed_weights(choice, accepted):
            found.setdefault((weights.id, weights.revision), weights)
    return list(found.values())


def _name(weights: Weights, wanted: Sequence[Weights]) -> str:
    """The repository's name, with the revision if stages need several revisions of it."""
    several = sum(each.id == weights.id for each in wanted) > 1
    return f"{weights.id}@{weights.revision}" if several else weights.id


def _outcome_text(filled: Filled) -> str:
    size = filled.status.size_bytes / 1e9
    return f"{'fetched' if filled.fetched else 'present'}, revision {filled.status.revision}, {size:.2f} GB"
