"""Checks what a stage made against its output contracts, before anything is stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from scenewright_stages.contract.errors import ContractError
from scenewright_stages.contract.outputs import ArrayContract, ImageContract, Media, OutputContract
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.stage import Made, Pixels, StageResult

CHANNELS = {"1": 1, "L": 1, "I": 1, "I;16": 1, "I;16B": 1, "F": 1, "LA": 2, "RGB": 3, "RGBA": 4, "P": 3}
"""Channels that a viewer of an image of each Pillow mode sees."""
MAXIMUM_IMAGE_PIXELS = 1 << 30
RRD_MAGIC = b"RRF"
PLY_BYTES = {
    "char": 1, "int8": 1, "uchar": 1, "uint8": 1, "short": 2, "int16": 2, "ushort": 2, "uint16": 2,
    "int": 4, "int32": 4, "uint": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8,
}  # fmt: skip
PLY_HEADER_BYTES = 1 << 16


def check_result(stage: StageSpec, result: StageResult, workspace: Path) -> None:
    """Checks that every declared output exists in the workspace and meets its contract, and that metrics are finite.

    Raises:
        ContractError: names the first violation.
    """
    declared = {output.name for output in stage.outputs}
    for name in result.outputs:
        if name not in declared:
            raise ContractError(f"{stage.name} made an output {name!r} that it does not declare")
    for contract in stage.outputs:
        made = result.outputs.get(contract.name)
        if made is not None:
            for name, file in _files(contract, made, workspace):
                _check_file(replace(contract, name=name), file, workspace)
        elif not contract.optional:
            raise ContractError(f"{contract.name} was not made")
    _check_metrics(result.metrics)


def _files(contract: OutputContract, made: Made, workspace: Path) -> Sequence[tuple[str, Path | Pixels]]:
    """The files of an output with their names for messages, after checking their number."""
    if contract.form == "file":
        if not isinstance(made, Path | Pixels):
            raise ContractError(f"{contract.name} is {len(made)} files, one is expected")
        return [(contract.name, made)]
    found: list[tuple[str, Path | Pixels]]
    if contract.form == "folder":
        if not isinstance(made, Path) or not made.is_dir():
            raise ContractError(f"{contract.name} is not a folder")
        _check_place(contract, made, workspace)
        found = [
            (f"{contract.name}/{each.relative_to(made)}", each) for each in sorted(made.rglob("*")) if not each.is_dir()
        ]
    else:
        if isinstance(made, Path | Pixels):
            raise ContractError(f"{contract.name} is one file, a sequence is expected")
        found = [(f"{contract.name}/{number}", each) for number, each in enumerate(made)]
    if not contract.minimum_files <= len(found) <= contract.maximum_files:
        wanted = f"{contract.minimum_files} to {contract.maximum_files}"
        raise ContractError(f"{contract.name} has {len(found)} files, {wanted} are expected")
    return found


def _check_file(contract: OutputContract, made: Path | Pixels, workspace: Path) -> None:
    if isinstance(made, Pixels):
        check_pixels(contract, made)
    else:
        _check_place(contract, made, workspace)
        check_output(contract, made)


def check_output(contract: OutputContract, path: Path) -> None:
    """Checks one file against its contract.

    Raises:
        ContractError: it is missing, too small, of another type, damaged, or its content violates the contract.
    """
    if not path.is_file():
        raise ContractError(f"{contract.name} is not a file")
    size = path.stat().st_size
    if size < contract.minimum_bytes:
        raise ContractError(f"{contract.name} has {size} bytes, at least {contract.minimum_bytes} are expected")
    try:
        _CHECKS[contract.media](contract, path)
    except ContractError:
        raise
    except Exception as problem:
        # Decoders raise arbitrary exceptions for damaged data; all of them mean the same here.
        raise ContractError(f"{contract.name} cannot be read as {contract.media}: {problem}") from problem


def check_pixels(contract: OutputContract, made: Pixels) -> None:
    """Checks pixel values against the contract of the PNG that they will become.

    Raises:
        ContractError: the values violate it, or the output is not a PNG.
    """
    values = np.asarray(made.values)
    if contract.media != "image" or not contract.path.endswith(".png"):
        raise ContractError(f"{contract.name} is not a PNG, so it cannot be given as pixels")
    if values.dtype != np.uint8 or values.ndim not in (2, 3):
        raise ContractError(f"{contract.name} is {values.dtype} with {values.ndim} axes, expected uint8 with 2 or 3")
    channels = 1 if values.ndim == 2 else values.shape[2]
    _check_shape(contract, (values.shape[1], values.shape[0]), channels, f"{channels} channels")
    if not (contract.image or ImageContract()).may_be_constant and not _varies(values):
        raise ContractError(f"{contract.name} is one flat colour")


def _varies(values: np.ndarray) -> bool:
    """Whether any two pixels differ; a few rows suffice for nearly every image."""
    first = values[0, 0]
    return bool((values[:: max(1, len(values) // 16)] != first).any() or (values != first).any())


def _check_place(contract: OutputContract, path: Path, workspace: Path) -> None:
    if not path.resolve().is_relative_to(workspace.resolve()):
        raise ContractError(f"{contract.name} lies outside the sample's workspace")


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(metrics), allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise ContractError(f"the metrics are not finite plain values: {problem}") from problem


def _check_image(contract: OutputContract, path: Path) -> None:
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAXIMUM_IMAGE_PIXELS:
                raise ContractError(f"{contract.name} has {image.width}x{image.height} pixels, too many")
            image.load()
            size, mode, extrema = image.size, image.mode, image.getextrema()
    except UnidentifiedImageError as problem:
        raise ContractError(f"{contract.name} is not an image") from problem
    _check_shape(contract, size, CHANNELS.get(mode), f"mode {mode}")
    if not (contract.image or ImageContract()).may_be_constant and _flat(extrema):
        raise ContractError(f"{contract.name} is one flat colour")


def _check_shape(contract: OutputContract, size: tuple[int, int], channels: int | None, found: str) -> None:
    wanted = contract.image or ImageContract()
    if channels != wanted.channels:
        raise ContractError(f"{contract.name} has {found}, expected {wanted.channels} channels")
    if min(size) < wanted.minimum_side:
        raise ContractError(f"{contract.name} has {size[0]}x{size[1]} pixels, expected {wanted.minimum_side} a side")


def _flat(extrema: Any) -> bool:
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(low == high for low, high in bands)


def _check_arrays(contract: OutputContract, path: Path) -> None:
    with np.load(path, allow_pickle=False) as archive:
        for wanted in contract.arrays:
            if wanted.name not in archive.files:
                raise ContractError(f"{contract.name} lacks the array {wanted.name!r}")
            _check_array(f"{contract.name}/{wanted.name}", archive[wanted.name], wanted)
        for name in set(archive.files) - {wanted.name for wanted in contract.arrays}:
            # Reading the whole file proves that it is complete.
            _ = archive[name].dtype


def _check_array(label: str, array: np.ndarray, wanted: ArrayContract) -> None:
    if array.dtype != np.dtype(wanted.dtype) or array.ndim != wanted.dimensions:
        raise ContractError(
            f"{label} is {array.dtype} with {array.ndim} axes, expected {wanted.dtype} with {wanted.dimensions}"
        )
    if array.size == 0:
        if not wanted.may_be_empty:
            raise ContractError(f"{label} is empty")
        return
    finite = np.isfinite(array) if array.dtype.kind in "fc" else np.ones(array.shape, bool)
    share = float(finite.mean())
    if share < wanted.finite:
        raise ContractError(f"{label}: {share:.2%} of the entries are finite, expected {wanted.finite:.2%}")
    _check_range(label, array[finite], wanted)


def _check_range(label: str, values: np.ndarray, wanted: ArrayContract) -> None:
    if values.size == 0:
        return
    low, high = values.min(), values.max()
    if wanted.minimum is not None and low < wanted.minimum:
        raise ContractError(f"{label} goes down to {low}, expected at least {wanted.minimum}")
    if wanted.maximum is not None and high > wanted.maximum:
        raise ContractError(f"{label} goes up to {high}, expected at most {wanted.maximum}")
    if low == high and not wanted.may_be_constant and values.size > 1:
        raise ContractError(f"{label} is {low} everywhere")


def _check_video(contract: OutputContract, path: Path) -> None:
    # PyAV is slow to import, and most stages have no video.
    import av

    frames, varied = 0, False
    with av.open(str(path)) as container:
        for stream in container.streams.video[:1]:
            stream.thread_type = "AUTO"
        for frame in container.decode(video=0):
            frames += 1
            if not varied:
                luma = np.asarray(frame.to_ndarray(format="gray"))
                varied = bool(luma.min() != luma.max())
    if frames == 0:
        raise ContractError(f"{contract.name} has no frame")
    if not varied:
        raise ContractError(f"{contract.name} is one flat colour in all {frames} frames")


def _check_ply(contract: OutputContract, path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(PLY_HEADER_BYTES)
    text, end, _ = head.partition(b"end_header\n")
    lines = text.decode("ascii", errors="replace").split("\n")
    if lines[0].strip() != "ply" or not end:
        raise ContractError(f"{contract.name} has no PLY header")
    if "format binary_little_endian 1.0" not in lines:
        raise ContractError(f"{contract.name} is not binary little-endian")
    count, expected = _ply_body(contract, lines)
    if count == 0:
        raise ContractError(f"{contract.name} has no vertex")
    body = path.stat().st_size - len(text) - len(end)
    if body != expected:
        raise ContractError(f"{contract.name} holds {body} bytes after its header, which announces {expected}")


def _ply_body(contract: OutputContract, lines: list[str]) -> tuple[int, int]:
    """Number of vertices, and total size of all elements in bytes."""
    vertices, expected, count = 0, 0, 0
    for words in (line.split() for line in lines):
        if words[:1] == ["element"]:
            count = int(words[2])
            vertices = count if words[1] == "vertex" else vertices
        elif words[:1] == ["property"]:
            if words[1] == "list":
                raise ContractError(f"{contract.name} has list properties, which a splat file does not have")
            expected += count * PLY_BYTES[words[1]]
    return vertices, expected


def _check_json(contract: OutputContract, path: Path) -> None:
    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    if contract.json_keys and not isinstance(data, dict):
        raise ContractError(f"{contract.name} is not a JSON object")
    for key in contract.json_keys:
        if key not in data:
            raise ContractError(f"{contract.name} lacks {key!r}")


def _refuse_constant(name: str) -> float:
    raise ContractError(f"a JSON output contains {name}, which is not JSON")


def _check_text(contract: OutputContract, path: Path) -> None:
    if not path.read_text(encoding="utf-8").strip() and contract.minimum_bytes:
        raise ContractError(f"{contract.name} is blank")


def _check_html(contract: OutputContract, path: Path) -> None:
    if "<html" not in path.read_text(encoding="utf-8")[:2000].lower():
        raise ContractError(f"{contract.name} is not an HTML page")


def _check_rrd(contract: OutputContract, path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(RRD_MAGIC)) != RRD_MAGIC:
            raise ContractError(f"{contract.name} is not a Rerun recording")


def _check_safetensors(contract: OutputContract, path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        names = set(file.keys())
        if not names:
            raise ContractError(f"{contract.name} holds no tensor")
        for key in contract.json_keys:
            if key not in names:
                raise ContractError(f"{contract.name} lacks {key!r}")
        for wanted in contract.arrays:
            if wanted.name not in names:
                raise ContractError(f"{contract.name} lacks the array {wanted.name!r}")
            _check_array(f"{contract.name}/{wanted.name}", file.get_tensor(wanted.name), wanted)


def _check_pickle(contract: OutputContract, path: Path) -> None:
    """Opens the file with PyTorch's safe loader, which accepts only tensors and plain values."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if contract.json_keys and not isinstance(content, dict):
        raise ContractError(f"{contract.name} is not a dictionary")
    for key in contract.json_keys:
        if key not in content:
            raise ContractError(f"{contract.name} lacks {key!r}")


def _check_bytes(contract: OutputContract, path: Path) -> None:
    """Accepts any content; the size has been checked already."""


_CHECKS: dict[Media, Callable[[OutputContract, Path], None]] = {
    "image": _check_image,
    "arrays": _check_arrays,
    "video": _check_video,
    "ply": _check_ply,
    "json": _check_json,
    "text": _check_text,
    "html": _check_html,
    "rrd": _check_rrd,
    "safetensors": _check_safetensors,
    "pickle": _check_pickle,
    "bytes": _check_bytes,
}
