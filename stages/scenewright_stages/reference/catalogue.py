"""Writes the index files of a reference-object data set: loader files, summaries, and ``pipeline_state.json``.

``pipeline_state.json`` is for scripts written for the original pipeline. Scenewright never reads it; the records say
what is done.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scenewright_stages.contract.records import Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Catalogue, Dropped, IndexContent
from scenewright_stages.photographs.card import CARD, About, card, models_of, origins_of
from scenewright_stages.photographs.croissant import CROISSANT, METADATA, Column, ImageKind, croissant
from scenewright_stages.photographs.shards import Row, shards
from scenewright_stages.reference.files import decoded_mask
from scenewright_stages.reference.listing import class_names
from scenewright_stages.reference.params import ReferenceObjectParams, Step
from scenewright_stages.reference.polygons import run_lengths

STEPS = ("white", "perspectives", "prompts", "scenes", "vary", "annotate", "augment")
VARIED = "05_qwen_combined_images"
LABELLED = "06_yolo_dataset"
DEGRADED = "07_cv_augmented_dataset"
COMBINED = "07_cv_combined_dataset"
SPLITS = ("train", "val", "test")
DESCRIPTION = (
    "Pictures of an object in many scenes, made from one photo of it, with the object's outline in each of them: "
    "labels for instance segmentation in the format of YOLO and of COCO."
)
IMAGES = (
    ImageKind(
        "image",
        LABELLED,
        "The scene.",
        includes=f"{LABELLED}/*/images/*.png",
        path=f"{LABELLED}/(?:{'|'.join(SPLITS)})/images/(.*)\\.png$",
    ),
)
DESCRIPTIONS = ("dataset.yaml", "data.yaml")
"""Names of the description of a YOLO data set: what ultralytics' documentation and RF-DETR call it."""
ROBOFLOW = {"train": "train", "val": "valid", "test": "test"}
"""Folders of splits in Roboflow's exports."""
_GENERATORS = {"classic": "classic", "qwen-multicamera": "qwen_multicamera", "zero123": "zero123"}
"""Backends of perspectives by the names that readers of the state know."""
COLUMNS = (
    Column("file_name", "text", "Path of the picture."),
    Column("label_path", "text", "Path of its label for YOLO."),
    Column("id", "text", "The sample."),
    Column("picture", "text", "Name of the picture, its id among the images."),
    Column("split", "text", "train, val or test."),
    Column("class", "text", "Name of the object's class; empty where the object is not in the scene."),
    Column("box", "numbers", "Left, top, right and bottom of the object, pixels; none where it is not in the scene."),
    Column("area", "integer", "Pixels of the object that show."),
    Column("place", "text", "The surroundings."),
    Column("view", "integer", "Number of the view of the object."),
    Column("prompt", "integer", "Number of the prompt."),
)


@dataclass(frozen=True)
class Made:
    """A stage's result: its sample and its record."""

    sample: Sample
    record: Record

    def path(self, output: str) -> str:
        """Path of an output below the publication."""
        return str(self.record.outputs[output].path)


@dataclass(frozen=True)
class DataSet:
    """A publication's results by stage."""

    catalogue: Catalogue
    params: ReferenceObjectParams

    def made(self, stage: str) -> list[Made]:
        """A stage's results in order, once per sample of that stage."""
        return self._by_stage.get(stage, [])

    def kept(self, step: Step) -> list[Made]:
        """A step's results, if its folder is part of the publication."""
        return self.made(step) if self.params.keeps(step) else []

    @cached_property
    def _by_stage(self) -> dict[str, list[Made]]:
        found: dict[str, dict[str, Made]] = {}
        for entry in self.catalogue.entries:
            lineage = {each.id: each for each in entry.sample.lineage()}
            for stage, record in entry.records.items():
                if record.state == "done" and record.sample in lineage:
                    found.setdefault(stage, {}).setdefault(record.sample, Made(lineage[record.sample], record))
        return {stage: list(each.values()) for stage, each in found.items()}

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes, by number."""
        first = next(iter(self.catalogue.entries), None)
        return class_names(first.sample.attributes["roster"], self.params.object_name) if first is not None else []

    def failed(self, *stages: str) -> list[Dropped]:
        """The samples dropped in these stages, each once."""
        return [each for each in self.catalogue.dropped if each.stage in stages and not each.follows]


def index_files(catalogue: Catalogue) -> dict[str, IndexContent]:
    """Content by path of the index files."""
    spec = catalogue.job.get("spec", {}).get("referenceObject") or {}
    data = DataSet(catalogue, ReferenceObjectParams.model_validate(spec))
    files: dict[str, IndexContent] = {"pipeline_state.json": _json(_state(data)), **_scene_files(data)}
    if data.made("annotate"):
        files |= _labelled_files(data)
    if data.made("augment"):
        files |= _degraded_files(data)
    return files


def _scene_files(data: DataSet) -> dict[str, bytes]:
    """``metadata.json`` of every folder of scenes, and the summary of every folder of variations."""
    files: dict[str, bytes] = {}
    for home, made in _by_home(data.kept("scenes")).items():
        entries = [{"file": each.path("image").rpartition("/")[2], **each.record.metrics} for each in made]
        files[f"{home}04_dataset/metadata.json"] = _json(entries)
    for home, made in _by_home(data.kept("vary")).items():
        weathers = Counter(each.record.metrics["weather"] for each in made if each.sample.attributes["variation"])
        summary = {"augmented": weathers.total(), "weathers": dict(sorted(weathers.items()))}
        files[f"{home}05_qwen_augmented_images/augmentation_summary.json"] = _json(summary)
    return files


def _labelled_files(data: DataSet) -> dict[str, IndexContent]:
    """Index files of the labelled images. Each loader finds the name that it looks for; the images exist once.

    ``data.yaml`` is what RF-DETR reads, ``<split>/_annotations.coco.json`` is Roboflow's layout, and
    ``<split>/metadata.jsonl`` gives ``load_dataset`` its splits.
    """
    made = data.made("annotate")
    present = _splits(made)
    lines = [_metadata(each) for each in made]
    metadata = _json_lines(lines)
    about = _about(data, lines)
    description = _yaml({split: f"{split}/images" for split in present}, data.classes)
    files: dict[str, IndexContent] = {
        **{f"{LABELLED}/{name}": description for name in DESCRIPTIONS},
        f"{LABELLED}/classes.txt": "".join(f"{name}\n" for name in data.classes).encode(),
        f"{LABELLED}/annotation_summary.json": _json(_annotation_summary(data)),
        METADATA: metadata,
        CROISSANT: croissant(about, COLUMNS, IMAGES, metadata),
        CARD: card(about),
    }
    for split in present:
        own = [each for each in made if each.sample.attributes["split"] == split]
        coco = _coco(data, own)
        files[f"{LABELLED}/coco_{split}.json"] = _json(coco)
        files[f"{LABELLED}/{split}/{METADATA}"] = _json_lines([_below(_metadata(each), split) for each in own])
        if len(present) == len(SPLITS):
            # RF-DETR prefers this layout to data.yaml, and then fails without a test split.
            files[f"{LABELLED}/{ROBOFLOW[split]}/_annotations.coco.json"] = _json(_roboflow(coco, split))
    return {**files, **shards(data.params.formats, [_row(each) for each in made], COLUMNS, data.catalogue.read)}


def _below(line: Mapping[str, Any], split: str) -> dict[str, Any]:
    """A line of ``metadata.jsonl`` with its paths relative to the split's folder."""
    home = f"{LABELLED}/{split}/"
    return {**line, **{name: line[name].removeprefix(home) for name in ("file_name", "label_path")}}


def _roboflow(coco: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The instances with paths relative to the folder that Roboflow would have put the images in."""
    prefix = f"{split}/" if ROBOFLOW[split] == split else ""
    images = [
        {**image, "file_name": image["file_name"].removeprefix(prefix) if prefix else f"../{image['file_name']}"}
        for image in coco["images"]
    ]
    return {**coco, "images": images}


def _row(each: Made) -> Row:
    outputs = each.record.outputs
    images = {"image": outputs["image"], "mask": outputs["mask"]}
    size = sum(output.size for output in images.values())
    facts = _metadata(each)
    return Row(facts["picture"], facts["split"], {name: output.path for name, output in images.items()}, size, facts)


def _about(data: DataSet, lines: Sequence[Mapping[str, Any]]) -> About:
    """Facts for the data card and the RAI fields."""
    present = _splits(data.made("annotate"))
    painted = data.params.scenes.backend != "classic"
    exact = data.params.annotate.backend == "exact"
    return About(
        name=data.catalogue.name,
        description=DESCRIPTION,
        how=(
            "Each photograph's object was cut out and put on white.",
            "Other views of it were "
            + ("painted by a model." if data.params.perspectives.backend != "classic" else "made by turning a relief.")
            + " Sides that the photograph does not show are invented.",
            "The views were put into scenes that a model painted."
            if painted
            else "The views were rendered into scenes.",
        ),
        labels=(
            "The labels are exact: the compositor knows which pixels it drew."
            if exact
            else f"The labels were found by {data.params.annotate.backend}; nobody has checked them."
        ),
        uses="Training and testing of detectors and segmenters of these objects. Measure them on real photographs.",
        limits=(
            "No picture is a photograph of a real scene.",
            "An object's appearance comes from one photograph, so other specimens and worn ones are not covered.",
            f"Groups ({data.params.annotate.group}) never cross a split. The object itself is in every split.",
            "Each picture shows one labelled object at most; other things in it have no label.",
        ),
        biases="Places, surfaces and light are those of a small set of interiors and outdoor panoramas."
        if not painted
        else "Places and people are those that the painting model prefers.",
        personal="None is intended. The photographs were not searched for people or private details.",
        impact="A detector of one object can be misused to search pictures for it. No other effect is known.",
        tasks=("image-segmentation", "object-detection"),
        counts={split: sum(line["split"] == split for line in lines) for split in present},
        classes=_counts(line["class"] for line in lines if line["class"]),
        origins=origins_of(data.catalogue),
        models=models_of(data.catalogue),
        configs={split: (f"{LABELLED}/{split}/images/*.png", f"{LABELLED}/{split}/{METADATA}") for split in present},
        loading=("from datasets import load_dataset", "", 'data = load_dataset("path/of/this/folder")'),
    )


def _json_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _degraded_files(data: DataSet) -> dict[str, bytes]:
    made = data.made("augment")
    copies = [each for each in made if each.record.metrics["copy"]]
    own = _splits(copies)
    # Validation uses the originals, even if training images are degraded.
    others = [split for split in _splits(made) if split not in own]
    degraded = {
        **{split: f"{split}/images" for split in own},
        **{split: f"../{LABELLED}/{split}/images" for split in others},
    }
    summary = _json(_augmentation_summary(copies))
    combined = _yaml({split: f"{split}/images" for split in _splits(made)}, data.classes)
    files = {f"{COMBINED}/{name}": combined for name in DESCRIPTIONS}
    files[f"{COMBINED}/augmentation_summary.json"] = summary
    if copies:
        # No data.yaml here: RF-DETR refuses splits outside the folder.
        files[f"{DEGRADED}/dataset.yaml"] = _yaml(dict(sorted(degraded.items(), key=_split_order)), data.classes)
        files[f"{DEGRADED}/augmentation_summary.json"] = summary
    return files


def _state(data: DataSet) -> dict[str, Any]:
    """The state in the original pipeline's format; all paths are relative to the publication."""
    white, perspectives, prompts = (data.made(stage) for stage in STEPS[:3])
    varied = [each for each in data.made("vary") if each.sample.attributes["variation"]]
    annotated, augmented = data.made("annotate"), data.made("augment")
    lines = [text for each in prompts for text in each.record.metrics["prompts"]]
    return {
        "completed_steps": [number for number, stage in enumerate(STEPS, start=1) if data.made(stage)],
        "input_image": _one([_name(each.sample) for each in white]),
        "object_name": data.params.object_name or ", ".join(data.classes),
        "white_bg_image": _one([each.path("white") for each in data.kept("white")]),
        "perspective_generator": _GENERATORS[data.params.perspectives.backend],
        "perspective_images": [path for each in data.kept("perspectives") for path in _folder(each.record, "views")],
        "perspective_view_info": [info for each in perspectives for info in each.record.metrics["views"]],
        "prompts": lines,
        "classes": data.classes,
        "generated_images": [each.path("image") for each in data.kept("scenes")],
        "failed_images": [_failure(each) for each in data.failed("scenes")],
        "qwen_combined_images_path": _one([f"{home}{VARIED}" for home in _by_home(data.kept("vary"))]) or None,
        "qwen_augmentation_summary": {"augmented": len(varied)} if data.made("vary") else None,
        "failed_qwen_augmentations": [_failure(each) for each in data.failed("vary")],
        "yolo_dataset_path": LABELLED if annotated else None,
        "annotation_summary": _annotation_summary(data) if annotated else None,
        "cv_augmented_dataset_path": DEGRADED if augmented else None,
        "cv_augmentation_summary": (
            _augmentation_summary([each for each in augmented if each.record.metrics["copy"]]) if augmented else None
        ),
        "failed_cv_augmentations": [_failure(each) for each in data.failed("augment")],
    }


def _annotation_summary(data: DataSet) -> dict[str, Any]:
    made = data.made("annotate")
    metrics = [each.record.metrics for each in made]
    return {
        "images": len(made),
        "empty": sum(each["empty"] for each in metrics),
        "splits": _counts(each["split"] for each in metrics),
        "classes": _counts(each["class"] for each in metrics if not each["empty"]),
        "rejected": _counts(each.reason for each in data.failed("annotate")),
        "group": data.params.annotate.group,
    }


def _augmentation_summary(copies: Sequence[Made]) -> dict[str, Any]:
    metrics = [each.record.metrics for each in copies]
    steps = ("black_and_white", "saturation", "contrast", "brightness", "blur", "qualities")
    return {
        "augmented": len(copies),
        "applied": {step: sum(each[step] not in (None, False, []) for each in metrics) for step in steps},
        "long_blurs": sum(each["long_blur"] for each in metrics),
    }


def _metadata(each: Made) -> dict[str, Any]:
    metrics = each.record.metrics
    return {
        "file_name": each.path("image"),
        "label_path": each.path("label"),
        "id": each.record.sample,
        "picture": each.sample.attributes["picture"],
        "split": metrics["split"],
        "class": metrics["class"] if not metrics["empty"] else "",
        "box": metrics["box"],
        "area": metrics["area"],
        "place": each.sample.attributes["place"],
        "view": each.sample.attributes["view"],
        "prompt": each.sample.attributes["prompt"],
    }


def _coco(data: DataSet, made: Sequence[Made]) -> dict[str, Any]:
    """COCO instances of one split, with masks as uncompressed RLE."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, each in enumerate(made, start=1):
        mask = decoded_mask(data.catalogue.read(each.path("mask")))
        height, width = mask.shape
        name = "/".join(each.path("image").split("/")[1:])
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        metrics = each.record.metrics
        if metrics["box"]:
            left, top, right, bottom = metrics["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": metrics["class_number"] + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": metrics["area"],
                    "iscrowd": 0,
                    "segmentation": run_lengths(mask),
                }
            )
    categories = [
        {"id": number, "name": name, "supercategory": "object"} for number, name in enumerate(data.classes, start=1)
    ]
    # pycocotools' loadRes reads info, and RF-DETR reads supercategory.
    return {
        "info": {"description": data.catalogue.name},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def _yaml(splits: Mapping[str, str], classes: Sequence[str]) -> bytes:
    """Data set description for ultralytics; it omits `path`, so the folder can be moved."""
    lines = [f"{split}: {folder}" for split, folder in splits.items()]
    lines += [f"nc: {len(classes)}", "names:"]
    # Every JSON string is valid YAML, so names with special characters are safe.
    lines += [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(classes)]
    return ("\n".join(lines) + "\n").encode()


def _by_home(made: Iterable[Made]) -> dict[str, list[Made]]:
    found: dict[str, list[Made]] = {}
    for each in made:
        home = each.sample.attributes["home"]
        found.setdefault(f"{home}/" if home else "", []).append(each)
    return found


def _splits(made: Iterable[Made]) -> list[str]:
    present = {each.sample.attributes["split"] for each in made}
    return [split for split in SPLITS if split in present]


def _split_order(item: tuple[str, str]) -> int:
    return SPLITS.index(item[0])


def _folder(record: Record, output: str) -> list[str]:
    return [file.path for file in record.outputs[output].files().values()]


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _failure(dropped: Dropped) -> dict[str, str]:
    return {"sample": dropped.sample.id, "reason": dropped.reason, "message": dropped.message}


def _name(sample: Sample) -> str:
    source = sample.root.source
    return source.uri.rpartition("/")[2] if source is not None else ""


def _one(values: Sequence[str]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
