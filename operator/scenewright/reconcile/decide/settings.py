"""Patience: how long the planner lets things be before it says or does something about them; and what Pods are like."""

from __future__ import annotations

from dataclasses import dataclass, field

from scenewright.execution.jobs import PodSettings

PODLESS_SECONDS = 10.0
"""Nearly every Job has its Pods within a second."""
PROGRESS_SECONDS = 30.0
"""The router waits as long before it asks to look at what goes well."""


@dataclass(frozen=True)
class DecideSettings:
    """Durations in seconds, and bounds.

    Attributes:
        notice: a Pod that cannot be scheduled becomes a condition after this time.
        slow_start: a scheduled Pod that has not started becomes a condition after this time.
        progress_after: progress of a stage is told once its Job is so old; a short stage costs no write for it.
        configuration_grace: a Pod whose configuration is wrong fails the run after this time; what it names may be
            applied a moment later than the object.
        pull_grace: an image that cannot be pulled fails the run after this time.
        without_pods: a Job without Pods is looked into after this time.
        not_taken_up: a Job that the Job controller has not looked at becomes a condition after this time. Longer than
            `queue_pending`, so that one that its queue has just let go is not told of.
        back_off: the Job controller waits for up to ten minutes between attempts at an index; only a longer pause
            without Pods is looked into.
        queue_pending, queue_controller: a Job that its queue holds back becomes a condition after the first, and
            nobody seems to serve the queue, or there is no such queue, after the second.
        node_loss: a Pod that terminates for this much longer than its grace period has perhaps lost its node.
        report_grace: how long the Pod's report may arrive later than the Job's end.
        look_again: what waits for others (deletions, other objects) is looked at after this time, whatever the events.
        answer_age: an inspection older than this is asked again, while its answer matters.
        queue_answer_age: the same of what a queue said of a Job that waits in it: many may wait for hours.
        refusal_age: for so long a refusal to create a Job is taken to hold; it is tried again more often than that.
        answer_soon: when to look again at the latest while an inspection is under way.
        repeat, repeats: a CPU step that failed for want of something that may come back, such as the storage, is
            repeated after this time, then after twice as long and so on, so often; never with ``retries.passes: 0``.
        in_use: an output that somebody else has is looked at after this time at the latest, and as often.
        restarts: how often a run repeats something because a Job or its report was gone.
        pods: the operator's current configuration of Pods.
    """

    notice: float = 30.0
    slow_start: float = 300.0
    progress_after: float = PROGRESS_SECONDS
    configuration_grace: float = 60.0
    pull_grace: float = 300.0
    without_pods: float = PODLESS_SECONDS
    not_taken_up: float = 90.0
    back_off: float = 660.0
    queue_pending: float = 60.0
    queue_controller: float = 300.0
    node_loss: float = 60.0
    report_grace: float = 15.0
    look_again: float = 120.0
    answer_age: float = 120.0
    queue_answer_age: float = 590.0
    refusal_age: float = 590.0
    answer_soon: float = 5.0
    repeat: float = 30.0
    repeats: int = 5
    in_use: float = 600.0
    restarts: int = 10
    pods: PodSettings = field(default_factory=PodSettings)
