"""Objects of an input: photos with masks, lists, classes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.samples import is_sample_id
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
    assert replace(single, accounted=cup.accounted) == cup


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
    with pytest.raises(ConfigurationError, match="twice, in lines 1 and 2"):
        list_objects(of_lines({"uri": "x/a.jpg", "id": 7}, {"uri": "y/a.jpg", "id": "7"}))
    with pytest.raises(ConfigurationError, match="line 1 names no file"):
        list_objects(of_lines({"id": "a"}))


def test_zero_is_a_value() -> None:
    found = list_objects(of_lines(*({"uri": "a.jpg", "id": number, "class": number} for number in range(2))))
    assert [each.id for each in found] == ["0", "1"]
    assert class_names(found[0].attributes["roster"], "") == ["0", "1"]


@pytest.mark.parametrize(
    ("mask", "photo"),
    [
        *((f"a{mark}mask{suffix}", "a.png") for mark in "._-" for suffix in (".png", ".jpg", ".jpeg", ".TIF", ".WebP")),
        ("a.mask.PNG", "a.png"),
        ("a_Mask.png", "a.JPG"),
        ("masks/a.png", "a.jpg"),
        ("set/Masks/a.png", "set/images/a.jpg"),
        ("set/images/masks/a_mask.png", "set/images/a.jpg"),
        ("a-alpha.png", "a.jpg"),
        ("a.matte.PNG", "a.jpg"),
        ("alpha/a.png", "images/a.jpg"),
    ],
)
def test_a_mask_is_found_by_any_ending_and_case_and_is_never_an_object(mask: str, photo: str) -> None:
    (found,) = list_objects(Files({mask: b"1", photo: b"2"}))
    assert found.files == {"source": photo, "mask": mask}
    with pytest.raises(ConfigurationError, match="no photo"):
        list_objects(Files({mask: b"1"}))


def test_names_in_any_script_and_equal_stems_get_ids_of_their_own() -> None:
    keys = ["杯子.png", "瓶子.png", "cup.jpg", "cup.png", "x/a.jpg", "y/a.jpg", "кружка.png", "café.png", "🏺.png"]
    found = {each.files["source"]: each for each in list_objects(Files(dict.fromkeys(keys, b"1")))}
    assert {key: each.id for key, each in found.items()} == {
        "杯子.png": "BeiZi",
        "瓶子.png": "PingZi",
        "cup.jpg": "cup.jpg",
        "cup.png": "cup.png",
        "x/a.jpg": "x_a",
        "y/a.jpg": "y_a",
        "кружка.png": "kruzhka",
        "café.png": "caf_",
        "🏺.png": "amphora",
    }
    assert found["杯子.png"].attributes["title"] == "杯子"


FIELDS = ("id", "class", "box", "points", "mask", "maskPolarity", "maskClass", "uri", "note")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FIELDS), JSON)
@pytest.mark.slow
def test_no_value_of_a_json_list_ends_in_a_traceback(field: str, value: object) -> None:
    listing = Files({"list.jsonl": json.dumps({"uri": "a.jpg", field: value}).encode()}, "list.jsonl")
    try:
        (found,) = list_objects(listing)
    except ConfigurationError as refused:
        assert "line 1" in str(refused)
    else:
        json.dumps(found.attributes, ensure_ascii=False).encode()
        assert is_sample_id(found.id)
        if found.rejected is not None:
            assert found.rejected[1].startswith(f"line 1: {field}: ")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(alphabet='a0,."[]{};\n\r\t\x00\u2028 杯', max_size=12), min_size=1, max_size=5))
def test_no_cell_of_a_csv_list_ends_in_a_traceback(cells: list[str]) -> None:
    text = "uri,class,box,points,id\n" + ",".join(cells) + "\n"
    try:
        found = list_objects(Files({"list.csv": text.encode()}, "list.csv"))
    except ConfigurationError as refused:
        assert "line" in str(refused) or "no photo" in str(refused)
    else:
        assert all(is_sample_id(each.id) for each in found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"box": [66, 60, 478, 324]}, "line 1: box: [66, 60, 478, 324] must be left, top, right, bottom as shares"),
        ({"points": {"x": 0.5, "y": 0.5}}, "line 1: points: {'x': 0.5, 'y': 0.5} must be pairs"),
        ({"points": [[0.5, None]]}, "line 1: points: [0.5, None] must be numbers"),
        ({"points": 0.5}, "line 1: points: 0.5 must be pairs"),
        ({"class": "del\x7f"}, "line 1: class: 'del\\x7f' holds '\\x7f'"),
        ({"class": "nl\nname"}, "which readers of YAML and of name lists do not take"),
        ({"class": "nel\x85x"}, "line 1: class"),
        ({"class": "ls\u2028x"}, "line 1: class"),
        ({"class": ["cup"]}, "line 1: class: ['cup'] must be a text"),
        ({"maskClass": "cup"}, "line 1: maskClass: 'cup' must be a number"),
        ({"maskPolarity": "dark"}, "line 1: maskPolarity: 'dark' must be white, black or auto"),
    ],
)
def test_a_line_that_does_not_fit_says_line_field_and_value(line: dict[str, object], said: str) -> None:
    bad, also_bad, good = list_objects(of_lines({"uri": "a.jpg", **line}, {"uri": "b.jpg", **line}, {"uri": "c.jpg"}))
    assert bad.rejected is not None
    assert said in bad.rejected[1]
    assert (bad.id, also_bad.id, good.rejected) == ("a", "b", None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"clas": "cup"}, "line 1 field 'clas' is not read; did you mean 'class'?"),
        ({"id": True}, "line 1: id: True must be a text"),
        ({"mask": 5}, "line 1: mask: 5 must be the name of a file"),
        ({"class": "\ud83d cup"}, "lone surrogate"),
    ],
)
def test_a_list_that_cannot_be_read_says_line_field_and_value(line: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        list_objects(of_lines({"uri": "a.jpg", **line}))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("cell", "points"), [('"0.5,0.5"', [[0.5, 0.5]]), ('"[[0.5, 0.5]]"', [[0.5, 0.5]]), ("0.5", None)]
)
def test_points_in_a_cell(cell: str, points: object) -> None:
    (found,) = list_objects(Files({"l.csv": f"uri,mask,class,points\ncoffee.png,,cup,{cell}\n".encode()}, "l.csv"))
    assert found.attributes.get("points") == points
    assert (found.rejected is None) == (points is not None)


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_a_list_of_a_spreadsheet_is_read_whatever_separates_its_cells(between: str) -> None:
    lines = [["uri", "mask", "class"], ["a.png", "m.png", "cup"]]
    text = "\ufeff" + "\r\n".join(between.join(cells) for cells in lines)
    (found,) = list_objects(Files({"l.csv": text.encode()}, "l.csv"))
    assert found.files == {"source": "file:///photos/a.png", "mask": "file:///photos/m.png"}
    assert found.attributes["class"] == "cup"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a.png,m.png\n", "line 1 is the only one: 'a.png,m.png'"), ("uri\na.png".encode("utf-16"), "as UTF-8")],
)
def test_a_list_without_a_header_and_one_in_another_encoding_say_what_to_do(content: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        list_objects(Files({"l.csv": content}, "l.csv"))


def test_fields_that_nobody_reads_are_named_once() -> None:
    cups = [{"uri": f"cup{n}.png", "weight": n, "shelf": "b"} for n in range(3)]
    listed = list_objects(of_lines(*cups))
    (note,) = [note for each in listed for note in each.notes]
    assert note.startswith("found and not used: field 'weight', field 'shelf' (read are box, class, ")
    assert not [note for each in list_objects(of_lines({"uri": "cup.png", "class": "cup"})) for note in each.notes]
