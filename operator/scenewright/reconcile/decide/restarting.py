"""Taking Jobs away: all of a pass before the next one begins, or one that has to run again."""

from __future__ import annotations

from collections.abc import Iterable

from scenewright.reconcile.actions import DeleteJob
from scenewright.reconcile.decide import counts
from scenewright.reconcile.decide.turns import Run, Standing, Turn
from scenewright.reconcile.observation import ObservedJob


def begin_again(run: Run, reason: str, message: str, **changes: int) -> Turn:
    """Takes the Jobs of the pass away; once they are gone, the pass begins at its index.

    The status says so before anything is deleted for good, so that an operator that starts in between goes on.
    """
    stages = [counts.at_rest(stage) for stage in run.memory.stages]
    run = run.remembering(clearing=True, stages=stages, **changes)
    return cleared(run, Standing("Indexing", reason, message))


def cleared(run: Run, standing: Standing) -> Turn:
    """Deletes what is left of the pass."""
    again_after = run.settings.look_again if run.jobs else run.settings.answer_soon
    return run.turn(standing, *deletions(run.jobs.values(), standing.message), again_after=again_after)


def deletions(jobs: Iterable[ObservedJob], why: str) -> list[DeleteJob]:
    """Deletes the Jobs that are not being deleted yet."""
    return [DeleteJob(job.name, job.uid, why) for job in jobs if not job.deleting]
