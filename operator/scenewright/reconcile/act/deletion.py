"""Deletes Jobs, and all of our Jobs in a namespace that is being deleted, since they would block its deletion.

Kubernetes deletes the Pods of a namespace first (OrderedNamespaceDeletion). The Job controller releases a failed Pod
of a Job with per-index retries only once its replacement exists (KEP-3850), but a terminating namespace accepts no new
Pods. Both wait forever unless somebody deletes the Job.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from scenewright.kube.client import GONE, ApiError, Client, ignore_statuses
from scenewright.kube.resources import JOBS
from scenewright.reconcile.cache.observation import ObservedJob
from scenewright.reconcile.cache.projection import observed_job, read
from scenewright.reconcile.cache.store import Store
from scenewright.reconcile.lease import Leadership


async def delete_job(
    client: Client, jobs: Store[ObservedJob], namespace: str, name: str, uid: str, propagation: str
) -> None:
    """Deletes the Job of this uid and no other, and its Pods in the ``Foreground`` or ``Background``.

    Already deleted counts as success.
    """
    with ignore_statuses(*GONE):
        raw = await client.delete(JOBS, namespace, name, uid, propagation)
        job = read(observed_job, raw, JOBS.plural) if raw.get("kind") == "Job" else None
        if job is not None:
            jobs.put(job, int(raw["metadata"]["resourceVersion"]))
            return
    # The Job is gone, or replaced by another of the same name.
    jobs.remove(namespace, name, uid)


logger = logging.getLogger(__name__)

_TERMINATING = "because it is being terminated"
"""Part of the API server's message when it refuses a creation in a terminating namespace."""


def namespace_ends(error: ApiError) -> bool:
    """Whether a creation was refused because its namespace is being deleted."""
    return _TERMINATING in error.message


@dataclass(frozen=True, eq=False)
class EndingNamespaces:
    """Deletes the Jobs in terminating namespaces."""

    client: Client
    leadership: Leadership
    jobs: Store[ObservedJob]
    _under_way: set[str] = field(default_factory=set)

    async def noticed(self, namespace: str) -> None:
        """Deletes all of our Jobs in the namespace. The next refused creation retries the ones that failed."""
        # Many objects are refused at the same time, and each one calls this.
        if namespace in self._under_way:
            return
        self._under_way.add(namespace)
        try:
            for job in [job for job in self.jobs if job.namespace == namespace and not job.deleting]:
                self.leadership.check()
                text = "namespace %s is being deleted: deleting Job %s, whose Pods would hold it"
                logger.info(text, namespace, job.name)
                try:
                    await delete_job(self.client, self.jobs, namespace, job.name, job.uid, "Background")
                except ApiError as error:
                    logger.warning("Job %s/%s was not deleted: %s", namespace, job.name, error)
        finally:
            self._under_way.discard(namespace)
