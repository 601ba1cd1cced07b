"""Pickles as outputs: tensors and plain values only, nothing that runs code when it is opened."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from scenewright_stages.contract.errors import ContractError
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.worker.stage.checks import check_output

CHECKPOINT = OutputContract("checkpoint", "{sample}.pt", "pickle", json_keys=("weights", "step"))


class Opens:
    """Writes a file when it is opened without care."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self._path, "code ran")


def test_tensors_and_plain_values_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.save({"weights": {"layer": torch.ones(2, 3)}, "step": 7, "names": ["a"]}, path)
    check_output(CHECKPOINT, path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"weights": torch.ones(2)}, "checkpoint lacks 'step'"),
        ([torch.ones(2)], "checkpoint is not a dictionary"),
    ],
)
def test_what_is_promised_has_to_be_there(tmp_path: Path, content: Any, why: str) -> None:
    path = tmp_path / "c.pt"
    torch.save(content, path)
    with pytest.raises(ContractError, match=why):
        check_output(CHECKPOINT, path)


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_pickle_with_code_is_refused_and_the_code_does_not_run(tmp_path: Path, by_torch: bool) -> None:
    path, mark = tmp_path / "c.pt", tmp_path / "ran"
    content = {"weights": Opens(mark), "step": 1}
    if by_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ContractError, match="checkpoint cannot be read as pickle"):
        check_output(CHECKPOINT, path)
    assert not mark.exists()


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.save({"weights": torch.ones(200, 300), "step": 7}, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ContractError, match="checkpoint cannot be read as pickle"):
        check_output(CHECKPOINT, path)
