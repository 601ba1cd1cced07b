"""Deletes a Job and keeps the store true: what is gone is no longer in it, what still goes is there as deleting."""

from __future__ import annotations

from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.cluster.malformed import read
from scenewright.reconcile.cluster.resources import JOBS
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.observation import ObservedJob
from scenewright.reconcile.projection import observed_job


async def delete_job(
    client: Client, jobs: Store[ObservedJob], namespace: str, name: str, uid: str, propagation: str
) -> None:
    """Deletes the Job of this uid and no other; that it is gone already is as good.

    Args:
        propagation: of the deletion to its Pods, ``Foreground`` or ``Background``.

    Raises:
        ApiError: it was not deleted.
    """
    try:
        raw = await client.delete(JOBS, namespace, name, uid, propagation)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        # Gone, or another Job of the same name has its place.
        jobs.remove(namespace, name, uid)
        return
    job = read(observed_job, raw, JOBS.plural) if raw.get("kind") == "Job" else None
    if job is None:
        jobs.remove(namespace, name, uid)
    else:
        jobs.put(job, int(raw["metadata"]["resourceVersion"]))
