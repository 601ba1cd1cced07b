"""A cup with its mask becomes a data set, by the command that users type, in the processes that users get."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from label_masks import area_fill, parse_labels, truncating_fill
from relight_jobs import json_lines
from scene_jobs import assert_consistent, scenewright
from tiny_flux import save_tiny_flux

from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record

pytestmark = pytest.mark.slow

INPUTS = Path(__file__).parents[2] / "examples" / "inputs"
SMALL: dict[str, Any] = {
    "objectName": "cup",
    "perspectives": {"angles": [-20.0, 20.0]},
    "prompts": {"count": 2},
    "scenes": {"iterations": 1, "size": [160, 160], "emptyShare": 0.5, "decoys": [0, 1]},
}


def write_job(folder: Path, source: Path, block: dict[str, Any], **execution: Any) -> Path:
    path = folder / "job.yaml"
    content = {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "DatasetJob",
        "metadata": {"name": "cups"},
        "spec": {
            "input": {"uri": str(source)},
            "output": {"uri": str(folder / "out")},
            "referenceObject": block,
            "execution": {"seed": 4, **execution},
        },
    }
    path.write_text(json.dumps(content))
    return path


def run(folder: Path, source: Path, block: dict[str, Any]) -> Path:
    ended = scenewright("run", write_job(folder, source, block))
    assert ended.code == 0, ended.stderr
    assert_consistent(folder / "out")
    return folder / "out"


def record_lines(output: Path, stage: str) -> list[Record]:
    """All records that a stage has written, in the order of their files."""
    files = sorted((output / layout.ROOT / stage).rglob("*.jsonl"))
    return [Record.from_line(line) for file in files for line in file.read_text().splitlines() if line]


def ran(output: Path) -> dict[tuple[str, str], str]:
    """When every stage did every sample, by stage and sample."""
    found: dict[tuple[str, str], str] = {}
    for stage in ("white", "perspectives", "prompts", "scenes", "vary", "annotate", "augment"):
        for record in record_lines(output, stage):
            if record.state == "done":
                found[stage, record.sample] = max(str(record.at), found.get((stage, record.sample), ""))
    return found


def new_work(before: dict[tuple[str, str], str], output: Path) -> set[tuple[str, str]]:
    """Stage and sample of what was done since then."""
    return {key for key, at in ran(output).items() if before.get(key) != at}


def tree(output: Path) -> dict[str, bytes]:
    files = (path for path in output.rglob("*") if path.is_file() and layout.ROOT not in path.parts)
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files if path.name != "report.html"}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    for name in ("coffee.png", "coffee.mask.png"):
        shutil.copy(INPUTS / name, tmp_path)
    return tmp_path / "coffee.png"


def test_one_photo_becomes_a_data_set_and_changes_run_only_what_depends_on_them(tmp_path: Path, photo: Path) -> None:
    output = run(tmp_path, photo, SMALL)
    files = tree(output)
    white = cv2.imread(str(output / "01_white_background.png"))
    mask = cv2.imread(str(photo.with_name("coffee.mask.png")), cv2.IMREAD_GRAYSCALE)
    assert (white[cv2.dilate(mask, np.ones((25, 25))) == 0] == 255).all()
    core = cv2.erode(mask, np.ones((25, 25))) > 0
    assert np.array_equal(white[core], cv2.imread(str(photo))[core])
    assert len([name for name in files if name.startswith("02_perspectives/")]) == 2
    assert len(files["03_prompts/prompts.txt"].splitlines()) == 2
    assert files["03_prompts/classes.txt"] == files["06_yolo_dataset/classes.txt"] == b"cup\n"
    _check_labels(output, images=6, empty=2)
    described = yaml.safe_load(files["06_yolo_dataset/dataset.yaml"])
    assert described == {"train": "train/images", "val": "val/images", "nc": 1, "names": {0: "cup"}}
    assert not any("overlay" in name or "visual" in name for name in files)
    _check_degraded(output)
    state = json.loads(files["pipeline_state.json"])
    assert state["completed_steps"] == [1, 2, 3, 4, 6, 7]
    assert len(state["generated_images"]) == 6
    assert all((output / path).is_file() for path in state["generated_images"] + state["perspective_images"])
    _check_croissant(output)
    coco = [json.loads(files[f"06_yolo_dataset/coco_{split}.json"]) for split in ("train", "val")]
    assert sum(len(each["annotations"]) for each in coco) == 4

    before = ran(output)
    block = {**SMALL, "augment": {"motionBlurRange": [5, 9]}}
    run(tmp_path, photo, block)
    assert {stage for stage, _ in new_work(before, output)} == {"augment"}
    images = {name: data for name, data in tree(output).items() if name.startswith(("04_", "06_"))}
    assert images == {name: data for name, data in files.items() if name.startswith(("04_", "06_"))}

    before = ran(output)
    more = run(tmp_path, photo, {**block, "prompts": {"count": 3}})
    new = new_work(before, more)
    assert {stage for stage, _ in new} == {"prompts", "scenes", "annotate", "augment"}
    others = [each for each in sorted(new) if each[0] != "prompts" and "_prompt_2_" not in each[1]]
    assert not others
    pictures = {name: data for name, data in images.items() if name.endswith((".png", ".txt"))}
    assert pictures.items() <= tree(more).items()


def _check_croissant(output: Path) -> None:
    """What mlcroissant reads are the lines of ``metadata.jsonl``, and the images that they name."""
    import mlcroissant

    found = mlcroissant.Dataset(str(output / "croissant.json"))
    lines = json_lines(output / "metadata.jsonl")
    assert [row["samples/picture"].decode() for row in found.records("samples")] == [each["picture"] for each in lines]
    # Hugging Face's imagefolder opens whatever a column with this ending names as a picture, labels too.
    assert [name for name in lines[0] if name.endswith("file_name")] == ["file_name"]
    images = {row["images/id"].decode(): row["images/image"] for row in found.records("images")}
    assert images.keys() == {each["picture"] for each in lines}
    assert images[lines[0]["picture"]].size == (160, 160)


def _check_labels(output: Path, images: int, empty: int) -> None:
    """Every label is the mask that the compositor knew; scenes without the object have empty ones."""
    pictures = sorted((output / "06_yolo_dataset").glob("*/images/*.png"))
    assert len(pictures) == images
    without = 0
    for picture in pictures:
        text = picture.parents[1].joinpath("labels", f"{picture.stem}.txt").read_text()
        height, width = cv2.imread(str(picture)).shape[:2]
        original = output / layout.ROOT / "work" / "coffee" / picture.stem / "mask.png"
        mask = cv2.imread(str(original), cv2.IMREAD_GRAYSCALE) > 127
        if not text:
            assert picture.stem.startswith("empty_")
            assert not mask.any()
            without += 1
            continue
        ((number, polygon),) = parse_labels(text, width, height)
        assert number == 0
        for fill in (truncating_fill, area_fill):
            found = fill(polygon, width, height)
            assert (found & mask).sum() / (found | mask).sum() > 0.98
    assert without == empty


def _check_degraded(output: Path) -> None:
    """Step 7 holds all originals and degraded copies of the training images, with their labels byte for byte."""
    original, combined = output / "06_yolo_dataset", output / "07_cv_combined_dataset"
    for label in original.glob("*/labels/*.txt"):
        split = label.parts[-3]
        assert (combined / split / "labels" / label.name).read_bytes() == label.read_bytes()
        picture = original / split / "images" / f"{label.stem}.png"
        assert (combined / split / "images" / picture.name).read_bytes() == picture.read_bytes()
        copy = combined / split / "labels" / f"{label.stem}_cv_0.txt"
        assert copy.is_file() == (split == "train")
        if split == "train":
            assert copy.read_bytes() == label.read_bytes()
            degraded = cv2.imread(str(combined / split / "images" / f"{label.stem}_cv_0.png"))
            assert np.abs(degraded.astype(int) - cv2.imread(str(picture))).mean() > 1
    described = yaml.safe_load((output / "07_cv_augmented_dataset" / "dataset.yaml").read_text())
    assert described["val"] == "../06_yolo_dataset/val/images"


def test_two_objects_share_a_data_set_and_two_runs_give_the_same_bytes(tmp_path: Path, photo: Path) -> None:
    mug = cv2.imread(str(photo))[:, ::-1]
    cv2.imwrite(str(tmp_path / "mirrored.png"), mug)
    cv2.imwrite(str(tmp_path / "mirrored_mask.png"), cv2.imread(str(photo.with_name("coffee.mask.png")))[:, ::-1])
    lines = [{"uri": "coffee.png", "class": "cup", "mask": "coffee.mask.png"}]
    lines += [{"uri": "mirrored.png", "class": "mug", "mask": "mirrored_mask.png"}]
    lines += [{"uri": "absent.png", "class": "cup"}]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    block = {**SMALL, "vary": {"enabled": True}, "augment": {"enabled": False}}
    trees = []
    for name, in_shards in (("one", {}), ("two", {"samplesPerShard": 12})):
        folder = tmp_path / name
        folder.mkdir()
        ended = scenewright("run", write_job(folder, tmp_path / "list.jsonl", block, **in_shards))
        assert "absent.png" in (folder / "out" / "dropped.csv").read_text() + ended.stderr
        trees.append(tree(folder / "out"))
    assert trees[0] == trees[1]
    files = trees[0]
    assert files["06_yolo_dataset/classes.txt"] == b"cup\nmug\n"
    assert {name.split("/")[1] for name in files if name.startswith("objects/")} == {"coffee", "mirrored"}
    numbers = {data[:1] for name, data in files.items() if "/labels/mirrored_perspective" in name}
    assert numbers == {b"1"}
    combined = [name for name in files if "/05_qwen_combined_images/" in name]
    varied = [name for name in files if "/05_qwen_augmented_images/" in name and name.endswith(".png")]
    assert (len(combined), len(varied)) == (24, 12)
    lines_of = {line["id"]: line for line in json_lines(tmp_path / "one" / "out" / "metadata.jsonl")}
    assert len(lines_of) == 24
    places: dict[str, set[str]] = {}
    for line in lines_of.values():
        places.setdefault(line["place"], set()).add(line["split"])
    assert all(len(splits) == 1 for splits in places.values())


def test_a_photo_without_a_clear_object_is_left_out(tmp_path: Path) -> None:
    shutil.copy(INPUTS / "coffee.png", tmp_path)
    ended = scenewright("run", write_job(tmp_path, tmp_path / "coffee.png", SMALL))
    assert ended.code == 1
    assert "no-clear-object" in (tmp_path / "out" / "dropped.csv").read_text()


def test_scenes_that_a_model_paints_around_the_object_are_labelled_exactly(tmp_path: Path, photo: Path) -> None:
    """With random weights FLUX Fill paints noise around the cup, in two threads of a worker process."""
    cache = tmp_path / "models"
    folder = cache / "black-forest-labs" / "FLUX.1-Fill-dev"
    folder.parent.mkdir(parents=True)
    save_tiny_flux(folder, with_encoders=True)
    block = {
        **SMALL,
        "perspectives": {"angles": [0.0]},
        "scenes": {"backend": "flux-fill", "precision": "fp32", "steps": 2, "iterations": 1, "size": [128, 128]},
        "augment": {"enabled": False},
    }
    job = json.loads(write_job(tmp_path, photo, block).read_text())
    job["spec"]["models"] = {"acceptLicenses": ["flux-1-dev-non-commercial"]}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    ended = scenewright("run", tmp_path / "job.yaml", environment={"SCENEWRIGHT_MODEL_CACHE": str(cache)})
    assert ended.code == 0, ended.stderr
    output = tmp_path / "out"
    assert_consistent(output)
    scenes = [cv2.imread(str(path)) for path in sorted((output / "04_dataset").glob("*.png"))]
    assert len(scenes) == 2
    # Each prompt has surroundings of its own.
    assert np.abs(scenes[0].astype(int) - scenes[1]).mean() > 5
    used = [use for record in record_lines(output, "scenes") for use in record.backends]
    assert {use["backend"] for use in used} == {"flux-fill"}
    assert all(use["revision"].startswith("local-") for use in used)
    _check_labels(output, images=2, empty=0)
