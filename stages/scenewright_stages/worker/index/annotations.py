"""Recognises labels of other programs among the files that nothing uses, with a way to make masks of them.

People bring photographs with COCO, YOLO, labelme, VIA, CVAT, Supervisely, Label Studio or Pascal VOC files, or with
arrays. Pipelines read pictures as masks only, so the note on what is not used says which program wrote a file and what
to do. A few files of each folder are opened; the rest of the same kind counts as what those are.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

from scenewright_stages.contract.errors import ConfigurationError

Read = Callable[[str], bytes]
"""Content of a file of the input by its key."""
_OPENED = 3
"""Files that are opened of each folder and ending."""
_SAVE = "and save each as <photo>.mask.png"
_NUMBERS = re.compile(r"\s*\d+(?:\s+-?\d*\.?\d+(?:[eE]-?\d+)?){4,}\s*")
_BY_NAME = {
    ".tfrecord": "records of TensorFlow: export masks as PNG from the program that wrote them, " + _SAVE,
    ".mat": "arrays of MATLAB: imwrite(mask, 'photo.mask.png') writes a mask that is read",
    ".npy": "arrays are not read; with numpy and Pillow, Image.fromarray((np.load(file) > 0).astype('uint8') * 255) "
    ".save('<photo>.mask.png') makes a mask of one",
    ".npz": "archives of arrays are not read: save each array as <photo>.mask.png (numpy and Pillow)",
    ".pkl": "pickles are never opened: save masks as <photo>.mask.png",
    ".geojson": "outlines of QuPath or GeoJSON: draw them with cv2.fillPoly " + _SAVE,
    ".ndjson": "labels of Labelbox: export segmentation masks as PNG, " + _SAVE,
}
_COCO = "labels of COCO: draw them with COCO(file).annToMask(annotation) of pycocotools " + _SAVE
_YOLO_NAMES = "names of YOLO's classes: a list (.csv) with uri and class names the objects"
_JSON = {
    "COCO": _COCO,
    "Segment Anything": "masks of Segment Anything as run lengths: decode them with pycocotools.mask.decode " + _SAVE,
    "labelme": "labels of labelme: labelme_export_json (labelme_json_to_dataset before 5.5) draws label.png: name it "
    "<photo>.mask.png",
    "VIA": "labels of VIA: draw all_points_x and all_points_y with cv2.fillPoly " + _SAVE,
    "Supervisely": "labels of Supervisely: sly.Annotation.draw (supervisely) or its export of masks draws them: "
    + _SAVE.removeprefix("and "),
    "Cityscapes": "polygons of Cityscapes: its *_labelIds.png are the masks: name them <photo>.mask.png",
    "Label Studio": "labels of Label Studio: export them as brush labels to PNG, " + _SAVE,
    "CreateML": "boxes of CreateML: a list (.csv) with uri and box (left, top, right, bottom as fractions) names them",
}


def labels_of_programs(keys: Iterable[str], read: Read) -> dict[str, str]:
    """The reason why a file is not used, with a way to use it, for each that another labelling program wrote.

    Args:
        keys: of files that nothing uses.
        read: their content; ConfigurationError for a file too large to be read.
    """
    found: dict[str, str] = {}
    opened: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], str] = {}
    for key in keys:
        ending = PurePosixPath(key).suffix.lower()
        if ending in _BY_NAME:
            found[key] = _BY_NAME[ending]
            continue
        kind = key.rpartition("/")[0], ending
        if ending not in _CONTENT or (opened[kind] >= _OPENED and not last[kind]):
            continue
        if opened[kind] < _OPENED:
            opened[kind] += 1
            last[kind] = _reason(key, ending, read)
        if last[kind]:
            found[key] = last[kind]
    return found


def _reason(key: str, ending: str, read: Read) -> str:
    try:
        return _CONTENT[ending](key, read(key))
    except (ConfigurationError, ValueError, RecursionError, KeyError):
        return ""


def _of_json(key: str, data: bytes) -> str:
    content = json.loads(data)
    return next((_JSON[program] for program, fits in _SHAPES if fits(content)), "")


def _has(content: Any, *names: str) -> bool:
    return isinstance(content, dict) and all(name in content for name in names)


def _first(content: Any) -> Any:
    """The first entry of a list or mapping; None for anything else or nothing."""
    entries = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return next(iter(entries), None)


def _is_via(content: Any) -> bool:
    return _has(content, "_via_img_metadata") or _has(_first(content), "regions", "filename")


def _is_cityscapes(content: Any) -> bool:
    return _has(content, "imgHeight", "objects")


def _is_segment_anything(content: Any) -> bool:
    return _has(content, "image", "annotations") and _has(_first(content["annotations"]), "segmentation")


_SHAPES: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("COCO", lambda content: _has(content, "images", "annotations")),
    ("Segment Anything", _is_segment_anything),
    ("labelme", lambda content: _has(content, "shapes")),
    ("VIA", _is_via),
    ("Cityscapes", _is_cityscapes),
    ("Supervisely", lambda content: _has(content, "objects", "size")),
    ("Label Studio", lambda content: _has(_first(content), "annotations", "data") and isinstance(content, list)),
    ("CreateML", lambda content: _has(_first(content), "image", "annotations") and isinstance(content, list)),
)
"""Programs by what their JSON holds; the first that fits counts."""


def _of_xml(key: str, data: bytes) -> str:
    root = re.search(rb"<([a-zA-Z_]+)[\s>]", data[:4096].partition(b"?>")[2] or data[:4096])
    name = root.group(1).decode() if root else ""
    if name == "annotations":
        return "labels of CVAT: export them again as 'Segmentation mask' " + _SAVE
    if name == "annotation":
        return (
            "boxes of Pascal VOC: the masks are the pictures of SegmentationClass/ or SegmentationObject/, or name "
            "boxes in a list (.csv) with uri and box"
        )
    return ""


def _of_text(key: str, data: bytes) -> str:
    name = PurePosixPath(key).name.lower()
    if name in ("classes.txt", "obj.names", "labels.txt"):
        return _YOLO_NAMES
    lines = data.decode("utf-8-sig").splitlines()
    if not lines or not all(_NUMBERS.fullmatch(line) for line in lines if line.strip()):
        return ""
    if max(len(line.split()) for line in lines) == _BOX:
        return (
            "boxes of YOLO: name them in a list (.csv) with uri and box (left, top, right, bottom as fractions; YOLO's "
            "are centre and size)"
        )
    return "polygons of YOLO: multiply them by the photo's size and draw them with cv2.fillPoly " + _SAVE


_BOX = 5
"""Numbers in a line of YOLO's boxes."""


def _of_yaml(key: str, data: bytes) -> str:
    return _YOLO_NAMES if re.search(rb"^names\s*:", data, re.MULTILINE) else ""


def _of_csv(key: str, data: bytes) -> str:
    header = data[:4096].decode("utf-8-sig", "replace").partition("\n")[0]
    if "region_shape_attributes" in header:
        return _JSON["VIA"]
    if {"xmin", "ymin", "xmax", "ymax"} <= {each.strip().lower() for each in header.split(",")}:
        return "boxes in a table: a list (.csv) with uri and box (left, top, right, bottom as fractions) is read"
    if "uri" in header or "file_name" in header:
        return "a list beside photographs is not read: name it as the input"
    return ""


_CONTENT: dict[str, Callable[[str, bytes], str]] = {
    ".json": _of_json,
    ".xml": _of_xml,
    ".txt": _of_text,
    ".names": _of_text,
    ".yaml": _of_yaml,
    ".yml": _of_yaml,
    ".csv": _of_csv,
}
"""What tells the program, by ending."""
