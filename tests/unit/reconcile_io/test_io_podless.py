"""A Job that gets no Pods is looked into; one that gets them costs no look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import api_objects as raw
import pytest

from scenewright.reconcile import podless
from scenewright.reconcile.observation import ObjectKey, ObservedJob
from scenewright.reconcile.podless import PodlessJobs
from scenewright.reconcile.projection import observed_job

YARD = ObjectKey("SceneJob", "lab", "yard")
NONE = {"active": 0, "ready": 0, "succeeded": 0, "failed": 0}


def job(**status: Any) -> ObservedJob:
    found = observed_job(raw.job(**{**NONE, **status}))
    assert found is not None
    return found


def looks(act: Callable[[PodlessJobs], None], monkeypatch: pytest.MonkeyPatch) -> list[ObjectKey]:
    """At which objects is looked when time passes after something was told."""
    looked: list[ObjectKey] = []

    async def run() -> None:
        jobs = PodlessJobs(looked.append)
        act(jobs)
        await asyncio.sleep(0.05)
        assert len(jobs) == 0

    monkeypatch.setattr(podless, "PODLESS_SECONDS", 0.01)
    asyncio.run(run())
    return looked


def test_a_job_without_pods_is_looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(jobs: PodlessJobs) -> None:
        jobs.note(YARD, None, job())
        jobs.note(YARD, job(), job(conditions=[]))

    assert looks(act, monkeypatch) == [YARD]


@pytest.mark.parametrize("status", [{"active": 1}, {"failed": 1}, {"succeeded": 1}, {"terminating": 1}])
def test_a_job_that_has_or_had_pods_is_not(status: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def act(jobs: PodlessJobs) -> None:
        jobs.note(YARD, None, job())
        jobs.note(YARD, job(), job(**status))
        jobs.note(YARD, None, job(**status))

    assert looks(act, monkeypatch) == []


def test_a_job_that_is_gone_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(jobs: PodlessJobs) -> None:
        jobs.note(YARD, None, job())
        jobs.note(YARD, job(), None)

    assert looks(act, monkeypatch) == []
