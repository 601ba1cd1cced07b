"""State that all steps of one worker process share, and errors of its stores."""

from __future__ import annotations

from dataclasses import dataclass

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.task import Task
from scenewright_stages.store import Store, StoreError, StoreUnreachable, open_store
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.process.locking import OutputLock
from scenewright_stages.worker.process.progress import Progress
from scenewright_stages.worker.process.settings import ProcessSettings
from scenewright_stages.worker.process.stopping import Stop

INPUT_FIELD = "spec.input.uri"
OUTPUT_FIELD = "spec.output.uri"


@dataclass(frozen=True)
class Session:
    """One worker process: its task and the stores and folders it uses."""

    task: Task
    chain: Chain
    settings: ProcessSettings
    output: Store
    lock: OutputLock
    stop: Stop
    progress: Progress


def open_output(uri: str, *, writable: bool) -> Store:
    """The output store, checked to be reachable and, if `writable`, to accept writes.

    Raises:
        ConfigurationError: a check failed.
    """
    try:
        store = open_store(uri)
        if writable:
            store.check_writable()
    except StoreError as problem:
        raise output_refused(problem) from problem
    return store


def output_refused(problem: StoreError) -> ConfigurationError:
    """Converts a store's problem with the output to a configuration error, since it affects every shard."""
    return ConfigurationError(OUTPUT_FIELD, problem.uri, f"{problem.problem}; {problem.remedy}")


def input_refused(problem: StoreError) -> ConfigurationError:
    """Converts a store's problem with the input to a configuration error, since it affects every shard."""
    return ConfigurationError(INPUT_FIELD, problem.uri, f"{problem.problem}; {problem.remedy}")


def is_transient(problem: StoreError) -> bool:
    """Whether a retry of the shard may succeed."""
    return isinstance(problem, StoreUnreachable)
