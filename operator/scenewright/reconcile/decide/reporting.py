"""What Pods left behind: reports of steps that ended, and why a Job failed."""

from __future__ import annotations

import re
from collections.abc import Collection

from scenewright.reconcile.decide.turns import Run
from scenewright.reconcile.observation import ObservedJob, ObservedPod
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.reports import Report

ENDS_THE_RUN = (ExitCode.CONFIGURATION, ExitCode.SAMPLE_FAILED)
NO_WORDS = "the process ended without saying why; see its log"


def report_of(run: Run, job: ObservedJob, steps: Collection[str]) -> Report | None:
    """The report of one of the steps that a Job went through, as its last Pod that ended well tells it."""
    reports = [
        pod.report
        for pod in _by_age(run, job)
        if pod.exit_code == 0 and pod.report is not None and pod.report.step in steps
    ]
    return reports[-1] if reports else None


def has_index(run: Run, report: Report | None) -> bool:
    """Whether a report tells the counts of the whole chain."""
    return report is not None and all(stage.name in report.stages for stage in run.plan.chain)


def last_report(run: Run, job: ObservedJob) -> Report | None:
    """The report of the Pod that ended last and left one, however it ended."""
    reports = [pod.report for pod in _by_age(run, job) if pod.report is not None]
    return reports[-1] if reports else None


def ending_pod(run: Run, job: ObservedJob) -> ObservedPod | None:
    """The Pod whose exit code ended the whole Job; the Job's own message is never parsed for it."""
    return next((pod for pod in run.situation.pods_of(job) if pod.exit_code in ENDS_THE_RUN), None)


def why_ended(pod: ObservedPod) -> tuple[str, str]:
    """Reason and message of the run that a Pod ended."""
    message = (pod.report.message if pod.report else "") or NO_WORDS
    if pod.exit_code == ExitCode.SAMPLE_FAILED:
        return "SampleFailed", message
    return condition_reason(pod.report.reason if pod.report else "", "ConfigurationError"), message


def condition_reason(text: str, otherwise: str) -> str:
    """A text as the reason of a condition, which the API server wants as one word."""
    word = re.sub(r"[^A-Za-z0-9]", "", text)[:64]
    return word if word[:1].isalpha() else otherwise


def _by_age(run: Run, job: ObservedJob) -> list[ObservedPod]:
    return sorted(run.situation.pods_of(job), key=lambda pod: (pod.finished_at or pod.created_at, pod.name))
