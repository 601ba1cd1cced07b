"""Chooses the candidate for each gap of a scaffold: the only one, the one that CLIP rates best, or a user's choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.similarity.interface import SimilarityModel
from scenewright_stages.contract.stage import StageInputs
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.worldexplorer.params import CANDIDATES, GAPS, WorldExplorerParams
from scenewright_stages.worldexplorer.prompts import gap_prompts

SCORES = "scores.json"
_BATCH = 16


def chosen_candidates(inputs: StageInputs[WorldExplorerParams], load_rater: Callable[[], SimilarityModel]) -> list[int]:
    """Number of the chosen candidate for each gap. Mode automatic writes all ratings to ``scores.json``.

    Args:
        inputs: with the candidates and, in mode manual, the person's answer.
        load_rater: called only in mode automatic.
    """
    count = len(inputs.paths(CANDIDATES, "pictures")) // len(GAPS)
    mode = inputs.params.scaffold.mode
    if mode == "manual":
        return [int(inputs.answer[gap]) for gap in GAPS]
    if mode == "fast":
        return [gap * count for gap in range(len(GAPS))]
    ratings = _ratings(inputs, load_rater(), count)
    picks = [gap * count + int(np.argmax(own)) for gap, own in enumerate(ratings)]
    _store(inputs, ratings, picks)
    return picks


def _ratings(inputs: StageInputs[WorldExplorerParams], rater: SimilarityModel, count: int) -> list[NDArray[np.float32]]:
    """(count,) ratings per gap: how similar each candidate is to the expected content."""
    wanted = _wanted(inputs, rater)
    pictures = inputs.paths(CANDIDATES, "pictures")
    found = []
    for gap, vector in enumerate(wanted):
        own = pictures[gap * count : (gap + 1) * count]
        batches = [own[first : first + _BATCH] for first in range(0, len(own), _BATCH)]
        vectors = [rater.pictures([read_png(path) for path in batch]) for batch in batches]
        found.append(np.concatenate(vectors) @ vector)
    return found


def _wanted(inputs: StageInputs[WorldExplorerParams], rater: SimilarityModel) -> NDArray[np.float32]:
    """(gaps, D) expected CLIP embeddings: of the neighbours' prompts or, without prompts, of the neighbours' images."""
    if texts := gap_prompts(inputs.params.scaffold):
        return rater.texts(texts)
    views = rater.pictures([read_png(path) for path in inputs.paths(CANDIDATES, "views")])
    between = views + np.roll(views, -1, axis=0)
    return np.asarray(between / np.linalg.norm(between, axis=1, keepdims=True), np.float32)


def _store(
    inputs: StageInputs[WorldExplorerParams], ratings: Sequence[NDArray[np.float32]], picks: Sequence[int]
) -> None:
    rated = {
        gap: {
            "chosen": pick,
            "scores": {str(number * len(own) + at): round(float(score), 5) for at, score in enumerate(own)},
        }
        for number, (gap, own, pick) in enumerate(zip(GAPS, ratings, picks, strict=True))
    }
    (inputs.workspace / SCORES).write_text(json.dumps(rated, indent=1) + "\n")
