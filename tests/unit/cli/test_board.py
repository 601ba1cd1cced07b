"""What is shown of a run follows from its events alone."""

from __future__ import annotations

import io

from scenewright.api.names import API_VERSION
from scenewright.cli.board import Board
from scenewright.cli.plain import PlainProgress
from scenewright.cli.texts import duration, size
from scenewright.execution.events import Event, Indexed, Interrupted, Progress, StepFinished, StepStarted, StepUpToDate
from scenewright.planning.plan import Plan, make_plan
from scenewright_stages.contract.reports import Report, StageCounts


def plan() -> Plan:
    spec = {
        "input": {"uri": "s3://photos/in"},
        "output": {"uri": "s3://scenes/out"},
        "vistadream": {},
        "execution": {"stages": {"startFrom": "depth"}},
    }
    return make_plan({"apiVersion": API_VERSION, "kind": "SceneJob", "metadata": {"name": "a"}, "spec": spec})


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def board() -> tuple[Board, Clock]:
    made, clock = Board.of(plan()), Clock()
    made.clock = clock
    return made, clock


def test_rows_are_the_steps_in_order_with_their_titles() -> None:
    made, _ = board()
    assert list(made.rows) == ["index", "outpaint", "depth", "initialize", "render", "publish"]
    assert made.rows["outpaint"].state == "excluded"
    assert made.rows["depth"].title == "Depth"


def test_counts_of_shards_add_up_whether_they_run_one_after_the_other_or_side_by_side() -> None:
    made, clock = board()
    made.update(Indexed(Report(step="index", run="r", samples=5, stages={"depth": StageCounts(total=5, todo=5)})))
    made.update(StepStarted("depth", 0, 3))
    made.update(Progress("depth", done=1, failed=1, total=2, samples_per_minute=2.0))
    made.update(StepStarted("depth", 1, 3))
    made.update(Progress("depth", done=1, total=2, fraction=0.5, samples_per_minute=4.0, shard=1))
    row = made.rows["depth"]
    assert (row.done, row.failed, row.total, row.share(), row.rate) == (2, 1, 5, 0.7, 6.0)
    clock.now = 4.0
    made.update(StepFinished("depth", 4.0, 0, 0, 3))
    made.update(StepFinished("depth", 3.0, 0, 1, 3))
    clock.now = 5.0
    assert (row.state, row.rate, row.elapsed(clock())) == ("running", 0.0, 5.0)
    made.update(StepStarted("depth", 2, 3))
    made.update(Progress("depth", done=1, total=1, shard=2))
    clock.now = 6.0
    made.update(StepFinished("depth", 2.0, 0, 2, 3))
    assert (row.done, row.state, row.seconds) == (3, "done", 6.0)


def test_samples_that_end_with_the_process_are_counted_from_its_report() -> None:
    made, _ = board()
    made.update(StepStarted("depth"))
    made.update(Progress("depth", done=0, total=2))
    made.update(StepFinished("depth", 1.0, 0, counts=StageCounts(done=1, failed=1)))
    row = made.rows["depth"]
    assert (row.done, row.failed, row.state) == (1, 1, "done")


def test_the_remaining_time_follows_from_the_share() -> None:
    made, clock = board()
    made.update(StepStarted("depth"))
    row = made.rows["depth"]
    assert row.remaining(clock()) is None
    made.update(Progress("depth", total=4, done=1))
    clock.now = 10.0
    assert row.remaining(clock()) == 30.0


def test_a_step_that_is_tried_again_shows_the_time_of_both_attempts() -> None:
    made, clock = board()
    for attempt, start, end, code in ((1, 0.0, 3.0, 1), (2, 10.0, 14.0, 0)):
        clock.now = start
        made.update(StepStarted("depth", attempt=attempt))
        clock.now = end
        made.update(StepFinished("depth", end - start, code))
    assert made.rows["depth"].seconds == 7.0


def test_a_step_that_the_user_ended_has_not_failed() -> None:
    made, _ = board()
    made.update(StepStarted("depth"))
    made.update(StepFinished("depth", 1.0, 1))
    assert made.rows["depth"].state == "failed"
    made.update(StepStarted("render"))
    made.update(Interrupted(25.0))
    made.update(StepFinished("render", 1.0, 143))
    assert made.rows["render"].state == "stopped"


def plain(*events: Event) -> list[str]:
    stream = io.StringIO()
    with PlainProgress(Board.of(plan()), stream) as shown:
        for event in events:
            shown.show(event)
    return stream.getvalue().splitlines()


def test_plain_progress_is_a_line_an_event_without_control_characters() -> None:
    lines = plain(
        StepStarted("index"),
        StepFinished("index", 1.0, 0),
        Indexed(Report(step="index", run="r", samples=2, rejected=1)),
        StepUpToDate("depth", StageCounts(total=2, done=2)),
        StepUpToDate("initialize", StageCounts(total=2, done=1, failed=1)),
        StepUpToDate("outpaint", StageCounts(total=3, done=1, awaiting=2)),
        StepStarted("render", 0, 2, 3),
        Progress("render", total=2, done=1),
        StepFinished("render", 61.0, 0, counts=StageCounts(done=2)),
        StepFinished("publish", 1.0, -9),
    )
    assert lines == [
        "index: started",
        "index: done in 1.0 s",
        "index: 2 samples, 1 refused",
        "depth: up to date (2 samples)",
        "initialize: nothing to run (1 done, 1 failed before)",
        "outpaint: nothing to run (1 done, 2 waiting for a choice)",
        "render: started (shard 1 of 2), attempt 3",
        "render: done in 1 min 01 s (2 done)",
        "publish: ended with exit code -9 after 1.0 s",
    ]
    assert all(line.isprintable() for line in lines)


def test_numbers_read_as_people_say_them() -> None:
    assert [duration(each) for each in (0.44, 9.96, 37, 245, 7800)] == [
        "0.4 s",
        "10.0 s",
        "37 s",
        "4 min 05 s",
        "2 h 10 min",
    ]
    assert [size(each) for each in (12, 99e6, 1.9e9, 24e9)] == ["12 B", "99 MB", "1.9 GB", "24 GB"]
