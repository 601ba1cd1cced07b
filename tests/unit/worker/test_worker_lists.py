"""Inputs that are lists: what a line may say, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import InputKind, Listed
from scenewright_stages.worker.index.lists import is_list, parse_list

KIND = InputKind((".png",), {"mask": (".mask.png",)}, listings=True)
LOCAL = "file:///data/sets/list.jsonl"


def parsed(*rows: dict[str, Any], uri: str = LOCAL) -> list[Listed]:
    return parse_list("\n".join(json.dumps(row) for row in rows).encode(), uri, KIND)


def test_names_count_from_the_lists_folder_and_ids_are_file_stems() -> None:
    first, second = parsed({"uri": "faces/a b.png"}, {"image": "s3://bucket/x/c.v2.png", "mask": "m.png"})
    assert (first.id, first.files["source"]) == ("a_b", "file:///data/sets/faces/a%20b.png")
    assert (second.id, second.files["source"]) == ("c.v2", "s3://bucket/x/c.v2.png")
    assert second.files == {"source": "s3://bucket/x/c.v2.png", "mask": "file:///data/sets/m.png"}


def test_files_of_one_name_in_several_folders_get_ids_with_their_folders() -> None:
    assert [row.id for row in parsed({"path": "a/face.png"}, {"path": "b/face.png"})] == ["a/face", "b/face"]


def test_a_given_id_wins_and_other_columns_are_attributes() -> None:
    (row,) = parsed({"uri": "a.png", "id": "anna.1", "box": [0.1, 0.2, 0.9, 1.0], "age": 33, "empty": None})
    assert row.id == "anna.1"
    assert row.attributes == {"box": [0.1, 0.2, 0.9, 1.0], "age": 33}


def test_csv_cells_with_numbers_become_numbers() -> None:
    content = b'\xef\xbb\xbffile_name,id,box,note\na.png,,"0.1,0.2,0.9,1.0",dark room\nb.png,bea,,\n'
    first, second = parse_list(content, "s3://bucket/list.csv", KIND)
    assert first.files["source"] == "s3://bucket/a.png"
    assert first.attributes == {"box": [0.1, 0.2, 0.9, 1.0], "note": "dark room"}
    assert (second.id, second.attributes) == ("bea", {})


@pytest.mark.parametrize(
    ("rows", "uri", "remedy"),
    [
        ([{"id": "a"}], LOCAL, "line 1 names no file"),
        ([{"uri": "a.png"}, {"uri": "a.png"}], LOCAL, "twice"),
        ([{"uri": "file:///etc/a.png"}], "s3://bucket/list.jsonl", "a list in an object store names objects"),
        ([{"uri": "/etc/a.png"}], "s3://bucket/list.jsonl", "a list in an object store names objects"),
        ([{"uri": "../other/a.png"}], "s3://bucket/list.jsonl", "a list in an object store names objects"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(rows: list[dict[str, Any]], uri: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy) as refused:
        parsed(*rows, uri=uri)
    assert refused.value.field == "spec.input.uri"


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="line 1 is not valid JSON"):
        parse_list(b"{not json", LOCAL, KIND)


def test_only_pipelines_that_take_lists_read_them() -> None:
    assert is_list("list.JSONL", KIND)
    assert not is_list("list.jsonl", InputKind((".png",)))
    assert not is_list("photo.png", KIND)


@pytest.mark.parametrize("facts", [32, 33, 40])
def test_facts_above_the_limit_are_named(facts: int) -> None:
    (listed,) = parsed({"uri": "a.png", **{f"k{n}": n for n in range(facts)}})
    assert len(listed.attributes) == 32
    left = [f"k{n}" for n in range(32, facts)]
    assert all(name in " ".join(listed.notes) for name in left[:4]) and bool(listed.notes) == bool(left)
