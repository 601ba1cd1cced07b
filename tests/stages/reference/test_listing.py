"""Objects of an input: photos with masks, lists, classes."""

from __future__ import annotations

import json

import pytest

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.reference.listing import class_names, list_objects


class Files:
    """An input in memory."""

    def __init__(self, files: dict[str, bytes], single: str = "") -> None:
        self.files, self.single, self.uri = files, single, "file:///photos"
        self.keys = sorted(files)

    def size(self, key: str) -> int:
        return len(self.files[key])

    def read(self, key: str) -> bytes:
        return self.files[key]


def of_lines(*lines: dict[str, object]) -> Files:
    return Files({"list.jsonl": "\n".join(json.dumps(line) for line in lines).encode()}, "list.jsonl")


@pytest.mark.parametrize("ending", [".mask.png", "_mask.png"])
def test_masks_lie_beside_their_photos(ending: str) -> None:
    (cup,) = list_objects(Files({"cup.jpg": b"1", f"cup{ending}": b"2"}))
    assert cup.files == {"source": "cup.jpg", "mask": f"cup{ending}"}
    assert (cup.id, cup.attributes["home"], cup.attributes["title"]) == ("cup", "", "cup")
    (single,) = list_objects(Files({"cup.jpg": b"1", f"cup{ending}": b"2"}, "cup.jpg"))
    assert single == cup


def test_several_objects_have_folders_of_their_own_and_classes_in_order() -> None:
    found = list_objects(Files({"red_mug.png": b"1", "bowl.png": b"1", "notes.txt": b""}))
    assert [each.id for each in found] == ["bowl", "red_mug"]
    assert [each.attributes["home"] for each in found] == ["objects/bowl", "objects/red_mug"]
    roster = found[0].attributes["roster"]
    assert class_names(roster, "") == ["bowl", "red mug"]
    assert class_names(roster, "dish") == ["dish"]


def test_lists_name_classes_boxes_and_points() -> None:
    found = list_objects(
        of_lines(
            {"uri": "b.jpg", "class": "mug", "box": [0.1, 0.2, 0.8, 0.9]},
            {"uri": "a.jpg", "class": "cup", "points": [[0.5, 0.5], [0.1, 0.1, 0]]},
            {"uri": "c.jpg", "class": "mug", "mask": "c_alpha.png", "id": "third"},
        )
    )
    assert class_names(found[0].attributes["roster"], "ignored") == ["mug", "cup"]
    assert found[0].attributes["box"] == [0.1, 0.2, 0.8, 0.9]
    assert found[1].attributes["points"] == [[0.5, 0.5], [0.1, 0.1, 0.0]]
    assert found[2].id == "third"
    assert found[2].files == {"source": "file:///photos/c.jpg", "mask": "file:///photos/c_alpha.png"}


@pytest.mark.parametrize("name", ["/etc/passwd", "file:///etc/passwd", "../other/a.jpg"])
def test_a_list_in_an_object_store_names_objects_only(name: str) -> None:
    remote = of_lines({"uri": name})
    remote.uri = "s3://photos"
    with pytest.raises(ConfigurationError, match="only name objects"):
        list_objects(remote)
    remote = of_lines({"uri": "a b.jpg", "mask": "s3://masks/a.png"})
    remote.uri = "s3://photos"
    assert list_objects(remote)[0].files == {"source": "s3://photos/a b.jpg", "mask": "s3://masks/a.png"}


@pytest.mark.parametrize(
    "entry", [{"box": [0.5, 0.5, 0.1, 0.9]}, {"box": [0, 0, 2, 2]}, {"box": "a,b"}, {"points": [[3, 4]]}]
)
def test_an_entry_that_does_not_fit_is_rejected_alone(entry: dict[str, object]) -> None:
    bad, good = list_objects(of_lines({"uri": "a.jpg", **entry}, {"uri": "b.jpg"}))
    assert bad.rejected is not None
    assert bad.rejected[0] == "BadEntry"
    assert good.rejected is None


def test_an_input_without_photos_and_a_list_with_one_name_twice_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no photo"):
        list_objects(Files({"notes.txt": b"1"}))
    with pytest.raises(ConfigurationError, match="twice"):
        list_objects(of_lines({"uri": "x/a.jpg"}, {"uri": "y/a.jpg"}))
    with pytest.raises(ConfigurationError, match="line 1 names no photo"):
        list_objects(of_lines({"id": "a"}))
