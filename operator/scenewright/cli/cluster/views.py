"""Views of an object's status for the command line. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from scenewright.api.raw import Json, RawJson
from scenewright.api.status import ENDS, number_texts, rate_text
from scenewright.cli.texts import count, counted, duration

Mark = Literal["pending", "waiting", "running", "done", "current", "excluded", "failed"]

_MARKS: dict[str, Mark] = {
    "Pending": "pending",
    "Waiting": "waiting",
    "Running": "running",
    "UpToDate": "current",
    "NotSelected": "excluded",
    "Done": "done",
    "Failed": "failed",
}

MARK_WORDS: dict[Mark, str] = {"current": "up to date", "excluded": "not selected"}
"""What a mark means, where its name does not say so."""


@dataclass(frozen=True)
class StageView:
    """One stage.

    Attributes:
        shards: such as ``3 of 12 shards running``; empty if there are none.
        seconds: from its first Pod to its end or to now; None if not started.
        remaining: expected seconds to its end; None if unknown.
    """

    name: str
    mark: Mark
    done: int = 0
    failed: int = 0
    skipped: int = 0
    total: int = 0
    shards: str = ""
    rate: float = 0.0
    gpu_seconds: float = 0.0
    seconds: float | None = None
    remaining: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Fraction of finished samples, 0 to 1."""
        return min(1.0, (self.done + self.failed + self.skipped) / self.total) if self.total else 0.0


@dataclass(frozen=True)
class ObjectView:
    """One object.

    Attributes:
        age: seconds since its creation.
        behind: the operator has not seen the latest spec.
        reason, message: why it is in its phase.
        gpu_hours: forecast of the current pass; 0 if there is none.
        children: of a sweep, one line each.
        lab: values from the lab defaults, as JSON by path below ``spec``.
        outputs: URIs by label.
    """

    kind: str
    namespace: str
    name: str
    pipeline: str
    phase: str
    stage: str
    progress: str
    failed: int
    rate: str
    run: str
    age: float
    behind: bool
    reason: str
    message: str
    stages: tuple[StageView, ...] = ()
    failures: tuple[RawJson, ...] = ()
    notices: tuple[str, ...] = ()
    gpu_hours: float = 0.0
    children: tuple[str, ...] = ()
    lab: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it is complete or failed."""
        return self.phase in ENDS and not self.behind

    @property
    def reference(self) -> str:
        """Its name in commands."""
        return f"{self.kind.lower()}/{self.name}"


def view_of(raw: RawJson, now: datetime | None = None) -> ObjectView:
    """The view of a raw object; ignores fields that a newer operator adds."""
    now = now or datetime.now(UTC)
    metadata, status = raw["metadata"], raw.get("status") or {}
    reason, message = _why(status)
    behind = status.get("observedGeneration", 0) < metadata.get("generation", 1)
    return ObjectView(
        kind=raw["kind"],
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        pipeline=status.get("pipeline") or _pipeline_of(raw.get("spec", {})),
        phase=status.get("phase") or "Pending",
        stage=status.get("stage", ""),
        progress=status.get("progress", ""),
        failed=status.get("failed", 0),
        rate=status.get("rate", ""),
        run=status.get("run", ""),
        age=(now - (_optional_time(metadata["creationTimestamp"]) or now)).total_seconds(),
        behind=behind,
        reason=reason,
        message=message,
        stages=tuple(_stage(stage, now) for stage in status.get("stages", ())),
        failures=tuple(status.get("failures", ())),
        notices=_notices(status, behind),
        gpu_hours=(status.get("forecast") or {}).get("gpuHours", 0.0),
        children=_children(status.get("sweep") or {}),
        lab=(status.get("effective") or {}).get("defaults") or {},
        outputs={label: place for label, place in status.get("outputs", {}).items() if place},
    )


def summary(raw: RawJson) -> Json:
    """The object as JSON for programs: identity and raw status."""
    metadata = raw["metadata"]
    return {
        "kind": raw["kind"],
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "created": metadata["creationTimestamp"],
        "generation": metadata.get("generation", 1),
        "suspend": bool(raw.get("spec", {}).get("suspend")),
        "status": raw.get("status") or {},
    }


def exit_code(view: ObjectView) -> int:
    """0 unless the object has failed."""
    return 1 if view.ended and view.phase == "Failed" else 0


def facts(view: ObjectView) -> list[str]:
    """``37/96 done`` (over all stages), ``2 failed``, ``3.2/min``, ``1 h 48 min of GPU time``."""
    found = [f"{view.progress} done"] if view.progress else []
    found += [f"{view.failed} failed"] if view.failed else []
    found += [view.rate] if view.rate and not view.ended else []
    found += [f"{duration(held)} of GPU time"] if (held := sum(stage.gpu_seconds for stage in view.stages)) else []
    found += [f"{view.gpu_hours:.3g} GPU hours expected"] if view.gpu_hours and not view.ended else []
    return found


def _children(sweep: RawJson) -> tuple[str, ...]:
    """``fixer-1: Complete, 16/16, 31.2, fixer.learningRate=1e-4 (best)`` for each child."""
    lines = []
    for row in sweep.get("children", ()):
        values = " ".join(f"{path}={value}" for path, value in row.get("parameters", {}).items())
        metric = f"{row['metric']:.4g}" if row.get("metric") is not None else ""
        parts = ", ".join(filter(None, (row.get("phase", ""), row.get("progress", ""), metric, values)))
        lines.append(f"{row['name']}: {parts}{' (best)' if row['name'] == sweep.get('best') else ''}")
    return tuple(lines)


def plain_lines(view: ObjectView) -> list[str]:
    """The object as lines without colours, for pipes and logs."""
    head = f"{view.kind} {view.namespace}/{view.name}: {view.phase}"
    lines = [", ".join([head, *facts(view)])]
    if view.message:
        lines.append(f"{view.reason}: {view.message}")
    lines += [f"  {_stage_line(stage)}" for stage in view.stages]
    lines += [f"  {child}" for child in view.children]
    lines += [f"warning: {notice}" for notice in view.notices]
    lines += [
        f"failed: {each['sample']}: {each['stage']}: {each.get('reason', '')}: {each.get('message', '')}"
        for each in view.failures
    ]
    lines += [f"from the lab's defaults: {path} = {value}" for path, value in view.lab.items()]
    return lines + [f"{label}: {place}" for label, place in view.outputs.items()]


def _stage_line(stage: StageView) -> str:
    parts = [f"{stage.done}/{stage.total} done"] if stage.total else []
    parts += counted((stage.failed, "failed"), (stage.skipped, "skipped"))
    parts += [stage.shards] if stage.shards else []
    parts += [rate_text(stage.rate)] if stage.rate else []
    parts += [f"{duration(stage.remaining)} left"] if stage.remaining is not None else []
    parts += [duration(stage.seconds)] if stage.seconds is not None else []
    parts += number_texts(stage.numbers)
    words = MARK_WORDS.get(stage.mark, stage.mark)
    return f"{stage.name}: {', '.join([words, *parts])}"


def _why(status: RawJson) -> tuple[str, str]:
    """Reason and message of the condition that explains the phase."""
    held = {each["type"]: each for each in status.get("conditions", ()) if each.get("status") == "True"}
    found = [each for each in status.get("conditions", ()) if each["type"] == "Accepted" and each["status"] == "False"]
    found += [held[kind] for kind in ("Failed", "Complete", "Suspended", "Waiting", "Progressing") if kind in held]
    return (found[0].get("reason", ""), found[0].get("message", "")) if found else ("", "")


def _notices(status: RawJson, behind: bool) -> tuple[str, ...]:
    found = ["the operator has not seen the last change yet; does it run?"] if behind and status else []
    if not status:
        found.append("no operator has looked at this object yet; does it run, and watch this namespace?")
    held = (each for each in status.get("conditions", ()) if each["type"] == "Warning" and each["status"] == "True")
    found += [f"{each.get('reason', '')}: {each.get('message', '')}" for each in held]
    return (*found, *status.get("warnings", ()))


def _stage(raw: RawJson, now: datetime) -> StageView:
    samples = raw.get("samples", {})
    mark = _MARKS.get(raw.get("state", ""), "pending")
    started, finished, eta = (_optional_time(raw.get(name, "")) for name in ("startedAt", "finishedAt", "eta"))
    return StageView(
        name=raw["name"],
        mark=mark,
        done=samples.get("done", 0),
        failed=samples.get("failed", 0),
        skipped=samples.get("skipped", 0),
        total=samples.get("total", 0),
        shards=_shards(raw.get("shards", {}), mark),
        rate=raw.get("samplesPerMinute", 0.0) if mark == "running" else 0.0,
        gpu_seconds=raw.get("gpuSeconds", 0.0),
        seconds=((finished or now) - started).total_seconds() if started else None,
        remaining=max(0.0, (eta - now).total_seconds()) if eta and mark == "running" else None,
        numbers=raw.get("numbers") or {},
    )


def _shards(shards: RawJson, mark: Mark) -> str:
    total = shards.get("total", 0)
    if not total:
        return ""
    lost = f", {shards['failed']} given up" if shards.get("failed") else ""
    if mark in ("running", "waiting"):
        waiting = total - sum(shards.get(name, 0) for name in ("running", "done", "failed"))
        wait = f", {waiting} to come" if waiting > 0 else ""
        return f"{shards.get('running', 0)} of {count(total, 'shard')} running{wait}{lost}"
    return f"{count(total, 'shard')}{lost}"


def _pipeline_of(spec: RawJson) -> str:
    common = {"input", "output", "storage", "execution", "models", "scheduling", "suspend", "dataset"}
    return next((name for name, block in spec.items() if name not in common and isinstance(block, dict)), "")


def _optional_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except ValueError:
        return None
