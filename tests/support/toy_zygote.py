"""A process that has the worker loaded and forks one on demand: importing costs most of a tiny step's time.

Requests and answers are JSON lines on stdin and stdout. Run by :mod:`toy_harness`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import toy_stages

import scenewright_stages.worker.stage.checks
from scenewright_stages.worker.main import main
from scenewright_stages.worker.stage import recording

entry_points()
"""Reads what is installed once, for all workers."""
LOADED = (toy_stages, scenewright_stages.worker.stage.checks)


def start(environment: Mapping[str, str], log: str) -> int:
    """Forks a worker with exactly these variables and its output in a file; returns its number."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    empty = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((empty, 0), (descriptor, 1), (descriptor, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    if flush_seconds := environment.get("TOY_FLUSH_SECONDS"):
        recording.FLUSH_SECONDS = float(flush_seconds)
    main()
    os._exit(99)


def wait(child: int, seconds: float) -> int | None:
    """Exit code of a child as subprocess gives it, None when it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)


def serve() -> None:
    """Answers requests until stdin ends."""
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    for line in sys.stdin:
        request = json.loads(line)
        answer: int | None
        if "start" in request:
            answer = start(request["start"], request["log"])
        else:
            answer = wait(request["wait"], request["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
