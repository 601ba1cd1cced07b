"""Two pipelines of somebody else's packages, run by the command: on a disk, on S3, and with processes killed.

Together they use what the contract offers: entries of several files, expansion, siblings, gathering, numbered files,
paths from attributes, a question to a person, a data set that hosts a training run, several processes, durable state.
"""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from killing import await_ends, children
from toy_packages import (
    AWAITING,
    COMMAND,
    COVERS,
    ENTRIES,
    SAMPLES_FAILED,
    ToyJobs,
    installed_packages,
    scenewright,
    tree,
    with_packages,
)

from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record
from scenewright_stages.worker.publications import publication_hash

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SEED = 11
KILLS = int(os.environ.get("SCENEWRIGHT_TOY_KILLS", "1"))
"""Runs with a kill at a random moment, every other one on S3; `make soak` asks for twenty."""
PATIENCE = 400.0
"""Seconds. On a busy machine torch alone takes half a minute to load, in each of two processes."""
SLOWLY = {"seconds": 0.05}
"""Work takes long enough to be hit. What is made does not depend on it."""


Phase = Literal["first run", "choice", "last run"]


@dataclass(frozen=True)
class Whole:
    """A run that nobody disturbs: its jobs, the tree that it leaves, and how long its phases took."""

    jobs: ToyJobs
    tree: dict[str, bytes]
    seconds: dict[Phase, float]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Both objects have run to their end on a disk."""
    folder = tmp_path_factory.mktemp("whole")
    jobs = ToyJobs(folder, str(folder), SLOWLY, SLOWLY)
    jobs.write_input()
    seconds = run_with_choices(jobs)
    return Whole(jobs, tree(jobs.output), seconds)


def run_with_choices(jobs: ToyJobs) -> dict[Phase, float]:
    """Runs both objects, chooses what they wait for, and runs them to their end; seconds by phase."""
    cards, letters = jobs.manifests()
    times = [time.monotonic()]
    first = scenewright("run", letters, cards)
    assert first.returncode == AWAITING, first.stdout + first.stderr
    assert "letters: DatasetJob/cards ended as AwaitingSelection" in first.stderr
    assert "cards: 3 samples wait for a choice" in first.stdout and "failed: sea" not in first.stdout
    times.append(time.monotonic())
    assert "cover: v0, v1, v2" in scenewright("pick", cards).stdout
    times.append(time.monotonic())
    (name, cover), *_ = COVERS.items()
    picked = scenewright("pick", cards, name, cover)
    assert picked.returncode == 0 and "2 samples wait" in picked.stdout, picked.stdout + picked.stderr
    stored = jobs.output.get_bytes(f"answers/{name}.json")
    jobs.answer()
    assert jobs.output.get_bytes(f"answers/{name}.json") == stored
    times.append(time.monotonic())
    last = scenewright("run", cards, letters)
    assert last.returncode == SAMPLES_FAILED, last.stdout + last.stderr
    assert "letters: 1 sample done" in last.stdout
    times.append(time.monotonic())
    first_run, _, choice, last_run = (after - before for before, after in pairwise(times))
    return {"first run": first_run, "choice": choice, "last run": last_run}


def test_everything_that_the_contract_offers_is_published(whole: Whole) -> None:
    files = whole.tree
    cards = json.loads(files["album.json"])["cards"]
    assert {name: card["cover"] for name, card in cards.items()} == COVERS
    assert "train/hill_v2/frame-002.txt" in files, "the entry asks for three frames"
    assert "train/sea_v2/frame-002.txt" not in files
    assert "train/hill_v1/blend.txt" not in files, "a smudged view is left out"
    assert json.loads(files["test/town.json"])["views"].keys() == {"v0", "v1", "v2"}
    assert [json.loads(line)["id"] for line in files["train/index.jsonl"].splitlines()] == ["sea", "hill"]
    assert json.loads(files["splits.json"])["dropped"][0] == {
        "sample": "hill_v1",
        "stage": "sketch",
        "reason": "Smudged",
    }
    history = json.loads(files["tuning_runs/letters/history.json"])
    losses = history["losses"]
    assert len(losses) == 8 and losses == sorted(losses, reverse=True)
    published = json.loads(whole.jobs.output.get_bytes(layout.PUBLISHED))["files"]
    assert history["learned_from"] == {"dataset": publication_hash(published), "album": published["album.json"]["hash"]}


def test_no_code_of_the_product_names_these_pipelines() -> None:
    sources = [path for name in ("operator", "stages") for path in (ROOT / name).rglob("*.py")]
    assert len(sources) > 100
    assert not [path for path in sources if re.search("postcards|lettering", path.read_text())]


def test_an_edited_entry_runs_its_own_samples_again_and_no_others(tmp_path: Path, whole: Whole) -> None:
    jobs = copied(whole, tmp_path)
    edited = [{**entry, "motto": "pebbles"} if entry["name"] == "hill" else entry for entry in ENTRIES]
    jobs.write_input(edited)
    before = set(done_records(jobs))
    again = scenewright("run", jobs.manifests()[0])
    assert again.returncode == SAMPLES_FAILED, again.stdout + again.stderr
    made = {(stage, sample) for stage, sample, _ in set(done_records(jobs)) - before}
    assert made == {
        ("sketch", "hill_v0"),
        ("sketch", "hill_v2"),
        ("blend", "hill_v0"),
        ("blend", "hill_v2"),
        ("card", "hill"),
        ("album", "whole"),
    }
    changed = {path for path, content in tree(jobs.output).items() if whole.tree[path] != content}
    assert not {path for path in changed if "/sea" in path or "/town" in path}
    assert {"train/hill.json", "train/hill_v0/frame-000.txt"} <= changed


def test_a_killed_rank_continues_from_the_saved_state_and_its_numbers_are_on_the_board(
    tmp_path: Path, whole: Whole
) -> None:
    jobs = copied(whole, tmp_path, lettering={"seconds": 0.3})
    shutil.rmtree(tmp_path / "out" / "tuning_runs")
    states = tmp_path / "out" / "tuning_runs" / "letters" / layout.STATE
    with on_a_terminal("run", *jobs.manifests()) as (process, shown):
        await_true(lambda: any(states.rglob("latest.json")))
        *_, rank = descendants(process.pid)
        os.kill(rank, signal.SIGKILL)
        assert process.wait(PATIENCE) == SAMPLES_FAILED
    text = b"".join(shown).decode(errors="replace")
    assert "loss 0." in text, text[-3000:]
    logs = (tmp_path / "out" / "tuning_runs" / "letters" / layout.ROOT / "logs").rglob("fit-*.log")
    assert any("continues from the state saved at step" in path.read_text() for path in logs)
    assert tree(jobs.output) == whole.tree


@pytest.mark.timeout(3600)
@pytest.mark.soak
def test_a_process_killed_at_a_random_moment_on_s3_or_a_disk_costs_nothing_but_time(
    tmp_path: Path, s3_bucket: str, whole: Whole
) -> None:
    """Of a command and all that it has started, one process; then the same command again."""
    draws = random.Random(SEED)
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        jobs = ToyJobs(folder, f"s3://{s3_bucket}/{number}" if number % 2 == 0 else str(folder), SLOWLY, SLOWLY)
        jobs.write_input()
        # A choice takes hardly any of a run's time, so that chance alone would leave it out.
        struck = "choice" if number % 7 == 6 else chance(draws, whole.seconds)
        print(f"{number}: {run_with_a_kill(jobs, draws, whole, struck)}", flush=True)
        assert tree(jobs.output) == whole.tree


def chance(draws: random.Random, seconds: Mapping[str, float]) -> str:
    """One of the commands, each by how long it takes."""
    (struck,) = draws.choices(list(seconds), list(seconds.values()))
    return struck


def run_with_a_kill(jobs: ToyJobs, draws: random.Random, whole: Whole, struck: str) -> str:
    """One process of the first run, of a choice or of the last run is killed."""
    cards, letters = jobs.manifests()
    (name, cover), *_ = COVERS.items()
    killed = ""
    if struck == "first run":
        killed = kill_one(draws, whole.seconds[struck], lambda: forget(jobs, ""), "run", letters, cards)
    assert scenewright("run", letters, cards).returncode == AWAITING
    if struck == "choice":
        killed = kill_one(draws, whole.seconds[struck], lambda: forget(jobs, "answers/"), "pick", cards, name, cover)
    jobs.answer()
    if struck == "last run":
        killed = kill_one(draws, whole.seconds[struck], lambda: forget(jobs, "tuning_runs/"), "run", cards, letters)
    last = scenewright("run", cards, letters)
    assert last.returncode == SAMPLES_FAILED, last.stdout + last.stderr
    return f"{'S3' if jobs.uri.startswith('s3:') else 'disk'}, {struck}: {killed}"


def forget(jobs: ToyJobs, prefix: str) -> None:
    """Deletes what was made below a prefix of the output."""
    jobs.output.delete([each.key for each in jobs.output.list(prefix)])


def kill_one(draws: random.Random, seconds: float, undo: Callable[[], None], *arguments: object) -> str:
    """Starts a command and kills one of its processes within so many seconds; says which one it was.

    A command that had already ended is undone and started again, with less time.
    """
    while not (killed := run_and_kill(draws, draws.uniform(0.0, seconds), *arguments)):
        undo()
        seconds /= 2
    return killed


def run_and_kill(draws: random.Random, moment: float, *arguments: object) -> str:
    with started(arguments, subprocess.DEVNULL) as process:
        try:
            process.wait(moment)
            return ""
        except subprocess.TimeoutExpired:
            family = descendants(process.pid)
            victim = draws.choice(family)
            os.kill(victim, signal.SIGKILL)
        code = process.wait(PATIENCE)
        await_ends(family, PATIENCE)
    who = "the command" if victim == process.pid else f"process {family.index(victim)} of {len(family)}"
    return f"{who} after {moment:.1f} s; the command ended with {code}"


@contextmanager
def started(arguments: Sequence[object], output: int) -> Iterator[subprocess.Popen[bytes]]:
    """The command in the background, with both packages installed."""
    command = [*COMMAND, *map(str, arguments)]
    # The board is cut to the width of the terminal.
    environment = {**with_packages(installed_packages()), "COLUMNS": "160"}
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def descendants(number: int) -> list[int]:
    """A process and all that it has started."""
    return [number, *(each for child in children(number) for each in descendants(child))]


def copied(whole: Whole, folder: Path, lettering: dict[str, float] = SLOWLY) -> ToyJobs:
    """The same jobs in another folder, with all that they made."""
    for name in ("in", "out"):
        shutil.copytree(whole.jobs.folder / name, folder / name)
    return ToyJobs(folder, str(folder), SLOWLY, lettering)


def done_records(jobs: ToyJobs) -> Iterator[tuple[str, str, float]]:
    """Stage, sample and time of every record of the data set that says `done`."""
    for stage in ("sketch", "blend", "card", "album"):
        for file in (jobs.folder / "out" / layout.ROOT / stage).rglob("*.jsonl"):
            for line in file.read_text().splitlines():
                record = Record.from_line(line)
                if record.state == "done":
                    yield stage, record.sample, record.at


@contextmanager
def on_a_terminal(*arguments: object) -> Iterator[tuple[subprocess.Popen[bytes], list[bytes]]]:
    """The command in the background, and what it shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        # The last process that has it open closes it: then reading fails.
        with suppress(OSError):
            while content := os.read(ours, 1 << 16):
                shown.append(content)

    reader = threading.Thread(target=read)
    with started(arguments, theirs) as process:
        os.close(theirs)
        reader.start()
        yield process, shown
    reader.join(20)
    os.close(ours)


def await_true(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Returns when the condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
