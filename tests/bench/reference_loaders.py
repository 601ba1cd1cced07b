"""Whether the loaders of others read a reference-object data set as it was meant: counts, boxes, masks, as JSON.

    python -m venv /tmp/loaders && /tmp/loaders/bin/pip install ultralytics pycocotools mlcroissant datasets
    /tmp/loaders/bin/python tests/bench/reference_loaders.py examples/results/coffee

An environment of its own, because ultralytics (AGPL) is never a dependency. The folder is copied elsewhere and read
from another working directory, as users do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDERS = ("06_yolo_dataset", "07_cv_augmented_dataset", "07_cv_combined_dataset")
SPLITS = ("train", "val", "test")


def main() -> None:
    """Reads the folder with every loader and prints what each of them found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="a published data set")
    given: Path = parser.parse_args().output.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        moved, elsewhere = Path(scratch) / "moved" / "set", Path(scratch) / "elsewhere"
        shutil.copytree(given, moved, ignore=shutil.ignore_patterns(".scenewright"))
        elsewhere.mkdir()
        os.chdir(elsewhere)
        os.environ["YOLO_CONFIG_DIR"] = scratch
        # Otherwise ultralytics downloads the font of its plots.
        (Path(scratch) / "Ultralytics").mkdir()
        (Path(scratch) / "Ultralytics" / "Arial.ttf").touch()
        checks: dict[str, Callable[[Path], Any]] = {
            "pycocotools": coco_check,
            "mlcroissant": croissant_check,
            "imagefolder": imagefolder_check,
            # The last one: it changes Pillow for the whole process.
            "ultralytics": ultralytics_check,
        }
        with contextlib.redirect_stdout(sys.stderr):
            found = {name: check(moved) for name, check in checks.items()}
    print(json.dumps(found, indent=1))


def ultralytics_check(root: Path) -> dict[str, Any]:
    """Images, backgrounds and corrupt files by folder and split; the first image goes through the loader."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data import build_yolo_dataset
    from ultralytics.data.utils import check_det_dataset

    found: dict[str, Any] = {}
    for folder in FOLDERS:
        if not (root / folder).is_dir():
            continue
        data = check_det_dataset(str(root / folder / "dataset.yaml"), autodownload=False)
        for split in SPLITS:
            if not data.get(split):
                continue
            config = get_cfg(overrides={"task": "segment", "imgsz": 320})
            dataset = build_yolo_dataset(config, data[split], batch=2, data=data, mode="val")
            labels = [label for label in dataset.labels if len(label["cls"])]
            counts, _, corrupt = _cache_counts(Path(data[split]).parent / "labels.cache")
            sample = dataset[0]
            found[f"{folder}/{split}"] = {
                "images": len(dataset),
                "backgrounds": len(dataset) - len(labels),
                "empty_label_files": _empty(Path(data[split])),
                "found": counts,
                "corrupt": corrupt,
                "mask_shape": list(sample["masks"].shape),
                "names": data["names"],
            }
    return found


def _cache_counts(cache: Path) -> tuple[int, int, int]:
    import numpy as np

    found, missing, _, corrupt, *_ = np.load(cache, allow_pickle=True).item()["results"]
    return int(found), int(missing), int(corrupt)


def _empty(images: Path) -> int:
    labels = images.parent / "labels"
    return sum(path.stat().st_size == 0 for path in labels.glob("*.txt"))


def coco_check(root: Path) -> dict[str, Any]:
    """Images and annotations by split, and how far decoded masks are from areas and boxes."""
    from pycocotools.coco import COCO

    found = {}
    for path in sorted((root / FOLDERS[0]).glob("coco_*.json")):
        coco = COCO(str(path))
        anns = coco.loadAnns(coco.getAnnIds())
        wrong = sum(int(coco.annToMask(each).sum()) != each["area"] for each in anns)
        absent = sum(not (path.parent / each["file_name"]).is_file() for each in coco.loadImgs(coco.getImgIds()))
        found[path.stem] = {
            "images": len(coco.imgs),
            "annotations": len(anns),
            "wrong_areas": wrong,
            "absent_images": absent,
        }
    return found


def croissant_check(root: Path) -> dict[str, Any]:
    """Records of every set, and the size of the first image."""
    import mlcroissant

    dataset = mlcroissant.Dataset(str(root / "croissant.json"))
    samples, images = list(dataset.records("samples")), list(dataset.records("images"))
    return {
        "samples": len(samples),
        "images": len(images),
        "same_names": {each["samples/picture"] for each in samples} == {each["images/id"] for each in images},
        "size": list(images[0]["images/image"].size),
    }


def imagefolder_check(root: Path) -> dict[str, Any]:
    """Rows and columns as Hugging Face's imagefolder reads them."""
    from datasets import load_dataset

    rows = load_dataset(
        "imagefolder",
        data_dir=str(root),
        data_files=["metadata.jsonl", "06_yolo_dataset/*/images/*.png"],
        split="train",
    )
    return {"rows": len(rows), "columns": rows.column_names, "size": list(rows[0]["image"].size)}


if __name__ == "__main__":
    main()
