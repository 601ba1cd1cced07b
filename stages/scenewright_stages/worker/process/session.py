"""What all steps of one worker process share."""

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
    """One process, its task and the places it works with."""

    task: Task
    chain: Chain
    settings: ProcessSettings
    output: Store
    lock: OutputLock
    stop: Stop
    progress: Progress


def open_output(uri: str, *, writable: bool) -> Store:
    """The output store, proven to be reachable, and to take writes if `writable`.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        store = open_store(uri)
        if writable:
            store.check_writable()
    except StoreError as problem:
        raise output_refused(problem) from problem
    return store


def output_refused(problem: StoreError) -> ConfigurationError:
    """A store's problem with the output, as the mistake that it is for every shard."""
    return ConfigurationError(OUTPUT_FIELD, problem.uri, f"{problem.problem}; {problem.remedy}")


def input_refused(problem: StoreError) -> ConfigurationError:
    """A store's problem with the input, as the mistake that it is for every shard."""
    return ConfigurationError(INPUT_FIELD, problem.uri, f"{problem.problem}; {problem.remedy}")


def is_transient(problem: StoreError) -> bool:
    """Whether the fault may be over when the shard is tried again."""
    return isinstance(problem, StoreUnreachable)
