"""Namespaces that are being deleted: our Jobs must go first, or the namespace would never be gone.

Kubernetes deletes the Pods of a namespace before anything else (feature OrderedNamespaceDeletion), and the Job
controller lets go of a failed Pod of a Job that retries by index only when its replacement is there (KEP-3850), which
can no longer be created: each waits for the other until somebody deletes the Job.
"""

from __future__ import annotations

import logging

from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.job_deletion import delete_job
from scenewright.reconcile.lease import Leadership
from scenewright.reconcile.observation import ObservedJob

logger = logging.getLogger(__name__)

_WORDS = "because it is being terminated"
"""The API server's when it refuses to create anything in such a namespace."""


def namespace_ends(error: ApiError) -> bool:
    """Whether a creation was refused because its namespace is being deleted."""
    return _WORDS in error.message


class EndingNamespaces:
    """Deletes the Jobs of namespaces that turn out to be ending."""

    def __init__(self, client: Client, leadership: Leadership, jobs: Store[ObservedJob]) -> None:
        self._client = client
        self._leadership = leadership
        self._jobs = jobs
        self._under_way: set[str] = set()

    async def noticed(self, namespace: str) -> None:
        """Deletes all of our Jobs there; what could not be deleted is, when the next creation is refused."""
        # Many objects are refused at the same time, and each tells of it.
        if namespace in self._under_way:
            return
        self._under_way.add(namespace)
        try:
            await self._delete_jobs(namespace)
        finally:
            self._under_way.discard(namespace)

    async def _delete_jobs(self, namespace: str) -> None:
        for job in [job for job in self._jobs if job.namespace == namespace and not job.deleting]:
            self._leadership.check()
            logger.info("namespace %s is being deleted: deleting Job %s, whose Pods would hold it", namespace, job.name)
            try:
                await delete_job(self._client, self._jobs, namespace, job.name, job.uid, "Background")
            except ApiError as error:
                logger.warning("Job %s/%s was not deleted: %s", namespace, job.name, error)
