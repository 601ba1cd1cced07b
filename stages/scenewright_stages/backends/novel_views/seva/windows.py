"""Groups frames into SEVA's windows of 21 frames, some of which are known.

The first pass generates anchors, evenly along the whole path, from the inputs and earlier results. The second pass
generates the frames between anchors. Anchors have the cameras of the nearest targets, but they are ordered by their
exact times, which lie between targets. The lists equal those of the published code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW = 21
_ENOUGH_MEMORY, _MOST_PICKS = 5, 5
_MEMORY_SHARE = 0.33
_BEHIND_LAST = 0.01


class Place(NamedTuple):
    """One frame of a window: a known frame or a target, by number."""

    known: bool
    number: int


Window = tuple[Place, ...]


def anchor_times(targets: int, inputs: int, wanted: int = 0) -> NDArray[np.float64]:
    """When the first pass generates a frame, in numbers of targets: evenly from the first target to the last.

    Args:
        targets: along the path.
        inputs: how many known pictures are in every window.
        wanted: at least so many; 0 for as many as are needed.
    """
    bounding = math.ceil(targets / (WINDOW - 2)) + 1
    count = min(targets, max(bounding, WINDOW - inputs, wanted))
    while count < targets and math.ceil((targets - 1) / (count - 1)) + 1 > WINDOW - 2:
        count += 1
    return np.linspace(0, targets - 1, count) if targets else np.zeros(0)


def anchor_places(targets: int, inputs: int, wanted: int = 0) -> tuple[int, ...]:
    """Numbers of the targets whose cameras the anchors have; see :func:`anchor_times`."""
    return tuple(anchor_times(targets, inputs, wanted).round().astype(int).tolist())


def between_anchors(targets: int, inputs: int, wanted: int = 0) -> list[Window]:
    """Windows of the second pass of a path; none if every target is an anchor. See :func:`anchor_times`."""
    times = anchor_times(targets, inputs, wanted)
    return second_pass(times.tolist(), range(targets)) if len(times) < targets else []


def padded(window: Window, size: int = WINDOW) -> Window:
    """The window padded to full size by repeating its last frame."""
    return window + (window[-1],) * (size - len(window))


def first_pass(
    inputs: int, angles: NDArray[np.float64], memory: int, usable: Sequence[bool], size: int = WINDOW
) -> list[Window]:
    """Windows that draw the anchors in order, each from all inputs and from some frames that were drawn before.

    Known frames are numbered: inputs, then memory, then the anchors drawn so far.

    Args:
        inputs: how many there are.
        angles: (memory + anchors, anchors) degrees between the orientations of every earlier frame and every anchor.
        memory: how many frames earlier paths left.
        usable: which of them may be used.
        size: frames of a window.
    """
    given = tuple(Place(True, number) for number in range(inputs))
    count, windows, seen = angles.shape[1], [], 0
    allowed = np.concatenate([np.asarray(usable, np.bool_), np.ones(count, np.bool_)])
    while seen < count:
        room = size - inputs
        picked: list[int] = []
        if memory or seen:
            wanted = _picks(memory, count - seen, room)
            ranked = np.argsort(angles[: memory + seen, seen:], axis=0, kind="stable")[:wanted].T
            last = memory + seen - 1 if seen else None
            picked = _picked(ranked, wanted, room, allowed, last)
        targets = range(seen, min(seen + room - len(picked), count))
        known = tuple(Place(True, inputs + number) for number in picked)
        windows.append(given + known + tuple(Place(False, number) for number in targets))
        seen = targets.stop
    return windows


def _picks(memory: int, left: int, room: int) -> int:
    """Maximum number of earlier frames in a window."""
    if memory >= _ENOUGH_MEMORY:
        return _MOST_PICKS
    return math.ceil(room * _MEMORY_SHARE) if left >= math.floor(room * _MEMORY_SHARE) else room - left


def _picked(
    ranked: NDArray[np.int_], wanted: int, room: int, allowed: NDArray[np.bool_], last: int | None
) -> list[int]:
    """The earlier frames closest to most targets of the window, always including the last generated one.

    Fewer frames leave room for more targets, which may be close to other frames, so it iterates until stable.
    """
    number = wanted
    while True:
        near = [each for each in ranked[: room - number].ravel().tolist() if allowed[each] and each != last]
        most = Counter(near).most_common(wanted if last is None else wanted - 1)
        found = sorted(each for each, _ in most) + ([] if last is None else [last])
        if len(found) >= number:
            return found
        number = len(found)


def second_pass(anchor_times: Sequence[float], target_times: Sequence[float], size: int = WINDOW) -> list[Window]:
    """Windows of targets between anchors, each beginning and ending with one; known frames are the anchors by number.

    Args:
        anchor_times: ascending.
        target_times: ascending, in the same unit.
        size: frames of a window.

    Raises:
        ValueError: more targets lie between two anchors than a window holds.
    """
    # A target at the time of the last anchor precedes it.
    starts = np.array([*anchor_times[:-1], anchor_times[-1] + _BEHIND_LAST])
    interval = np.searchsorted(starts, target_times, side="right") - 1
    between = [tuple(Place(False, int(n)) for n in np.flatnonzero(interval == at)) for at in range(-1, len(starts))]
    if max(map(len, between)) > size - 2:
        raise ValueError(f"more than {size - 2} targets lie between two anchors")
    windows: list[Window] = []
    window: Window = (*between[0], Place(True, 0))
    for anchor, targets in enumerate(between[1:]):
        if not targets:
            continue
        ending = (Place(True, anchor + 1),) if anchor + 1 < len(starts) else ()
        if len(window) + len(targets) + len(ending) > size:
            windows.append(window)
            window = (Place(True, anchor),)
        window += (*targets, *ending)
    return [*windows, window] if len(window) > 1 else windows
