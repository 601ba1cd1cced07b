"""Matches the keypoints of photographs with XFeat and LighterGlue, on the CPU.

The results are equal for any number of threads: every photograph and every pair is one task that runs on one thread.
Few photographs are matched each with each, the frames of a video with those around them, and of many photographs each
with those that look most alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.places.matching.models import networks
from scenewright_stages.vision.places.matching.xfeat import Features

ALL_PAIRS = 60
"""Up to so many photographs are matched each with each."""
_ALL_FRAMES = 20
"""Up to so many frames of a video are."""
_ALIKE = 20
"""Other photographs with which one of many is matched."""
_AROUND = 8
"""Frames before and after it with which one of a video is matched; farther ones at distances that double."""
_COMPARED = 256
"""Features of a photograph by which those that look alike are found."""
_ALIKE_COSINE = 0.82
"""Least cosine of two descriptors of one point (XFeat's own)."""
_SMALLEST, _GOOD_SIDE = 32, 1280
"""Smallest side that the network takes, and longest side to which smaller photographs are enlarged: more matches."""
FEATURES = 1536
"""Keypoints of a photograph that are matched; the time of a pair grows with their square."""

Pair = tuple[int, int]
Progress = Callable[[float, str], None]
Given = TypeVar("Given")
Result = TypeVar("Result")


def features_of(
    pictures: Sequence[Callable[[], NDArray[np.uint8]]],
    keypoints: Sequence[NDArray[np.float32]],
    longest_side: int,
    progress: Progress,
) -> list[Features]:
    """The described keypoints of all photographs.

    Args:
        pictures: each reads a photograph (H, W, 3) sRGB.
        keypoints: (N, 2) of each photograph, column and row, pixel centres at +0.5; places may repeat.
        longest_side: in pixels, to which larger photographs are reduced for it.
        progress: called after each photograph with a share from 0 to 1 and a message.

    Raises:
        ModelsNotInstalled: the weights are missing.
    """
    network, _ = networks()

    def found(given: tuple[Callable[[], NDArray[np.uint8]], NDArray[np.float32]]) -> Features:
        picture, pixels = given[0](), given[1]
        height, width = picture.shape[:2]
        # A place with several orientations is several keypoints of SIFT's and one of XFeat's.
        _, first = np.unique(pixels, axis=0, return_index=True)
        first = np.sort(first)
        features = network.features(_scaled(picture, longest_side), pixels[first], FEATURES, (width, height))
        return replace(features, numbers=torch.from_numpy(first)[features.numbers])

    given = list(zip(pictures, keypoints, strict=True))
    return list(_reported(_parallel(found, given), len(given), "describing photograph", progress))


def matches_of(features: Sequence[Features], pairs: Sequence[Pair], progress: Progress) -> list[NDArray[np.uint32]]:
    """(M, 2) numbers of matching keypoints for each pair of photographs.

    Raises:
        ModelsNotInstalled: the weights are missing.
    """
    _, network = networks()

    def found(pair: Pair) -> NDArray[np.uint32]:
        first, second = (features[number] for number in pair)
        rows = network.match(first, second)
        return torch.stack([first.numbers[rows[:, 0]], second.numbers[rows[:, 1]]], dim=1).numpy().astype(np.uint32)

    return list(_reported(_parallel(found, pairs), len(pairs), "matching pair", progress))


def chosen_pairs(features: Sequence[Features], in_order: bool) -> list[Pair]:
    """The pairs of photographs to match, the smaller number first, in order.

    Args:
        in_order: whether the photographs follow each other as the frames of a video.
    """
    count = len(features)
    if count <= (_ALL_FRAMES if in_order else ALL_PAIRS):
        return list(combinations(range(count), 2))
    around = _sequence(count) if in_order else set()
    return sorted(around | _alike(features, _ALIKE // 4 if in_order else _ALIKE))


def _sequence(count: int) -> set[Pair]:
    """Each number with the next ones, and with some farther on."""
    steps = [*range(1, _AROUND + 1), *(2**power for power in range(4, count.bit_length()))]
    return {(number, number + step) for number in range(count) for step in steps if number + step < count}


def _alike(features: Sequence[Features], others: int) -> set[Pair]:
    """Each photograph with those with which most of its best features agree."""
    best = [each.descriptors[:_COMPARED] for each in features]
    pairs = list(combinations(range(len(best)), 2))
    agreed = np.zeros((len(best), len(best)), np.int64)
    for (one, other), number in zip(
        pairs, _parallel(lambda pair: _agreeing(*(best[at] for at in pair)), pairs), strict=True
    ):
        agreed[one, other] = agreed[other, one] = number
    np.fill_diagonal(agreed, -1)
    nearest = np.argsort(-agreed, axis=1, kind="stable")[:, :others]
    return {
        (min(one, other), max(one, other)) for one, row in enumerate(nearest.tolist()) for other in row if other != one
    }


@torch.inference_mode()
def _agreeing(first: torch.Tensor, second: torch.Tensor) -> int:
    """How many descriptors are each other's nearest and near enough."""
    if not (len(first) and len(second)):
        return 0
    cosine = first @ second.T
    nearest, columns = cosine.max(dim=1)
    mutual = cosine.argmax(dim=0)[columns] == torch.arange(len(first))
    return int((mutual & (nearest > _ALIKE_COSINE)).sum())


def _scaled(picture: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """The photograph no larger than wanted and, by twice at most, no smaller than is good for the network."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    share = min(longest_side, max(longest, min(_GOOD_SIDE, 2 * longest))) / longest
    size = max(_SMALLEST, round(width * share)), max(_SMALLEST, round(height * share))
    if size == (width, height):
        return picture
    way = cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def _parallel(function: Callable[[Given], Result], values: Iterable[Given]) -> Iterator[Result]:
    """The function of each value, in order; each call runs on one of torch's threads."""
    with _single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, values)


@contextmanager
def _single_threaded() -> Iterator[int]:
    """Makes torch's operators run on one thread each; gives how many they had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _reported(results: Iterable[Result], count: int, message: str, progress: Progress) -> Iterator[Result]:
    for number, result in enumerate(results, start=1):
        progress(number / max(1, count), f"{message} {number} of {count}")
        yield result
