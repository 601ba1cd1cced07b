"""Finding people with MediaPipe's small models: the astronaut, two of her, and pictures of nobody."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import cv2
import hopper
import numpy as np
import pytest
import skimage.data
from astronaut import outline, photograph
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image
from synthetic_person import overlap

import install_people_models
from scenewright_stages.backends.runtime import registry
from scenewright_stages.backends.runtime.loading import load
from scenewright_stages.backends.segment.interface import SEGMENT, Subject
from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.vision.subjects.people import find_person, learned, models
from scenewright_stages.vision.subjects.people.learned import find_faces, find_people

Mask = NDArray[np.bool_]
HELMET = ((388, 434), (112, 92))
"""Middle and half axes of the helmet that the astronaut holds, in pixels of the photograph."""


def _with_helmet() -> Mask:
    mask = outline().astype(np.uint8)
    cv2.ellipse(mask, HELMET[0], HELMET[1], 0, 0, 360, 1, -1)
    return mask > 0


def test_the_astronaut_is_found_with_all_that_she_wears_and_holds() -> None:
    mine = overlap(find_people(photograph()).mask, _with_helmet())
    classic = overlap(find_person(photograph()).mask, _with_helmet())
    print(f"IoU with the helmet: learned {mine:.3f}, classic {classic:.3f}")
    assert mine >= 0.95
    assert classic < 0.95


def test_the_field_says_whether_the_helmet_belongs_to_her() -> None:
    without = find_people(photograph(), held=False)
    mine = overlap(without.mask, outline())
    everything = overlap(find_people(photograph()).mask, outline())
    print(f"IoU without the helmet: {mine:.3f}; with it {everything:.3f}")
    assert mine >= 0.95
    assert everything < 0.95


def test_a_person_before_a_flag_is_found_where_colours_alone_fail() -> None:
    mine = overlap(find_people(hopper.photograph()).mask, hopper.outline())
    without_held = overlap(find_people(hopper.photograph(), held=False).mask, hopper.outline())
    classic = overlap(find_person(hopper.photograph()).mask, hopper.outline())
    print(f"IoU: learned {mine:.3f}, without what is held {without_held:.3f}, classic {classic:.3f}")
    assert mine >= 0.97
    assert without_held >= 0.97
    assert classic < 0.97


def test_the_largest_of_several_is_the_one_who_covers_most_of_the_picture() -> None:
    picture = photograph()
    small = cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    beside = np.full((512, 50 + small.shape[1], 3), 0.4, np.float32)
    beside[512 - small.shape[0] :, 50:] = small
    both = np.hstack([picture, beside])
    largest, everybody = find_people(both, people="largest").mask, find_people(both).mask
    alone = np.zeros_like(largest)
    alone[:, :512] = _with_helmet()
    assert overlap(largest, alone) >= 0.93
    assert overlap(everybody, alone) < 0.93


def test_everybody_is_found_and_not_the_one_with_the_clearest_face_alone() -> None:
    single, truth = photograph(), _with_helmet()
    both = np.hstack([single, np.full_like(single[:, :200], 0.4), np.ascontiguousarray(single[:, ::-1])])
    people = np.hstack([truth, np.zeros_like(truth[:, :200]), truth[:, ::-1]])
    assert overlap(find_people(both).mask, people) >= 0.93
    left_alone = people.copy()
    left_alone[:, 612:] = False
    assert overlap(left_alone, people) < 0.93


def test_nothing_is_taken_outside_a_given_box() -> None:
    box = (120.0, 0.0, 330.0, 200.0)
    mask = find_people(photograph(), box).mask
    inside = np.zeros_like(mask)
    inside[:212, 108:342] = True
    assert mask[20:150, 180:260].mean() > 0.8
    assert not (mask & ~inside).any()


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "china"])
def test_pictures_without_a_face_are_rejected_though_the_segmentation_alone_finds_something(name: str) -> None:
    pixels = load_sample_image("china.jpg") if name == "china" else getattr(skimage.data, name)()
    picture = pixels.astype(np.float32) / np.float32(255)
    with pytest.raises(SampleRejected, match="no-subject"):
        find_people(picture)
    with pytest.raises(SampleRejected, match="no-subject"):
        load(SEGMENT, "selfie").segment(picture, Subject())
    if name in ("chelsea", "coffee"):
        assert (learned._look(picture) > 0.5).mean() > 0.05


def test_the_face_is_where_it_is() -> None:
    (face,) = find_faces(photograph())
    left, top, right, bottom = face.box
    assert left < 224 < right and top < 110 < bottom  # the tip of the nose
    assert 60 < right - left < 130


def test_the_backend_leaves_what_shows_no_face_to_the_classic_search_and_names_its_models() -> None:
    backend = load(SEGMENT, "selfie")
    without_head = np.ascontiguousarray(photograph()[230:])
    box = (20.0, 0.0, 420.0, 282.0)
    matte = backend.segment(without_head, Subject(box=box))
    assert matte.method == "classic-box"
    assert backend.segment(photograph(), Subject()).method == "selfie"
    use = backend.record.use()
    assert use.licence == "apache-2.0"
    assert "@mediapipe/selfie_segmentation" in use.model
    assert "0.1.1675465747" in use.revision


def test_a_missing_model_names_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    with pytest.raises(models.ModelsNotInstalled, match="install_people_models"):
        models.model_file(models.FACES)


def test_every_model_that_is_run_is_installed() -> None:
    run = {models.FACES, models.FACE_MESH, models.PEOPLE, models.PEOPLE_IN_WIDE_PICTURES}
    assert run == set(install_people_models.PACKAGES)
    assert install_people_models.FOLDER == models.FOLDER


def test_records_name_the_versions_that_are_installed() -> None:
    package = Path(__file__).parents[3] / "tools/people_models/package.json"
    bundled = [weights for facts in registry.backends() for weights in facts.bundled]
    known = {weights.id: weights.revision for weights in bundled if weights.id.startswith("@mediapipe/")}
    assert json.loads(package.read_text())["dependencies"] == known


def test_threads_read_their_networks_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once end the process: OpenCV registers its layers at the first reading."""
    inside, alone = threading.Lock(), []
    start = threading.Barrier(4)

    def read(path: str, engine: int) -> str:
        first = inside.acquire(blocking=False)
        alone.append(first)
        time.sleep(0.02)
        if first:
            inside.release()
        return path

    def work() -> None:
        start.wait()
        models.network(models.FACES)

    monkeypatch.setattr(models.cv2.dnn, "readNetFromTFLite", read)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alone == [True] * 4
