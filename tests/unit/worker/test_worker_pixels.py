"""Images that stages hand over as values: checked as they are, encoded once, stored under every name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from scenewright_stages.contract.errors import ContractError
from scenewright_stages.contract.outputs import ImageContract, OutputContract
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, StageResult
from scenewright_stages.store import hash_bytes, open_store
from scenewright_stages.worker.stage.checks import check_pixels, check_result
from scenewright_stages.worker.stage.encoding import encode_png
from scenewright_stages.worker.stage.uploading import Uploader

RGB = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
OUTPUTS = (
    OutputContract("one", "one/{sample}.png", "image", image=ImageContract()),
    OutputContract("two", "two/{sample}.png", "image", image=ImageContract()),
    OutputContract("work", ".scenewright/work/{sample}/w.png", "image", result=False, image=ImageContract(channels=1)),
)
STAGE = StageSpec("stage", 1, "m:C", (), OUTPUTS)


@pytest.mark.parametrize("values", [RGB, RGB[..., 0], np.dstack([RGB, RGB[..., :1]])])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_png_holds_exactly_the_values_and_always_the_same_bytes(values: Any, compressed: bool) -> None:
    content = encode_png(Pixels(values), compressed=compressed)
    read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    back = read if read.ndim == 2 else read[..., [2, 1, 0, 3][: read.shape[2]]]
    assert np.array_equal(back, values)
    assert content == encode_png(Pixels(values.copy()), compressed=compressed)


def test_values_that_come_with_their_file_are_not_encoded_again() -> None:
    smooth = np.repeat(RGB[:, :1], 32, axis=1)
    source = encode_png(Pixels(smooth), compressed=False)
    assert len(encode_png(Pixels(smooth), compressed=True)) < len(source), "encoding would give other bytes"
    assert encode_png(Pixels(smooth, source), compressed=True) == source


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (RGB.astype(np.float32), "float32"),
        (RGB[..., 0], "1 channels"),
        (RGB[:8], "expected 16 a side"),
        (np.full_like(RGB, 7), "one flat colour"),
    ],
)
def test_values_that_break_the_contract_are_refused(values: Any, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        check_pixels(OUTPUTS[0], Pixels(values))
    check_pixels(OUTPUTS[0], Pixels(RGB))


def test_one_pixel_that_differs_is_enough_wherever_it_is() -> None:
    values = np.full_like(RGB, 7)
    values[-1, -1] = 8
    check_pixels(OUTPUTS[0], Pixels(values))


def test_only_pngs_can_be_given_as_pixels(tmp_path: Path) -> None:
    jpeg = OutputContract("photo", "{sample}.jpg", "image")
    with pytest.raises(ContractError, match="not a PNG"):
        check_result(StageSpec("s", 1, "m:C", (), (jpeg,)), StageResult({"photo": Pixels(RGB)}), tmp_path)


def test_one_image_under_two_names_is_stored_twice_with_one_hash_and_the_workspace_goes(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    records: list[Record] = []
    faults: list[BaseException] = []
    uploader = Uploader(store, STAGE, records.append, faults.append, lambda sample, outputs: None)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    shared = Pixels(RGB)
    outputs = {"one": shared, "two": shared, "work": Pixels(RGB[..., 0])}
    uploader.submit(Record("s", "stage", "k", "done"), Sample("s"), outputs, workspace)
    uploader.drain()
    uploader.close()
    assert not faults
    (record,) = records
    assert record.outputs["one"].hash == record.outputs["two"].hash != record.outputs["work"].hash
    for output in record.outputs.values():
        content = store.get_bytes(output.path)
        assert (hash_bytes(content), len(content)) == (output.hash, output.size)
    assert not workspace.exists()
