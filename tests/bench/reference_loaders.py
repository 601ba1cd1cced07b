"""Whether the loaders of others read a reference-object data set as it was meant: counts, boxes, masks, as JSON.

    python -m venv /tmp/loaders && /tmp/loaders/bin/pip install ultralytics pycocotools mlcroissant datasets
    /tmp/loaders/bin/python tests/bench/reference_loaders.py examples/results/coffee [--train]

Environments of their own, because ultralytics (AGPL) is never a dependency, and RF-DETR (``rfdetr[train]``) and
FiftyOne want other versions of the same packages. A loader that is not installed is reported as such. The folder is
copied to a path with a space, an umlaut and an emoji, and read from another working directory. ``--train`` trains
RF-DETR and ultralytics for one epoch on the CPU, from random weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDERS = ("06_yolo_dataset", "07_cv_augmented_dataset", "07_cv_combined_dataset")
SPLITS = ("train", "val", "test")


def main() -> None:
    """Reads the folder with every loader and prints what each of them found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a published data set")
    parser.add_argument("--train", action="store_true", help="train for an epoch with those that train")
    options = parser.parse_args()
    given: Path = options.output.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        moved, elsewhere = Path(scratch) / "moved by Jörg 🦊" / "set", Path(scratch) / "elsewhere"
        shutil.copytree(given, moved, ignore=shutil.ignore_patterns(".scenewright"))
        elsewhere.mkdir()
        os.chdir(elsewhere)
        os.environ |= {
            "YOLO_CONFIG_DIR": scratch,
            "FIFTYONE_DISABLE_SERVICES": "1",
            "HF_HOME": f"{scratch}/hub",
        }
        os.environ |= {"HF_HUB_OFFLINE": "1", "FIFTYONE_DO_NOT_TRACK": "true", "WANDB_MODE": "disabled"}
        # Otherwise ultralytics downloads the font of its plots.
        (Path(scratch) / "Ultralytics").mkdir()
        (Path(scratch) / "Ultralytics" / "Arial.ttf").touch()
        checks: dict[str, tuple[str, Callable[[Path], Any]]] = {
            "pycocotools": ("pycocotools", coco_check),
            "mlcroissant": ("mlcroissant", croissant_check),
            "datasets": ("datasets", datasets_check),
            "fiftyone": ("fiftyone", fiftyone_check),
            "rfdetr": ("rfdetr", rfdetr_train if options.train else rfdetr_check),
            # The last one: it changes Pillow for the whole process.
            "ultralytics": ("ultralytics", ultralytics_train if options.train else ultralytics_check),
        }
        # Loaders print: only the result goes to standard output.
        result = os.dup(1)
        os.dup2(2, 1)
        found = {
            name: check(moved) if importlib.util.find_spec(package) else "not installed"
            for name, (package, check) in checks.items()
        }
        with os.fdopen(result, "w") as out:
            print(json.dumps(found, indent=1), file=out)


def fiftyone_check(root: Path) -> dict[str, Any]:
    """Images, instances and masks that the COCO importer and the YOLO importer parse, by split.

    The importers are read directly, because a FiftyOne dataset needs MongoDB, which its wheel does not hold.
    """
    from fiftyone.utils.coco import COCODetectionDatasetImporter
    from fiftyone.utils.yolo import YOLOv5DatasetImporter

    found: dict[str, Any] = {}
    for split in SPLITS:
        labels = root / FOLDERS[0] / f"coco_{split}.json"
        if not labels.is_file():
            continue
        coco = COCODetectionDatasetImporter(
            data_path=str(labels.parent), labels_path=str(labels), label_types=["detections", "segmentations"]
        )
        yolo = YOLOv5DatasetImporter(dataset_dir=str(labels.parent), split=split, label_type="polylines")
        read = {}
        for name, importer in (("coco", coco), ("yolo", yolo)):
            importer.setup()
            read[name] = list(importer)
        detections = [each for *_, given in read["coco"] if given for each in given["segmentations"].detections]
        found[split] = {
            "coco": len(read["coco"]),
            "detections": sum(len(given["detections"].detections) for *_, given in read["coco"] if given),
            "masks": sum(bool(each.mask.any()) for each in detections),
            "yolo": len(read["yolo"]),
            "polylines": sum(len(given.polylines) for *_, given in read["yolo"] if given),
            "classes": yolo.get_dataset_info(),
            "absent_images": sum(not Path(path).is_file() for each in read.values() for path, *_ in each),
        }
    return found


def rfdetr_check(root: Path) -> dict[str, Any]:
    """Images and boxes that RF-DETR's own data sets hold, by split."""
    from rfdetr._namespace import _namespace_from_configs
    from rfdetr.config import RFDETRNanoConfig, SegmentationTrainConfig
    from rfdetr.datasets import build_dataset, detect_roboflow_format

    found: dict[str, Any] = {}
    for folder in FOLDERS:
        home = root / folder
        if not (home / "data.yaml").is_file():
            continue
        config = SegmentationTrainConfig(dataset_dir=str(home), dataset_file="roboflow", output_dir="out")
        model = RFDETRNanoConfig(segmentation_head=True, num_classes=2, pretrain_weights=None)
        namespace = _namespace_from_configs(model, config)
        for split in SPLITS:
            try:
                dataset = build_dataset(split, namespace, 192)
            except (OSError, ValueError) as problem:
                found[f"{folder}/{split}"] = f"{type(problem).__name__}: {problem}"[:200]
                continue
            targets = [dataset[number][1] for number in range(len(dataset))]
            found[f"{folder}/{split}"] = {
                "layout": detect_roboflow_format(home),
                "images": len(dataset),
                "boxes": sum(len(each["boxes"]) for each in targets),
                "masks": sum(int(each["masks"].any(-1).any(-1).sum()) for each in targets),
            }
    return found


def rfdetr_train(root: Path) -> dict[str, Any]:
    """One epoch of the smallest RF-DETR from random weights, on the CPU."""
    from rfdetr import RFDETRNano

    model = RFDETRNano(pretrain_weights=None, resolution=128, device="cpu")
    model.train(
        dataset_dir=str(root / FOLDERS[0]), epochs=1, batch_size=2, grad_accum_steps=1, num_workers=0,
        output_dir="rfdetr", use_ema=False, tensorboard=False, wandb=False, accelerator="cpu",
        multi_scale=False, expanded_scales=False,
    )  # fmt: skip
    return {"files": sorted(path.name for path in Path("rfdetr").rglob("*.*"))[:12]}


def ultralytics_train(root: Path) -> dict[str, Any]:
    """One epoch of the smallest segmenting YOLO from random weights, on the CPU."""
    from ultralytics import YOLO

    model = YOLO("yolo11n-seg.yaml")
    done = model.train(
        data=str(root / FOLDERS[0] / "dataset.yaml"), epochs=1, imgsz=128, batch=4, workers=0, device="cpu",
        plots=False, project=str(Path.cwd() / "ultralytics"), verbose=False, amp=False,
    )  # fmt: skip
    return {"metrics": sorted(done.results_dict)}


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


def datasets_check(root: Path) -> dict[str, Any]:
    """Rows by split as ``load_dataset`` reads the folder by its data card, and shards if there are any."""
    from datasets import load_dataset

    found: dict[str, Any] = {}
    given = {"folder": (str(root), {}), "parquet": (str(root / "parquet"), {})}
    tars = root / "webdataset"
    if tars.is_dir():
        files = {split: str(tars / f"{split}-*.tar") for split in SPLITS if list(tars.glob(f"{split}-*.tar"))}
        given["webdataset"] = ("webdataset", {"data_files": files})
    for name, (path, options) in given.items():
        if name != "folder" and not (root / name).is_dir():
            continue
        rows = load_dataset(path, **options)
        first = next(iter(rows.values()))
        picture = "image" if "image" in first.column_names else "png"
        found[name] = {
            "rows": {split: len(part) for split, part in rows.items()},
            "columns": first.column_names,
            "size": list(first[0][picture].size),
        }
    return found


if __name__ == "__main__":
    main()
