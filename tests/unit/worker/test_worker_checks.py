"""Outputs against their contracts: what is refused, and that the good twin passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from scenewright_stages.contract.errors import ContractError
from scenewright_stages.contract.outputs import ArrayContract, Form, ImageContract, Media, OutputContract
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.stage import StageResult
from scenewright_stages.worker.stage.checks import check_output, check_result

RAMP = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)


def contract(media: Media, **fields: object) -> OutputContract:
    return OutputContract("thing", "{sample}/thing", media, **fields)  # type: ignore[arg-type]


def save_image(path: Path, pixels: np.ndarray = RAMP, mode: str | None = None) -> None:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, format="PNG")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: save_image(path, np.zeros((32, 32, 3), np.uint8)), "flat"),
        (lambda path: save_image(path, RAMP[:8]), "expected 16 a side"),
        (lambda path: save_image(path, RAMP, "L"), "expected 3 channels"),
        (lambda path: save_image(path, RAMP, "RGBA"), "expected 3 channels"),
        (lambda path: path.write_bytes(b"\x89PNG not really"), "not an image"),
        (lambda path: (save_image(path), path.write_bytes(path.read_bytes()[:-40])), "cannot be read"),
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (lambda path: path.mkdir(), "not a file"),
    ],
)
def test_bad_images_are_refused(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    save_image(good)
    check_output(contract("image"), good)
    make(bad)
    with pytest.raises(ContractError, match=message):
        check_output(contract("image"), bad)


def test_a_flat_mask_is_fine_where_the_contract_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mask"
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path, format="PNG")
    check_output(contract("image", image=ImageContract(channels=1, may_be_constant=True)), path)


DEPTH = ArrayContract("depth", "float32", 2, finite=0.5, minimum=0.0, maximum=10.0)
GOOD = np.linspace(1, 9, 16, dtype=np.float32).reshape(4, 4)


def with_value(value: float, count: int) -> np.ndarray:
    array = GOOD.copy()
    array.flat[:count] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (with_value(np.nan, 9), "finite"),
        (with_value(np.inf, 9), "finite"),
        (with_value(-0.5, 1), "goes down to -0.5"),
        (with_value(11, 1), "goes up to 11"),
        (np.full((4, 4), 2, np.float32), "everywhere"),
        (GOOD.astype(np.float64), "expected float32"),
        (GOOD[0], "with 1 axes"),
        (GOOD[:0], "empty"),
        (None, "lacks"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, array: np.ndarray | None, message: str) -> None:
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    np.savez(good, depth=with_value(np.nan, 8))
    check_output(contract("arrays", arrays=(DEPTH,)), good)
    np.savez(bad, **({"other": GOOD} if array is None else {"depth": array}))
    with pytest.raises(ContractError, match=message):
        check_output(contract("arrays", arrays=(DEPTH,)), bad)


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, depth=np.array([{"code": "x"}], dtype=object))
    with pytest.raises(ContractError, match="cannot be read"):
        check_output(contract("arrays", arrays=(DEPTH,)), path)


def write_video(path: Path, flat: bool) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 32, 32
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.zeros_like(RAMP) if flat else RAMP, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_videos_must_decode_and_show_something(tmp_path: Path) -> None:
    good, flat, cut = tmp_path / "good", tmp_path / "flat", tmp_path / "cut"
    write_video(good, flat=False)
    check_output(contract("video"), good)
    write_video(flat, flat=True)
    cut.write_bytes(good.read_bytes()[:200])
    for path, message in ((flat, "flat colour in all 4 frames"), (cut, "cannot be read")):
        with pytest.raises(ContractError, match=message):
            check_output(contract("video"), path)


def ply(count: int, body: int, form: str = "binary_little_endian") -> bytes:
    header = f"ply\nformat {form} 1.0\nelement vertex {count}\nproperty float x\nproperty uchar red\nend_header\n"
    return header.encode() + bytes(body)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ply(3, 14), "announces 15"),
        (ply(0, 0), "no vertex"),
        (ply(3, 15, "ascii"), "little-endian"),
        (b"not a ply at all", "no PLY header"),
        (ply(3, 15).replace(b"uchar", b"quaternion"), "cannot be read"),
    ],
)
def test_bad_point_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(ply(3, 15))
    check_output(contract("ply"), good)
    bad.write_bytes(content)
    with pytest.raises(ContractError, match=message):
        check_output(contract("ply"), bad)


@pytest.mark.parametrize(
    ("media", "good", "bad", "message"),
    [
        ("json", b'{"frames": 1}', b'{"frame": 1}', "lacks"),
        ("json", b'{"frames": 1}', b'{"frames": NaN}', "NaN"),
        ("json", b'{"frames": 1}', b"[1]", "not a JSON object"),
        ("json", b'{"frames": 1}', b'{"frames"', "cannot be read"),
        ("text", "é".encode(), b" \n", "blank"),
        ("text", "é".encode(), b"\xff\xfe", "cannot be read"),
        ("html", b"<!doctype html><HTML></HTML>", b"<p>", "not an HTML page"),
        ("rrd", b"RRF2....", b"RIFF", "not a Rerun recording"),
    ],
)
def test_other_files(tmp_path: Path, media: Media, good: bytes, bad: bytes, message: str) -> None:
    path = tmp_path / "file"
    declared = contract(media, json_keys=("frames",) if media == "json" else ())
    path.write_bytes(good)
    check_output(declared, path)
    path.write_bytes(bad)
    with pytest.raises(ContractError, match=message):
        check_output(declared, path)


def test_results_are_complete_declared_inside_and_finite(tmp_path: Path) -> None:
    outputs = (contract("text"), OutputContract("maybe", "{sample}/maybe", "text", optional=True))
    stage = StageSpec("stage", 1, "module:Class", (), outputs)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    inside, outside = workspace / "a", tmp_path / "outside"
    for path in (inside, outside):
        path.write_text("text")
    (workspace / "link").symlink_to(outside)
    check_result(stage, StageResult({"thing": inside}, metrics={"n": 1}), workspace)
    for result, message in (
        (StageResult({}), "was not made"),
        (StageResult({"thing": inside, "more": inside}), "does not declare"),
        (StageResult({"thing": outside}), "outside"),
        (StageResult({"thing": workspace / "link"}), "outside"),
        (StageResult({"thing": inside}, metrics={"n": float("nan")}), "finite"),
    ):
        with pytest.raises(ContractError, match=message):
            check_result(stage, result, workspace)


def many(form: Form, **fields: Any) -> StageSpec:
    path = "{sample}/frames/" if form == "folder" else "{sample}/{number}.txt"
    return StageSpec("stage", 1, "m:C", (), (OutputContract("frames", path, "text", form=form, **fields),))


def written(folder: Path, *texts: str) -> list[Path]:
    """Files with these contents in a folder of their own."""
    (folder / "frames" / "deep").mkdir(parents=True)
    paths = [folder / "frames" / "deep" / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


@pytest.mark.parametrize(
    ("texts", "fields", "why"),
    [
        (("a", "b"), {}, None),
        (("a", " "), {}, "frames/.*1.* is blank"),
        (("a", "bc"), {"minimum_bytes": 2}, r"frames/.*0.* has 1 bytes, at least 2"),
        ((), {}, "frames has 0 files, 1 to 10000 are expected"),
        ((), {"minimum_files": 0}, None),
        (("a", "b"), {"maximum_files": 1}, "frames has 2 files, 1 to 1 are expected"),
        (("a", "b"), {"minimum_files": 3}, "frames has 2 files, 3 to 10000"),
    ],
)
@pytest.mark.parametrize("form", ["numbered", "folder"])
def test_each_of_many_files_is_checked_and_their_number(
    tmp_path: Path, form: Form, texts: tuple[str, ...], fields: dict[str, Any], why: str | None
) -> None:
    paths = written(tmp_path, *texts)
    result = StageResult({"frames": paths if form == "numbered" else tmp_path / "frames"})
    if why is None:
        check_result(many(form, **fields), result, tmp_path)
        return
    with pytest.raises(ContractError, match=why):
        check_result(many(form, **fields), result, tmp_path)


def test_forms_are_not_mixed_up(tmp_path: Path) -> None:
    paths = written(tmp_path, "a", "b")
    one = StageSpec("stage", 1, "m:C", (), (OutputContract("frames", "{sample}.txt", "text"),))
    for spec, made, why in (
        (one, paths, "frames is 2 files, one is expected"),
        (many("numbered"), paths[0], "frames is one file, a sequence is expected"),
        (many("folder"), paths, "frames is not a folder"),
        (many("folder"), paths[0], "frames is not a folder"),
        (many("folder"), tmp_path / "nothing", "frames is not a folder"),
    ):
        with pytest.raises(ContractError, match=why):
            check_result(spec, StageResult({"frames": made}), tmp_path)


def test_no_file_of_many_may_lie_outside_the_workspace(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    paths = written(workspace, "a")
    (tmp_path / "outside.txt").write_text("x")
    (workspace / "frames" / "link.txt").symlink_to(tmp_path / "outside.txt")
    for form, made in (("folder", workspace / "frames"), ("numbered", [*paths, tmp_path / "outside.txt"])):
        with pytest.raises(ContractError, match="outside the sample's workspace"):
            check_result(many(form), StageResult({"frames": made}), workspace)
    with pytest.raises(ContractError, match="outside the sample's workspace"):
        check_result(many("folder"), StageResult({"frames": tmp_path}), workspace)


def test_tensors_of_a_safetensors_file_meet_their_contract(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    wanted = OutputContract(
        "weights",
        "{sample}.safetensors",
        "safetensors",
        json_keys=("bias",),
        arrays=(ArrayContract("matrix", "float32", 2, minimum=-1.0, maximum=1.0),),
    )
    good = {"matrix": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(1, np.float16)}
    save_file(good, path)
    check_output(wanted, path)
    for tensors, why in (
        ({"matrix": good["matrix"]}, "weights lacks 'bias'"),
        ({"bias": good["bias"]}, "weights lacks the array 'matrix'"),
        ({**good, "matrix": good["matrix"] * 2}, "weights/matrix goes down to -2.0"),
        ({**good, "matrix": good["matrix"].astype(np.float64)}, "is float64 with 2 axes, expected float32 with 2"),
        ({**good, "matrix": np.full((2, 3), np.nan, np.float32)}, "0.00% of the entries are finite"),
        ({}, "weights holds no tensor"),
    ):
        save_file(tensors, path)
        with pytest.raises(ContractError, match=why):
            check_output(wanted, path)
    save_file(good, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ContractError, match="weights cannot be read as safetensors"):
        check_output(wanted, path)


@pytest.mark.parametrize(("minimum", "accepted"), [(0, True), (1, False)])
def test_a_text_may_be_empty_where_its_contract_says_so(tmp_path: Path, minimum: int, accepted: bool) -> None:
    label = tmp_path / "label.txt"
    label.write_bytes(b"")
    contract = OutputContract("label", "{sample}.txt", "text", minimum_bytes=minimum)
    if accepted:
        check_output(contract, label)
    else:
        with pytest.raises(ContractError, match="has 0 bytes"):
            check_output(contract, label)
