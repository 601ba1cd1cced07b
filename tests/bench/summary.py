"""One table and one figure of what the GPU benchmarks measured, and the hours that jobs take by them.

    python tests/bench/summary.py FOLDER [--figure docs/images/gpu-benchmarks.svg]

FOLDER holds the JSON files of ``difix_step.py``, ``seva.py``, ``qwen_edit.py`` and ``relight_h200.py``, named difix,
seva, qwen, relight-dpt and relight-marigold, and the parts of ``scene_training.py``; what is missing is left out.
Prints Markdown. Two GPUs are reckoned as half of the time, for samples share nothing; DiFix's follow from the reading
of ``difix_gpus.py``, named difix-gpus, where it is there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PORTRAITS, WORLDS, PRODUCTS, TUNING_STEPS = 12_000, 10, 1_000, 10_000
WINDOWS, WINDOW_STEPS, EDIT_STEPS = 303, 50, 20
_BAR, _ROW, _LEFT = 260, 26, 300


@dataclass(frozen=True)
class Line:
    """One stage: a unit of its work, seconds of it, the plain loop's, the job it is reckoned for, two GPUs' pace."""

    name: str
    unit: str
    seconds: float
    plain: float
    busy: float | None
    gib: float | None
    job: str
    hours: float
    two_gpus: float = 2.0

    @property
    def ratio(self) -> float:
        """How many times faster than the plain loop."""
        return self.plain / self.seconds


def lines(folder: Path) -> Iterator[Line]:
    """A line for each file that is there."""
    if found := _read(folder, "difix"):
        fast, plain = found["compiled"], found["plain"]["step_seconds"]
        line = _line("DiFix, training", "a step", fast, "step", plain, f"{TUNING_STEPS:,} steps", TUNING_STEPS)
        yield replace(line, two_gpus=_read(folder, "difix-gpus").get("ratio", line.two_gpus))
    if found := _read(folder, "seva"):
        fast, plain = found["compiled"], found["plain"]["step_seconds"]
        steps = WORLDS * WINDOWS * WINDOW_STEPS
        yield _line(
            "WorldExplorer, drawing by SEVA", "a denoising step", fast, "step", plain, f"{WORLDS} worlds", steps
        )
    if found := _read(folder, "qwen"):
        fast, plain = found["fp8"], found["eager"]["edit_seconds"]
        scale = PRODUCTS * EDIT_STEPS / int(found.get("steps", 8))
        name, unit = "Reference objects, Qwen-Image-Edit fp8", "an edit of 8 steps"
        yield _line(name, unit, fast, "edit", plain, f"{PRODUCTS:,} pictures of {EDIT_STEPS} steps", scale)
    for kind in ("dpt", "marigold"):
        if found := _read(folder, f"relight-{kind}"):
            seconds, plain = 1 / found["images_per_second"], 1 / found["plain_images_per_second"]
            hours = PORTRAITS * seconds / 3600
            job = f"{PORTRAITS:,} portraits"
            name = f"Relighting, SAM 3 and {'DPT' if kind == 'dpt' else 'Marigold'}"
            yield Line(name, "a picture", seconds, plain, found["busy"], found["gigabytes"] * 1e9 / 2**30, job, hours)
    if (ours := _read(folder, "scene-0-ours")) and (found := _read(folder, "scene-0-peer")):
        peer = found["seconds"]
        name = f"Scene training, {ours['gaussians']:,} Gaussians"
        yield Line(
            name, f"a scene of {ours['steps']:,} steps", ours["seconds"], peer, ours["busy"], ours["gib"], "1 scene",
            ours["seconds"] / 3600,
        )  # fmt: skip


def _line(name: str, unit: str, fast: dict[str, Any], what: str, plain: float, job: str, count: float) -> Line:
    seconds = fast[f"{what}_seconds"]
    return Line(name, unit, seconds, plain, fast["busy"], fast["gib"], job, count * seconds / 3600)


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def table(found: list[Line]) -> str:
    """Markdown."""
    head = "| stage | seconds | GPU busy | GiB | plain loop | ratio | job | hours, one GPU | two GPUs |"
    rows = [head, "| --- " * 9 + "|"]
    for each in found:
        busy = "" if each.busy is None else f"{each.busy:.0%}".replace("%", " %")
        memory = "" if each.gib is None else f"{each.gib:.1f}"
        cells = (
            each.name, f"{each.seconds:.3g} for {each.unit}", busy, memory, f"{each.plain:.3g}",
            f"{each.ratio:.2f} ×", each.job, f"{each.hours:.2f}", f"{each.hours / each.two_gpus:.2f}",
        )  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def figure(found: list[Line]) -> str:
    """SVG: how much of the plain loop's time is left."""
    height = _ROW * len(found) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _BAR + 120}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="18" fill="#555">time of the plain loop = 100 %</text>',
    ]
    for number, each in enumerate(found):
        top, width = 28 + number * _ROW, max(2, round(_BAR / each.ratio))
        parts += [
            f'<text x="{_LEFT - 8}" y="{top + 14}" text-anchor="end">{each.name}</text>',
            f'<rect x="{_LEFT}" y="{top}" width="{_BAR}" height="18" fill="#e3e3e3"/>',
            f'<rect x="{_LEFT}" y="{top}" width="{width}" height="18" fill="#2b6cb0"/>',
            f'<text x="{_LEFT + _BAR + 8}" y="{top + 14}">{100 / each.ratio:.0f} %, {each.ratio:.1f} ×</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Prints the table and writes the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    found = list(lines(arguments.folder))
    print(table(found))
    if arguments.figure:
        arguments.figure.write_text(figure(found))


if __name__ == "__main__":
    main()
