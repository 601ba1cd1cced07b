"""Runs from start to end: what is created in which order, and what the status says."""

from __future__ import annotations

from simulated_cluster import Cluster
from simulated_operator import Operator


def test_a_run_goes_through_index_stages_and_publish_with_few_writes_and_two_events():
    operator = Operator(Cluster())
    status = operator.run()
    assert status.phase == "Complete"
    steps = [create.step for create in operator.created]
    assert steps == ["index", "outpaint", "depth", "initialize", "coarse", "render", "publish"]
    assert operator.urgent_writes == len(steps) + 1
    assert [event.reason for event in operator.events] == ["Started", "Complete"]
    assert status.progress == "50/50"
