"""What the coarse loop reports: the summary of a run, and why a round found no pose. As text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scenewright_stages.vistadream.selection import Band, eligible_indices

TOP_COUNT = 5

NOTHING_LEFT = "NothingLeft"
"""Cause of an end that is a success."""

REMEDIES = {
    NOTHING_LEFT: "None needed: every hole of the band is filled.",
    "HolesTooSmall": "--set coarse.minInpaintRatio={least:.3g} takes the largest of them; more motion "
    "(trajectory.motionPreset, trajectory.forwardRatio) or a larger coarse.margin makes larger ones.",
    "HolesTooLarge": "--set coarse.maxInpaintRatio={most:.3g} takes the smallest of them; less motion "
    "(trajectory.motionPreset, trajectory.forwardRatio) or a smaller coarse.margin makes smaller ones.",
    "BlockedByAdjacency": "--set coarse.adjacentExclusion=0 takes neighbours of chosen poses too; a larger "
    "coarse.denseMultiplier puts poses closer together (slower).",
    "BandMissed": "--set coarse.fallbackMode=closest takes the pose that is closest to it; a larger "
    "coarse.denseMultiplier, or a wider coarse.minInpaintRatio..maxInpaintRatio, finds more.",
    "NoPoseLeft": "--set coarse.adjacentExclusion=0 or a larger coarse.denseMultiplier leaves more poses.",
}
"""What to set, by cause. `least` and `most` are bounds that would take a pose."""


@dataclass(frozen=True)
class SelectionDiagnosis:
    """Why a round found no pose in the band.

    Attributes:
        round: number of the round, from 0.
        cause: key of :data:`REMEDIES`.
        remedy: what to change.
        minimum, mean, maximum: of the hole ratios of the eligible poses; NaN when there is none.
        below_minimum, in_range, above_maximum: how many eligible poses lie where.
        in_range_without_adjacency: how many poses would lie in the band if neighbours were not excluded.
        top: the poses with the largest ratios as (index, ratio).
    """

    round: int
    cause: str
    remedy: str
    minimum: float
    mean: float
    maximum: float
    below_minimum: int
    in_range: int
    above_maximum: int
    in_range_without_adjacency: int
    top: tuple[tuple[int, float], ...]

    @property
    def is_success(self) -> bool:
        """Whether the loop ended because nothing was left to fill."""
        return self.cause == NOTHING_LEFT

    def text(self) -> str:
        """The log lines, each prefixed ``[COARSE][DIAG]``; of a loop that filled everything, one that says so."""
        if self.is_success:
            return f"[COARSE][DIAG] round {self.round}: {self.cause}: every hole of the band is filled"
        top = ", ".join(f"{index}:{ratio:.4f}" for index, ratio in self.top)
        lines = (
            f"round {self.round}: no pose in the band: {self.cause}",
            f"inpaint_ratio(valid) stats: min={self.minimum:.4f} mean={self.mean:.4f} max={self.maximum:.4f}",
            f"counts(valid): below_min={self.below_minimum} in_range={self.in_range} above_max={self.above_maximum} "
            f"(in_range_without_adj={self.in_range_without_adjacency})",
            f"top{len(self.top)}(idx:ratio)={top}",
            f"remedy: {self.remedy}",
        )
        return "\n".join(f"[COARSE][DIAG] {line}" for line in lines)


def diagnose(ratios: Sequence[float], chosen: Collection[int], band: Band, round_number: int) -> SelectionDiagnosis:
    """Counts where the poses lie and names the cause and its remedy."""
    valid = [ratios[index] for index in eligible_indices(ratios, chosen, band.adjacent_exclusion)]
    below = sum(ratio < band.minimum for ratio in valid)
    above = sum(ratio > band.maximum for ratio in valid)
    unexcluded = [ratio for index, ratio in enumerate(ratios) if index not in chosen]
    without_adjacency = sum(band.contains(ratio) for ratio in unexcluded)
    cause = _cause(valid, below, above, without_adjacency)
    left = [ratio for ratio in unexcluded if math.isfinite(ratio)]
    if chosen and left and max(left) < band.minimum:
        cause = NOTHING_LEFT
    finite = sorted(((r, -i) for i, r in enumerate(ratios) if math.isfinite(r)), reverse=True)
    return SelectionDiagnosis(
        round=round_number,
        cause=cause,
        remedy=REMEDIES[cause].format(
            least=_rounded_down(max(valid, default=0.0)), most=_rounded_up(min(valid, default=1.0))
        ),
        minimum=min(valid, default=math.nan),
        mean=sum(valid) / len(valid) if valid else math.nan,
        maximum=max(valid, default=math.nan),
        below_minimum=below,
        in_range=len(valid) - below - above,
        above_maximum=above,
        in_range_without_adjacency=without_adjacency,
        top=tuple((-negative, ratio) for ratio, negative in finite[:TOP_COUNT]),
    )


def _rounded_down(ratio: float) -> float:
    """The ratio with two digits, never above itself."""
    step = 10.0 ** (math.floor(math.log10(max(ratio, 1e-6))) - 1)
    return math.floor(ratio / step) * step


def _rounded_up(ratio: float) -> float:
    return min(math.ceil(ratio * 100) / 100, 1.0)


def _cause(valid: Sequence[float], below: int, above: int, without_adjacency: int) -> str:
    if without_adjacency > 0:
        return "BlockedByAdjacency"
    if not valid:
        return "NoPoseLeft"
    if below == len(valid):
        return "HolesTooSmall"
    if above == len(valid):
        return "HolesTooLarge"
    return "BandMissed"


@dataclass(frozen=True)
class ExtraFrame:
    """What one extra view contributed (the seed's per-frame statistics).

    Attributes:
        dense_pose_index: where the pose comes from in the dense trajectory.
        inpaint_ratio, inpaint_pixels: size of the hole before filtering.
        inpaint_wo_edge_pixels: pixels left after the edge and confidence masks.
        occluded_pixels: pixels dropped because the filled depth lay in front of what other views see.
        added_splats: Gaussians that the view added.
        by_fallback: chosen outside of the band by ``fallbackMode: closest``.
        final_loss: mean loss of the last tenth of its optimisation.
    """

    dense_pose_index: int
    inpaint_ratio: float
    inpaint_pixels: int
    inpaint_wo_edge_pixels: int
    occluded_pixels: int
    added_splats: int
    by_fallback: bool
    final_loss: float


@dataclass(frozen=True)
class GapView:
    """A pose at which leftover gaps were closed: where, their share of the view, and the Gaussians that it took."""

    dense_pose_index: int
    gap_ratio: float
    added_splats: int


@dataclass(frozen=True)
class CoarseSummary:
    """The answer to "did coarse select new frames, and how many splats did they add?"."""

    requested_extra_frames: int
    frames: tuple[ExtraFrame, ...]
    diagnosis: SelectionDiagnosis | None
    scene_frames: int
    gaussian_frames: int
    total_splats: int
    radius: float = 0.0
    forward_clamp: dict[str, float] | None = None
    coverage: tuple[float, ...] = field(default=())
    gap_views: tuple[GapView, ...] = ()

    @property
    def selected_extra_frames(self) -> int:
        """How many extra views were selected and added."""
        return len(self.frames)

    def warnings(self) -> list[str]:
        """Sentences on what a user should change: nothing added, fewer than asked, outside of the band.

        A loop that stops because every hole is filled has done its work: it warns of nothing.
        """
        found = [] if self.diagnosis is not None and self.diagnosis.is_success else self._shortfall()
        by_fallback = sum(frame.by_fallback for frame in self.frames)
        if by_fallback:
            found.append(f"{by_fallback} view(s) lie outside of the wanted band (fallbackMode: closest).")
        return found

    def _shortfall(self) -> list[str]:
        """What was asked for and not added, and why."""
        found: list[str] = []
        if not self.frames:
            rest = "only small gaps were closed" if self.gap_views else "the scene is what the initialisation made"
            found.append(f"Coarse expansion added no view: {rest}.")
        elif len(self.frames) < self.requested_extra_frames:
            found.append(f"Coarse expansion added {len(self.frames)} of {self.requested_extra_frames} views.")
        if self.diagnosis is not None:
            found.append(f"{self.diagnosis.cause}: {self.diagnosis.remedy}")
        return found

    def to_json(self) -> dict[str, Any]:
        """All fields, with NaN as null."""
        data = asdict(self) | {"selected_extra_frames": self.selected_extra_frames, "warnings": self.warnings()}
        cleaned: dict[str, Any] = _without_nan(data)
        return cleaned

    def text(self) -> str:
        """The log lines, each prefixed ``[COARSE] Summary``, then the diagnosis."""
        lines = [f"selected_extra_frames={self.selected_extra_frames}/{self.requested_extra_frames}"]
        lines += [_frame_line(number, frame) for number, frame in enumerate(self.frames)]
        lines += [
            f"gaps closed: dense_pose_index={gap.dense_pose_index} gap_ratio={gap.gap_ratio:.4f} "
            f"added_splats={gap.added_splats}"
            for gap in self.gap_views
        ]
        lines.append(
            f"scene_frames={self.scene_frames} gaussian_frames={self.gaussian_frames} total_splats={self.total_splats}"
        )
        if self.forward_clamp:
            lines.append("forward motion clamped: " + " ".join(f"{k}={v:.4g}" for k, v in self.forward_clamp.items()))
        text = "\n".join(f"[COARSE] Summary {line}" for line in lines)
        return f"{text}\n{self.diagnosis.text()}" if self.diagnosis else text


def _frame_line(number: int, frame: ExtraFrame) -> str:
    mark = " (fallback_mode=closest)" if frame.by_fallback else ""
    return (
        f"frame {number}: dense_pose_index={frame.dense_pose_index} inpaint_ratio={frame.inpaint_ratio:.4f} "
        f"inpaint_pixels={frame.inpaint_pixels} inpaint_wo_edge_pixels={frame.inpaint_wo_edge_pixels} "
        f"occluded_pixels={frame.occluded_pixels} added_splats={frame.added_splats}{mark}"
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
