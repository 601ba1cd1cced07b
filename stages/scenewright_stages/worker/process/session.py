"""State that all steps of one worker process share, and errors of its stores."""

from __future__ import annotations

from dataclasses import dataclass

from scenewright_stages.contract.errors import ConfigurationError, ScenewrightError, StorageFault
from scenewright_stages.contract.task import Task
from scenewright_stages.store import NEEDS_A_PERSON, Store, StoreError, open_store
from scenewright_stages.store.retrying import waits_for_storage
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
        ConfigurationError: a check failed for a reason that a person must change.
        StorageFault: it failed for another reason.
    """
    try:
        store = open_store(uri)
        if writable:
            store.check_writable()
    except StoreError as problem:
        raise refused_at_start(OUTPUT_FIELD, problem) from problem
    return store


def refused_at_start(field: str, problem: StoreError) -> ScenewrightError:
    """Converts a store's problem that shows before any work is done.

    What a person must change is a configuration error, since it affects every shard. Everything else is tried again by
    the shard in a cluster; somebody at a terminal is told at once.
    """
    if isinstance(problem, NEEDS_A_PERSON) or not waits_for_storage():
        return ConfigurationError(field, problem.uri, f"{problem.problem}; {problem.remedy}")
    return StorageFault(str(problem))


def store_fault(problem: StoreError) -> ScenewrightError:
    """Converts a store's problem in the middle of the work, which the start did not have: the shard is tried again.

    Rights that are taken away for good, for example, end the run at the start of that attempt.
    """
    if waits_for_storage():
        return StorageFault(str(problem))
    return (
        refused_at_start(OUTPUT_FIELD, problem) if isinstance(problem, NEEDS_A_PERSON) else StorageFault(str(problem))
    )
