"""Validates published checkpoints of networks implemented in this project, tensor by tensor, before loading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import safetensors

from scenewright_stages.backends.runtime.errors import BrokenWeights

SHAPE = "network.json"
"""Beside the checkpoint of a network of other sizes than the published one."""
ShapeT = TypeVar("ShapeT")
Shapes = Mapping[str, tuple[int, ...]]
_NAMED_AT_MOST = 3


def network_shape(folder: Path, weights_id: str, published: ShapeT, read: Callable[[Path], ShapeT]) -> ShapeT:
    """Sizes of a folder's network: from ``network.json`` if present, else the published ones.

    Args:
        folder: of the weights.
        weights_id: their name in errors.
        published: sizes of the published network.
        read: reads the file; raises KeyError, TypeError or ValueError if it is invalid.

    Raises:
        BrokenWeights: the file does not describe a network.
    """
    path = folder / SHAPE
    if not path.exists():
        return published
    try:
        return read(path)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenWeights(weights_id, path, f"it does not describe a network: {error}") from error


def check_tensors(
    path: Path, expected: Shapes, weights_id: str, network: str, known_as: Callable[[str], str] = str
) -> None:
    """Compares the names and shapes in a safetensors header with those of a network.

    Args:
        path: of the file.
        expected: shape of each tensor by name.
        weights_id: name of the weights in errors.
        network: display name of the network.
        known_as: the expected name of a tensor that has several.

    Raises:
        BrokenWeights: the file cannot be read, or tensors differ; names the first ones.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            found = {known_as(name): tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise BrokenWeights(weights_id, path, f"it cannot be read: {error}") from error
    problems = [f"it lacks {name}" for name in expected if name not in found]
    problems += [f"{name} is not a tensor of {network}" for name in found if name not in expected]
    problems += [
        f"{name} has the shape {found[name]}, not {shape}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if problems:
        more = f" (and {len(problems) - _NAMED_AT_MOST} more)" if len(problems) > _NAMED_AT_MOST else ""
        raise BrokenWeights(weights_id, path, "; ".join(problems[:_NAMED_AT_MOST]) + more)
