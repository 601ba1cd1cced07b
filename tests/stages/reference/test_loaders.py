"""What other loaders read of a published data set: aliases, the data card, Croissant with RAI fields, and shards."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from test_catalogue import FACTS, cup
from test_reference_reruns import everything_done
from toy_chains import chain_of

from scenewright_stages.contract.stage import Catalogue, CatalogueEntry
from scenewright_stages.photographs.card import About, Model, Origin, card
from scenewright_stages.photographs.shards import Row, planned, shards
from scenewright_stages.pipelines import pipeline
from scenewright_stages.reference.catalogue import COLUMNS, index_files

BLOCK: dict[str, Any] = {
    "objectName": "cup",
    "perspectives": {"angles": [-20.0, 20.0]},
    "prompts": {"count": 5},
    "scenes": {"iterations": 1, "emptyShare": 0.0},
    "annotate": {"splitRatio": 0.6, "testShare": 0.2},
    "augment": {"enabled": False},
    "formats": ["webdataset", "parquet"],
}
SPLITS = ("train", "val", "test")


def picture(path: str) -> bytes:
    """A PNG of its own for each path: an image, or its mask."""
    random = np.random.default_rng(list(path.encode()))
    pixels = random.integers(0, 255, (24, 24, 3), np.uint8)
    if path.endswith("/label.png"):
        pixels = np.zeros((24, 24), np.uint8)
        pixels[6:18, 4:12] = 255
    return bytes(cv2.imencode(".png", pixels)[1])


def publication(folder: Path, block: Mapping[str, Any]) -> dict[str, bytes]:
    """Writes the results and index files of a finished run of two cups; returns the index files."""
    objects = [cup("mug", "objects/mug"), cup("pot", "objects/pot")]
    chain = chain_of(pipeline("referenceObject"), block)
    population = chain.population(objects)
    records = everything_done(block, objects)
    entries = []
    for leaf in population[chain.levels[chain.stages[-1].name]]:
        lineage = {each.id: each for each in leaf.lineage()}
        found = {}
        for stage, of in records.items():
            for sample in lineage.keys() & of.keys():
                facts = dict(FACTS.get(stage, {}))
                if stage == "annotate":
                    facts |= {"split": lineage[sample].attributes["split"], "box": [4, 6, 12, 18], "area": 96}
                found[stage] = replace(of[sample], metrics=facts)
        entries.append(CatalogueEntry(leaf, found))
        for output in ("image", "mask", "label"):
            target = folder / found["annotate"].outputs[output].path
            target.parent.mkdir(parents=True, exist_ok=True)
            label = b"0 0.2 0.3 0.5 0.3 0.5 0.7 0.2 0.7\n"
            target.write_bytes(label if output == "label" else picture(found["annotate"].outputs[output].path))
    job = {"spec": {"referenceObject": block}}
    read = lambda path: (folder / path).read_bytes()  # noqa: E731
    written = {}
    for path, content in index_files(Catalogue("cups", entries, job, read=read)).items():
        assert isinstance(content, bytes) or callable(content)
        written[path] = content() if callable(content) else content
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(written[path])
    return written


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("moved") / "by Jörg 🦊"
    return folder, publication(folder, BLOCK)


def test_every_alias_names_the_same_images_once(published: tuple[Path, dict[str, bytes]]) -> None:
    folder, _ = published
    home = folder / "06_yolo_dataset"
    assert (home / "data.yaml").read_bytes() == (home / "dataset.yaml").read_bytes()
    for split, roboflow in zip(SPLITS, ("train", "valid", "test"), strict=True):
        images = {path.resolve() for path in (home / split / "images").glob("*.png")}
        assert images
        own = json.loads((home / f"coco_{split}.json").read_text(encoding="utf-8"))
        alias = json.loads((home / roboflow / "_annotations.coco.json").read_text(encoding="utf-8"))
        for coco, place in ((own, home), (alias, home / roboflow)):
            assert {(place / image["file_name"]).resolve() for image in coco["images"]} == images
        assert own["annotations"] == alias["annotations"]
        assert own["info"] and all(category["supercategory"] for category in own["categories"])
        lines = [json.loads(line) for line in (home / split / "metadata.jsonl").read_text("utf-8").splitlines()]
        assert {(home / split / line["file_name"]).resolve() for line in lines} == images
        assert all((home / split / line["label_path"]).is_file() for line in lines)


def test_without_a_test_split_there_is_no_layout_that_needs_one(tmp_path: Path) -> None:
    written = publication(tmp_path, {**BLOCK, "annotate": {"splitRatio": 0.6}, "formats": []})
    assert "06_yolo_dataset/data.yaml" in written
    assert not [path for path in written if "_annotations" in path]
    assert not [path for path in written if path.startswith(("parquet/", "webdataset/"))]


def test_datasets_reads_the_folder_by_its_card_and_both_kinds_of_shards(
    published: tuple[Path, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import load_dataset

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, _ = published
    cache = {"cache_dir": str(tmp_path)}
    tars = {split: str(folder / "webdataset" / f"{split}-*.tar") for split in SPLITS}
    by_card = load_dataset(str(folder), **cache)
    parquet = load_dataset(str(folder / "parquet"), **cache)
    webdataset = load_dataset("webdataset", data_files=tars, **cache)
    for split in SPLITS:
        images = sorted((folder / "06_yolo_dataset" / split / "images").glob("*.png"))
        wanted = {path.stem: cv2.imread(str(path))[..., ::-1] for path in images}
        rows = parquet["validation" if split == "val" else split]
        found = [
            {row["picture"]: row["image"] for row in by_card[split]},
            {row["picture"]: row["image"] for row in rows},
            {row["json"]["picture"]: row["png"] for row in webdataset[split]},
        ]
        for pictures in found:
            assert pictures.keys() == wanted.keys()
            assert all(np.array_equal(np.asarray(pictures[name]), wanted[name]) for name in wanted)
        assert {(int(np.asarray(row["mask"]).sum()), *row["box"]) for row in rows} == {(96 * 255, 4, 6, 12, 18)}


def test_mlcroissant_reads_the_records_and_the_rai_fields(published: tuple[Path, dict[str, bytes]]) -> None:
    import mlcroissant

    folder, written = published
    data = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert not data.metadata.ctx.issues.errors
    assert len(list(data.records("samples"))) == len(list(data.records("images"))) == 20
    meta = data.metadata
    assert meta.data_limitations and meta.data_biases and meta.personal_sensitive_information and meta.data_use_cases
    content = json.loads(written["croissant.json"])
    for name in ("hasSyntheticData", "dataSocialImpact", "dataCollection", "dataAnnotationProtocol"):
        assert content[f"rai:{name}"]
    assert [each["name"] for each in content["prov:wasDerivedFrom"]] == ["mug.png", "pot.png"]


def test_the_card_has_the_hubs_header_and_counts_what_is_there(published: tuple[Path, dict[str, bytes]]) -> None:
    folder, written = published
    _, header, text = written["README.md"].decode().split("---\n", 2)
    front = yaml.safe_load(header)
    assert front["license"] == "unknown" and front["size_categories"] == ["n<1K"]
    (config,) = front["configs"]
    for each in config["data_files"]:
        images = list(folder.glob(each["path"][0]))
        assert f"| {each['split']} | {len(images)} |" in text
    assert "| mug.png | not stated |" in text and "| pot.png | not stated |" in text


@pytest.mark.parametrize(
    ("licences", "header"),
    [
        (["CC-BY-4.0", "CC-BY-4.0"], {"license": "cc-by-4.0"}),
        (["own work"], {"license": "other", "license_name": "own work"}),
        (["cc0-1.0", "mit"], {"license": "unknown"}),
        (["cc0-1.0", ""], {"license": "unknown"}),
        ([], {"license": "unknown"}),
    ],
)
def test_a_licence_is_only_claimed_if_all_photographs_have_it(licences: list[str], header: dict[str, str]) -> None:
    name = 'a: "b" # | {c}\nd'
    origins = [Origin(f"{number}|.png", licence) for number, licence in enumerate(licences)]
    about = About(
        name, "x", (), "x", "x", (), "x", "x", "x", ("image-to-image",), {"train": 5000}, origins,
        (Model("segment", "sam2", "m", "r", "apache-2.0"),), {}, (),
    )  # fmt: skip
    front = yaml.safe_load(card(about).decode().split("---\n", 2)[1])
    assert front["pretty_name"] == name and front["size_categories"] == ["1K<n<10K"]
    assert {key: front[key] for key in front if key.startswith("license")} == header


def rows(count: int, size: int, splits: tuple[str, ...] = ("train",)) -> list[Row]:
    return [
        Row(f"a.{number}", splits[number % len(splits)], {"image": f"{number}.png"}, size, {})
        for number in range(count)
    ]


def test_shards_are_bounded_in_bytes_and_rows_and_hold_one_split_each() -> None:
    many = rows(50_000, 30_000, ("train", "val"))
    parts = planned(many, 10_000_000, 5_000)
    assert parts.keys() == {"train", "val"}
    for split, shares in parts.items():
        assert [row for share in shares for row in share] == [row for row in many if row.split == split]
        assert all(sum(row.size for row in share) <= 10_000_000 for share in shares)
    assert [len(share) for share in planned(rows(11, 1), 100, 5)["train"]] == [5, 5, 1]
    assert len(planned(rows(3, 1000), 100, 5)["train"]) == 3, "an image that is larger than a shard has its own"


def test_a_shard_is_read_when_it_is_built_and_has_the_same_bytes_again() -> None:
    reads: list[str] = []

    def read(path: str) -> bytes:
        reads.append(path)
        return picture(path)

    planned_files = shards(["webdataset", "parquet"], rows(4, 10, ("train", "test")), COLUMNS, read)
    assert not reads and len(planned_files) == 4
    assert {path: build() for path, build in planned_files.items()} == {
        path: build() for path, build in planned_files.items()
    }
    assert sorted(set(reads)) == [f"{number}.png" for number in range(4)]


def test_names_with_dots_stay_apart_in_a_tar(tmp_path: Path) -> None:
    twins = [
        Row(key, "train", {"image": f"{key}.png", "mask": f"{key}.mask.png"}, 1, {}) for key in ("a.b", "a_b", "a/b")
    ]
    (content,) = shards(["webdataset"], twins, COLUMNS, picture).values()
    (tmp_path / "one.tar").write_bytes(content())
    with tarfile.open(tmp_path / "one.tar") as tar:
        names = tar.getnames()
    assert len(set(names)) == len(names) == 9
    assert {name.partition(".")[0] for name in names} == {"a_b", "a_b_2", "a_b_3"}
