"""``scenewright logs``: the logs of an object's Pods, read from the storage, where they outlive the Pods."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scenewright.api.raw import Json, RawJson
from scenewright.api.status import ENDS
from scenewright.cli.cluster.access import Cluster, Gone, Place, Reference, connect, parse
from scenewright.cli.cluster.reading import StorageError, last_line, reader_command, storage_environment
from scenewright.cli.texts import refusing
from scenewright.planning.problems import ABSENT, Problem, SpecError
from scenewright_stages.contract import layout

SECONDS_AFTER_THE_END = 6.0
"""Longer than the five seconds between two uploads of a log."""
_ATTEMPT = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[^/-]+"
_STYLES = ("cyan", "magenta", "green", "yellow", "blue")


@dataclass(frozen=True)
class Selection:
    """Which logs to print; empty and None mean all."""

    step: str = ""
    shard: int | None = None
    run: str = ""
    tail: int = 0

    def pattern(self) -> str:
        """Regular expression for keys in the folder of a run's logs."""
        step = re.escape(self.step) or r"[a-z0-9-]+?"
        shard = r"\d+" if self.shard is None else str(self.shard)
        return rf"(?P<step>{step})-(?P<shard>{shard})-(?P<pod>{_ATTEMPT})\.log"


@dataclass
class Labels:
    """Labels for the source of a line: ``coarse/3``, or ``coarse/3 (2)`` for the second attempt at that shard."""

    pattern: re.Pattern[str]
    _attempts: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def of(self, key: str) -> tuple[str, Json]:
        """The label, and the same as JSON for programs."""
        found = self.pattern.fullmatch(key)
        if found is None:
            return key, {"key": key}
        step, shard, pod = found["step"], found["shard"], found["pod"]
        pods = self._attempts.setdefault((step, shard), [])
        if pod not in pods:
            pods.append(pod)
        attempt = pods.index(pod) + 1
        label = f"{step}/{shard}" + (f" ({attempt})" if attempt > 1 else "")
        return label, {"step": step, "shard": int(shard), "pod": pod, "attempt": attempt}


@refusing
def logs_command(
    target: str, place: Place, selection: Selection, *, follow: bool, use_secret: bool, as_json: bool
) -> int:
    """Prints the logs of one run; with `follow` until the object ends."""
    reference, cluster = parse(target), connect(place)
    raw = cluster.get(reference)
    prefix = logs_prefix(raw, selection)
    environment = storage_environment(cluster, raw, use_secret)
    try:
        return _print(cluster, reference, prefix, selection, environment, follow, as_json)
    except StorageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def logs_prefix(raw: RawJson, selection: Selection) -> str:
    """Folder with the logs of the selected run, by default the last one.

    Raises:
        SpecError: nothing has run yet, or the output is on a node.
    """
    output = raw["spec"]["output"]["uri"].rstrip("/")
    run = selection.run or (raw.get("status") or {}).get("run", "")
    if not run:
        raise SpecError([Problem("status.run", ABSENT, "there is no run yet: `scenewright status` says why")])
    if output.startswith("file://"):
        remedy = "lies on the nodes: read the logs there, or use object storage"
        raise SpecError([Problem("spec.output.uri", output, remedy)])
    # All logs of a run are in one folder: get it from the path of any log file.
    return f"{output}/{layout.log_file(run, 'index', 0, 'x').rpartition('/')[0]}"


def _print(
    cluster: Cluster,
    reference: Reference,
    prefix: str,
    selection: Selection,
    environment: Mapping[str, str],
    follow: bool,
    as_json: bool,
) -> int:
    options = [f"--tail={selection.tail}", *(["--follow"] if follow else [])]
    command = reader_command("lines", prefix, selection.pattern(), *options)
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as reader:
        if follow:
            threading.Thread(target=_close_at_the_end, args=(cluster, reference, reader), daemon=True).start()
        try:
            printed = _print_lines(map(json.loads, reader.stdout or ()), selection, as_json)
        except BaseException:
            reader.kill()
            raise
        error = reader.stderr.read() if reader.stderr else ""
    if reader.returncode != 0:
        has_keys = environment.get("AWS_ACCESS_KEY_ID") or environment.get("AWS_PROFILE")
        hint = "" if has_keys else " (set AWS_* variables, or --use-secret to take the keys of the object's Secret)"
        raise StorageError(f"{last_line(error)}{hint}")
    if not printed:
        sys.stderr.write(f"no logs below {prefix} match\n")
    return 0


def _print_lines(lines: Iterator[dict[str, str]], selection: Selection, as_json: bool) -> int:
    """Prints each line with its source; returns the number of lines."""
    labels = Labels(re.compile(selection.pattern()))
    write = _coloured_line() if sys.stdout.isatty() else lambda label, line: print(f"{label} | {line}", flush=True)
    number = 0
    for number, found in enumerate(lines, start=1):  # noqa: B007 - counted
        label, facts = labels.of(found["key"])
        if as_json:
            print(json.dumps({**facts, "line": found["line"]}, ensure_ascii=False), flush=True)
        else:
            write(label, found["line"])
    return number


def _coloured_line() -> Any:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    styles: dict[str, str] = {}

    def write(label: str, line: str) -> None:
        step = label.partition("/")[0]
        style = styles.setdefault(step, _STYLES[len(styles) % len(_STYLES)])
        console.print(Text.assemble((f"{label} │ ", style), line))

    return write


def _close_at_the_end(cluster: Cluster, reference: Reference, reader: subprocess.Popen[str]) -> None:
    """Lets the reader finish once the object has ended and its Pods have uploaded their last lines."""
    try:
        for raw in cluster.watch(reference):
            if (raw.get("status") or {}).get("phase") in ENDS:
                break
    except (Gone, SpecError):
        pass
    time.sleep(SECONDS_AFTER_THE_END)
    if reader.stdin is not None:
        reader.stdin.close()
