"""A stage process that follows a script instead of working: it shows what the executor does about its end.

The script (path in STUB_SCRIPT) is a JSON object: ``behaviours`` maps a step to the list of what its successive
processes do (``exit``, ``signal``, ``sleep``, ``burn``, ``meet``, ``todo`` by stage, ``missing``, ``report``); the last
entry repeats. One that is to ``meet`` waits until so many processes of its step have begun, and fails if they do not.
Every process appends a line to STUB_LOG.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

KEPT = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def main() -> int:
    task = json.loads(os.environ["SCENEWRIGHT_TASK"])
    log = Path(os.environ["STUB_LOG"])
    earlier = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    shard = int(os.environ["JOB_COMPLETION_INDEX"])
    tell(log, task, shard)
    attempt = sum(line["step"] == task["step"] for line in earlier)
    behaviours = json.loads(Path(os.environ["STUB_SCRIPT"]).read_text())["behaviours"].get(task["step"], [{}])
    behaviour = behaviours[min(attempt, len(behaviours) - 1)]
    if not met(log, task["step"], behaviour.get("meet", 0)):
        return 10
    return behave(task, behaviour)


def met(log: Path, step: str, number: int, seconds: float = 20.0) -> bool:
    """Whether so many processes of a step have begun, this one included, before the time is over."""
    until = time.monotonic() + seconds
    while sum(json.loads(line)["step"] == step for line in log.read_text().splitlines()) < number:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def behave(task: dict[str, Any], behaviour: dict[str, Any]) -> int:
    progress(task, task["step"])
    if task["step"] == "index":
        report(task, "index", stages(task, behaviour.get("todo", {})))
    if "sleep" in behaviour:
        wait_for_parent_or_signal(behaviour)
    while time.process_time() < behaviour.get("burn", 0):
        pass
    if "signal" in behaviour:
        os.kill(os.getpid(), behaviour["signal"])
    code = int(behaviour.get("exit", 0))
    if task["step"] not in ("index", "publish"):
        report(task, task["step"], {task["step"]: {"done": 1, "total": 1}}, behaviour.get("report", {}))
    if code == 0 and (task["step"] == "publish" or task.get("foldPublish")):
        progress(task, "publish")
        finals = {name: {"total": 1, "done": 1, **counts} for name, counts in behaviour.get("final", {}).items()}
        report(task, "publish", finals, {"samples": 1, "publication": "hash"})
    return code


def stages(task: dict[str, Any], todo: dict[str, int]) -> dict[str, Any]:
    return {name: {"total": 1, "todo": todo.get(name, 1), "shards": todo.get(name, 1)} for name in task["keys"]}


def tell(log: Path, task: dict[str, Any], shard: int) -> None:
    facts = {name: task.get(name, False) for name in ("foldPublish", "retryFailed")}
    environment = {name: os.environ.get(name, "") for name in KEPT}
    loaded = f"scenewright_stages.vistadream.{task['step']}" in sys.modules
    line = {"step": task["step"], "shard": shard, "run": task["run"], "pid": os.getpid(), "loaded": loaded}
    line |= {**facts, **environment}
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")


def report(task: dict[str, Any], step: str, counts: dict[str, Any], more: dict[str, Any] | None = None) -> None:
    content = {"step": step, "run": task["run"], "stages": counts, **(more or {})}
    Path(os.environ["SCENEWRIGHT_REPORT_DIR"], f"{step}.report.json").write_text(json.dumps(content))


def progress(task: dict[str, Any], step: str) -> None:
    target = Path(os.environ["SCENEWRIGHT_PROGRESS_FILE"])
    content = {"step": step, "phase": "running", "samples": {"total": 1, "done": 0}, "current": None}
    target.with_suffix(".new").write_text(json.dumps(content))
    target.with_suffix(".new").replace(target)


def wait_for_parent_or_signal(behaviour: dict[str, Any]) -> None:
    """Ends at once by a signal, unless told to be deaf; by the end of the parent in any case."""
    if behaviour.get("deaf"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGINT, lambda number, frame: sys.exit(143))
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    liveness_pipe = int(os.environ["SCENEWRIGHT_PARENT_FD"])
    os.set_blocking(liveness_pipe, False)
    until = time.monotonic() + behaviour["sleep"]
    while time.monotonic() < until:
        try:
            if os.read(liveness_pipe, 1) == b"":
                sys.exit(143)
        except BlockingIOError:
            time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
