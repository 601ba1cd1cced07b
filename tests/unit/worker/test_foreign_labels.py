"""Labels of other programs beside photographs are named with a way to make masks of them; nothing is passed over."""

from __future__ import annotations

import json

import pytest

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.worker.index.files import input_notes

POLYGON = [0.1, 0.1, 0.9, 0.1, 0.5, 0.9]
COCO = {"images": [], "annotations": [{"segmentation": [POLYGON]}], "categories": []}
LABELME = {"version": "5.5", "shapes": [{"points": [[1, 1]]}], "imagePath": "cup.jpg"}
REGION = {"shape_attributes": {"all_points_x": [1], "all_points_y": [1]}}
VIA = {"cup.jpg123": {"filename": "cup.jpg", "regions": [REGION]}}
SUPERVISELY = {"description": "", "size": {"height": 9, "width": 9}, "objects": [{"geometryType": "polygon"}]}
CITYSCAPES = {"imgHeight": 9, "imgWidth": 9, "objects": [{"label": "car", "polygon": [[1, 1]]}]}
STUDIO = [{"id": 1, "annotations": [{"result": []}], "data": {"image": "cup.jpg"}}]
CREATE_ML = [{"image": "cup.jpg", "annotations": [{"label": "cup", "coordinates": {}}]}]
RUNS = {"image": {"file_name": "cup.jpg"}, "annotations": [{"segmentation": {"counts": "1", "size": [9, 9]}}]}
CASES: dict[str, tuple[str, object, tuple[str, ...]]] = {
    "coco": ("annotations/instances_train.json", COCO, ("COCO", "annToMask")),
    "roboflow": ("_annotations.coco.json", COCO, ("COCO", "annToMask")),
    "labelme": ("cup.json", LABELME, ("labelme", "labelme_export_json")),
    "via": ("via_region_data.json", VIA, ("VIA", "fillPoly")),
    "via-project": ("project.json", {"_via_settings": {}, "_via_img_metadata": VIA}, ("VIA", "fillPoly")),
    "via-csv": ("via.csv", b"filename,region_shape_attributes\n", ("VIA", "fillPoly")),
    "supervisely": ("ann/cup.jpg.json", SUPERVISELY, ("Supervisely", ".mask.png")),
    "cityscapes": ("cup_polygons.json", CITYSCAPES, ("Cityscapes", "labelIds")),
    "label-studio": ("project-1-at-2024.json", STUDIO, ("Label Studio", "PNG")),
    "create-ml": ("_annotations.createml.json", CREATE_ML, ("CreateML", "box")),
    "sam": ("sa_1.json", RUNS, ("Segment Anything", "decode")),
    "yolo-boxes": ("labels/cup.txt", b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n", ("YOLO", "box")),
    "yolo-polygons": ("cup.txt", b"0 0.1 0.1 0.9 0.1 0.5 0.9\n", ("YOLO", "fillPoly")),
    "yolo-names": ("classes.txt", b"cup\nbowl\n", ("YOLO", "class")),
    "yolo-data": ("data.yaml", b"train: x\nnames:\n  0: cup\n", ("YOLO", "class")),
    "cvat": ("annotations.xml", b'<?xml version="1.0"?>\n<annotations><meta/></annotations>', ("CVAT", "mask")),
    "voc": ("Annotations/cup.xml", b"<annotation><object/></annotation>", ("Pascal VOC", "SegmentationClass")),
    "numpy": ("cup_mask.npy", b"\x93NUMPY", ("numpy", ".save('<photo>.mask.png')")),
    "numpy-archive": ("masks/cup.npz", b"PK", ("arrays", ".mask.png")),
    "matlab": ("cup.mat", b"MATLAB 5.0", ("MATLAB", "imwrite")),
    "boxes": ("train.csv", b"filename,xmin,ymin,xmax,ymax\n", ("boxes", "uri and box")),
    "list": ("list.csv", b"uri,class\n", ("list", "input")),
    "records": ("cup.tfrecord", b"", ("TensorFlow", ".mask.png")),
    "labelbox": ("export.ndjson", b"{}", ("Labelbox", "PNG")),
    "qupath": ("cup.geojson", b"{}", ("QuPath", "fillPoly")),
    "pickle": ("cup.pkl", b"", ("pickles", ".mask.png")),
}


def said(files: dict[str, bytes]) -> str:
    (note,) = input_notes(list(files), files.__getitem__)
    return note


@pytest.mark.parametrize("case", CASES)
def test_labels_of_a_program_are_named_with_a_way_to_use_them(case: str) -> None:
    key, content, words = CASES[case]
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    note = said({key: data})
    assert note.startswith(f"found and not used: {key} (")
    assert all(word in note for word in words), note


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("notes.txt", b"0 is the first, and 5 the last"),
        ("prices.csv", b"item,price\n"),
        ("settings.json", b"{}"),
        ("broken.json", b"{"),
        ("deep.json", b"[" * 100_000),
        ("numbers.json", b"7"),
        ("page.xml", b"<page/>"),
        ("latin.txt", "für\n".encode("latin-1")),
        ("empty.txt", b""),
    ],
)
def test_other_files_are_named_and_nothing_is_claimed_of_them(key: str, data: bytes) -> None:
    note = said({key: data})
    assert key in note
    assert "mask" not in note
    assert "YOLO" not in note


def test_one_note_names_thousands_of_labels_and_opens_few_of_them() -> None:
    files = {f"labels/{number:04d}.txt": b"0 0.5 0.5 0.2 0.2" for number in range(2000)}
    opened = []

    def read(key: str) -> bytes:
        opened.append(key)
        return files[key]

    (note,) = input_notes(list(files), read)
    assert "and 1996 more (boxes of YOLO" in note
    assert len(opened) <= 3


def test_a_file_too_large_to_be_read_is_still_named() -> None:
    def read(key: str) -> bytes:
        raise ConfigurationError("spec.input.uri", key, "is too large")

    assert "instances.json" in input_notes(["instances.json"], read)[0]
