"""Long runs of worlds: processes killed twenty times, ten worlds by one worker, ten entries (`make soak` only)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from killing import kill_tree, start, workers
from scene_jobs import assert_consistent, lasting_files, scenewright
from test_world_batch import TINY, write_job, write_panorama

from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record
from scenewright_stages.worldexplorer.params import WorldExplorerParams
from scenewright_stages.worldexplorer.pipeline import stages

pytestmark = [pytest.mark.slow, pytest.mark.soak]

KILLS = int(os.environ.get("SCENEWRIGHT_KILLS", "20"))
RECORDS = 21
"""Of one world with two motions: five of its own, and one of each view and motion."""
LONGEST_WAIT = 2.0
"""Seconds after the record that a kill waits for: records come in bursts, and it strikes between them as well."""
WORLDS = ENTRIES = 10
GROWTH = 1.15
"""Of a worker's memory, from its first half to its second."""
READING_SECONDS = 0.05
LEAST_READINGS = 40
PAGE = os.sysconf("SC_PAGE_SIZE")

Made = dict[tuple[str, str, str], set[tuple[str, str]]]


def job(folder: Path, worlds: int) -> Path:
    """A job of so many panoramas."""
    for number in range(worlds):
        write_panorama(folder / "in" / f"world{number}.png", number)
    return write_job(folder, folder / "in", "worlds")


def made_by(output: Path) -> Made:
    """Run and attempt of every stored ``done`` by stage, key and sample."""
    found: Made = {}
    for file in sorted((output / layout.ROOT).rglob("*.jsonl")):
        try:
            lines = file.read_text().split("\n")
        except FileNotFoundError:
            continue
        for line in lines:
            if '"state"' in line and (record := Record.from_line(line)).state == "done":
                found.setdefault((record.stage, record.key, record.sample), set()).add((record.run, record.attempt))
    return found


def test_kills_leave_the_same_tree_and_no_recorded_trajectory_is_made_again(tmp_path: Path) -> None:
    whole = job(tmp_path / "whole", 1)
    assert scenewright("run", whole).code == 0
    assert len(made_by(tmp_path / "whole" / "out")) == RECORDS
    draws, struck, rounds = random.Random(18), 0, 0
    while struck < KILLS:
        manifest = job(tmp_path / str(rounds), 1)
        output = manifest.parent / "out"
        awaited = sorted(draws.choices(range(RECORDS), k=min(KILLS - struck, 10)))
        struck, rounds = struck + kills(manifest, awaited, draws), rounds + 1
        ended = scenewright("run", manifest)
        assert ended.code == 0, ended.stderr
        assert all(len(makers) == 1 for makers in made_by(output).values())
        assert lasting_files(output) == lasting_files(tmp_path / "whole" / "out")
        assert_consistent(output)


def kills(manifest: Path, awaited: list[int], draws: random.Random) -> int:
    """Starts and kills the command, each time when so many records are stored; how many kills struck.

    Progress and not the clock decides. What was stored before a kill is there after the next, made by the same process.
    """
    stored: Made = {}
    for number, least in enumerate(awaited):
        process = start("run", manifest)
        while process.poll() is None and len(made_by(manifest.parent / "out")) < least:
            time.sleep(0.05)
        time.sleep(draws.uniform(0.0, LONGEST_WAIT))
        if not kill_tree(process):
            return number
        found = made_by(manifest.parent / "out")
        assert stored.items() <= found.items(), "something stored was lost, or was done again"
        print(f"killed with {len(found)} of {RECORDS} records stored")
        stored = found
    return len(awaited)


@dataclass
class Watched:
    """What was seen of the processes of a command: resident bytes by process, and the most bytes in scratch."""

    memory: dict[int, list[int]]
    scratch: int = 0


def test_ten_worlds_need_no_more_memory_than_a_few_and_stay_within_the_declared_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("SCENEWRIGHT_SCRATCH", str(scratch))
    seen = Watched({})
    command = start("run", job(tmp_path / "job", WORLDS))
    watch(command, scratch, seen)
    assert command.returncode == 0
    assert len(list((tmp_path / "job" / "out").glob("*/splat.ply"))) == WORLDS
    long_lived = [sizes for sizes in seen.memory.values() if len(sizes) > LEAST_READINGS]
    assert long_lived
    for sizes in long_lived:
        # What libraries load is there after the first quarter.
        quarter = len(sizes) // 4
        early, late = max(sizes[quarter : 2 * quarter]), max(sizes[2 * quarter :])
        print(f"{len(sizes)} readings: {early >> 20} MiB, then {late >> 20} MiB")
        assert late < GROWTH * early
    print(f"scratch: {seen.scratch >> 10} KiB at most")
    declared = min(stage.pod.resources.scratch_gib for stage in stages(WorldExplorerParams.model_validate(TINY)))
    assert 0 < seen.scratch < declared * 2**30


def write_set(folder: Path, third: dict[str, str]) -> None:
    """Ten entries of two variants; entry 2 lacks its pictures, those of 5 are cut, and 7 names no scaffold."""
    entries = [
        {"index": number, "photorealistic": {"path": f"p/{number}.png"}, "stylized": {"filename": f"{number}.png"}}
        for number in range(ENTRIES)
    ]
    entries[7]["scaffold"] = {"scaffold_path": "nowhere"}
    entries[3] |= third
    for number in set(range(ENTRIES)) - {2}:
        for at, path in enumerate((folder / "p" / f"{number}.png", folder / "stylized" / f"{number}.png")):
            write_panorama(path, 2 * number + at)
            if number == 5:
                path.write_bytes(path.read_bytes()[:500])
    (folder / "metadata.json").write_text(json.dumps({"samples": entries}))


def test_ten_entries_of_two_variants_end_as_they_should_and_an_edited_one_reruns_alone(tmp_path: Path) -> None:
    write_set(tmp_path / "set", {})
    manifest, output = write_job(tmp_path / "job", tmp_path / "set", "worlds"), tmp_path / "job" / "out"
    scenewright("run", manifest)
    summary = json.loads((output / "batch_summary.json").read_text())
    assert (summary["total"], summary["success"], summary["failed"]) == (20, 14, 6)
    (failed,) = output.glob("failed_indices_*.json")
    assert json.loads(failed.read_text())["failed_indices"] == [2, 5, 7]
    assert len(list(output.glob("*/index_*/splat.ply"))) == 14
    before = made_by(output)
    write_set(tmp_path / "set", {"scene_type": "small"})
    scenewright("run", manifest)
    after = made_by(output)
    again = {
        (stage, sample) for (stage, key, sample), makers in after.items() if before.get((stage, key, sample)) != makers
    }
    assert {sample.split("/view_")[0] for _, sample in again} == {"photorealistic/index_0003", "stylized/index_0003"}
    # A scale changes paths, not the scaffold and its depth.
    assert {stage for stage, _ in again} == {"expand-in", "expand-right", "points", "train", "export"}


def watch(command: subprocess.Popen[bytes], scratch: Path, seen: Watched) -> None:
    """Reads memory and scratch until the command has ended."""
    while command.poll() is None:
        for number in workers(command.pid):
            try:
                pages = int(Path(f"/proc/{number}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            seen.memory.setdefault(number, []).append(pages * PAGE)
        seen.scratch = max(seen.scratch, sum(sizes_in(scratch)))
        time.sleep(READING_SECONDS)


def sizes_in(folder: Path) -> Iterator[int]:
    # os.walk passes over folders that vanish meanwhile.
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield (Path(place) / name).stat().st_size
