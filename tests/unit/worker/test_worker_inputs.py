"""From a listing of the input to samples: files, datasets, selections."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.naming import stem_of, unique_ids
from scenewright_stages.contract.samples import is_sample_id
from scenewright_stages.worker.index.curated import list_dataset
from scenewright_stages.worker.index.files import (
    ignored_files,
    list_files,
    select_entries,
    select_positions,
)
from scenewright_stages.worker.process.endings import exceeds

KIND = InputKind((".png", ".jpg"), {"depth": (".depth.npy", ".depth.png"), "camera": (".camera.json",)})


def test_files_are_samples_in_order_with_their_sidecars() -> None:
    keys = ["b.png", "a.JPG", "a.depth.png", "a.depth.npy", "b.camera.json", "notes.txt", ".hidden.png", ".git/x.png"]
    listed = list_files(keys, KIND)
    assert [(one.id, one.files) for one in listed] == [
        ("a", {"source": "a.JPG", "depth": "a.depth.npy"}),
        ("b", {"source": "b.png", "camera": "b.camera.json"}),
    ]
    assert ignored_files(keys, listed) == ("a.depth.png", "notes.txt")


def test_a_sidecar_without_its_image_is_no_sample() -> None:
    keys = ["a.png", "lost.depth.png"]
    listed = list_files(keys, KIND)
    assert [one.id for one in listed] == ["a"]
    assert ignored_files(keys, listed) == ("lost.depth.png",)


def test_colliding_stems_take_their_ending_and_then_a_hash() -> None:
    assert unique_ids(["x.png", "x.jpg", "y.png"]) == {"x.png": "x.png", "x.jpg": "x.jpg", "y.png": "y"}
    ids = unique_ids(["a b.png", "a_b.png"])
    assert len(set(ids.values())) == 2
    assert all(name.startswith("a_b") for name in ids.values())


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=12))
def test_ids_are_safe_unique_and_independent_of_order(names: list[str]) -> None:
    keys = [f"{name.strip('/') or 'x'}.png" for name in names]
    ids = unique_ids(keys)
    made = [value for value in ids.values() if value]
    assert all(is_sample_id(value) for value in made)
    assert len(set(made)) == len(made)
    assert unique_ids(keys[::-1]) == ids


def test_stems() -> None:
    assert [stem_of(key) for key in ("a.png", "d.x/a", "a.b.png", ".x", "d/.x")] == ["a", "d.x/a", "a.b", ".x", "d/.x"]


@pytest.mark.parametrize(
    ("indices", "limit", "expected"),
    [
        ("", None, [0, 1, 2, 3, 4]),
        ("1-2,4", None, [1, 2, 4]),
        ("4,0", None, [0, 4]),
        ("", 2, [0, 1]),
        ("1-9", 2, [1, 2]),
    ],
)
def test_positions(indices: str, limit: int | None, expected: list[int]) -> None:
    assert select_positions(range(5), indices, limit) == expected


@pytest.mark.parametrize("indices", ["5", "a", "3-1", "1,,2", "-1", "1-2-3"])
def test_positions_that_are_not_there_are_refused(indices: str) -> None:
    with pytest.raises(ConfigurationError, match=r"spec\.input\.select\.indices"):
        select_positions(range(5), indices, None)


ENTRIES = [
    {"photorealistic": {"original_path": "p/0.png"}, "stylized": {"path": "./s/0.png"}, "prompt": "a court"},
    {"photorealistic": {"path": "p/1.png"}, "scaffold": {"path": "no.png"}},
    {"prompt": "falls back"},
]
KEYS = ["metadata.json", "p/0.png", "p/0.depth.npy", "s/0.png", "images/index_0002.jpg"]


def dataset(variants: list[str], entries: object = ENTRIES) -> list[tuple[str, str, tuple[str, str] | None]]:
    listed = list_dataset(json.dumps(entries).encode(), "file:///d", KEYS, KIND, variants)
    return [(one.id, one.files.get("source", ""), one.rejected) for one in listed]


def test_a_dataset_has_a_sample_for_each_entry_and_variant() -> None:
    missing = ("InputMissing", "metadata.json names 'p/1.png', which is not in the folder")
    assert dataset([]) == [
        ("photorealistic/index_0000", "p/0.png", None),
        ("stylized/index_0000", "s/0.png", None),
        ("photorealistic/index_0001", "", missing),
        ("default/index_0002", "images/index_0002.jpg", None),
    ]
    assert [one[0] for one in dataset(["stylized"])] == ["stylized/index_0000"]
    assert dataset([], {"samples": ENTRIES}) == dataset([])


def test_an_entry_without_variants_is_found_by_its_own_index() -> None:
    entries = [{"index": 7}, {"index": 2}, {"index": 12, "stylized": {"filename": "0.png"}}]
    keys = [*KEYS, "images/7.jpg", "images/index_0000.jpg", "images/index_0001.jpg", "stylized/0.png"]
    listed = list_dataset(json.dumps(entries).encode(), "file:///d", keys, KIND, [])
    assert [(one.id, one.files["source"]) for one in listed] == [
        ("default/index_0007", "images/7.jpg"),
        ("default/index_0002", "images/index_0002.jpg"),
        ("stylized/index_0012", "stylized/0.png"),
    ]


def test_selected_indices_are_entries_of_the_dataset() -> None:
    listed = list_dataset(json.dumps(ENTRIES).encode(), "file:///d", KEYS, KIND, [])
    assert [one.id for one in select_entries(listed, "0", None)] == [
        "photorealistic/index_0000",
        "stylized/index_0000",
    ]
    assert [one.id for one in select_entries(listed, "0-2", 3)][-1] == "photorealistic/index_0001"
    with pytest.raises(ConfigurationError):
        select_entries(listed, "9", None)


@pytest.mark.parametrize("content", [b"{", b"3", b'["a"]', b'{"entries": []}'])
def test_a_broken_metadata_file_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"spec\.input\.uri"):
        list_dataset(content, "file:///d", KEYS, KIND, [])


def test_an_unknown_variant_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"photorealistic, stylized"):
        dataset(["painted"])


@pytest.mark.parametrize(
    ("limit", "failed", "total", "expected"),
    [
        (None, 99, 100, False),
        ("20%", 20, 100, False),
        ("20%", 21, 100, True),
        (3, 3, 100, False),
        ("3", 4, 100, True),
        (0, 1, 9, True),
        (0, 0, 9, False),
    ],
)
def test_the_limit_of_failures(limit: str | int | None, failed: int, total: int, expected: bool) -> None:
    assert exceeds(limit, failed, total) is expected


def test_an_invalid_limit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="maxFailedSamples"):
        exceeds("many", 1, 2)
