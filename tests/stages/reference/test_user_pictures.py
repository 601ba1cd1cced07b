"""Scenes in the user's own photos and beside the user's own things: light, ground, shadows, splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, StageContext, StageInputs
from scenewright_stages.photographs.pictures import bytes_from_linear, linear_from_bytes, write_json
from scenewright_stages.reference import scenes as scenes_module
from scenewright_stages.reference.backdrop import BackdropStage
from scenewright_stages.reference.companions import read_companions
from scenewright_stages.reference.family import photos_of_split, scene_children
from scenewright_stages.reference.files import write_cutout, write_png
from scenewright_stages.reference.params import PHOTOS, THINGS, ReferenceObjectParams
from scenewright_stages.reference.pipeline import backdrop_stage, named_inputs, scenes_stage
from scenewright_stages.reference.prompts import grammar
from scenewright_stages.reference.scenes import ScenesStage
from scenewright_stages.vision.subjects.scenery.panorama import illumination
from scenewright_stages.vision.subjects.scenery.photo_ground import light_of_photo, without_tone_curve
from scenewright_stages.vision.subjects.scenery.standing import Base
from scenewright_stages.worker.stage.checks import check_result

Bytes = NDArray[np.uint8]
SIDE = 192


def photo(left: int, right: int, width: int = 240, height: int = 200) -> Bytes:
    """A grey room that is brighter on one side."""
    grain = np.random.default_rng(left).integers(-3, 4, (height, width, 1))
    return np.clip(np.linspace(left, right, width)[None, :, None] + grain + np.zeros(3), 0, 255).astype(np.uint8)


def params(folder: Path, **scenes: Any) -> ReferenceObjectParams:
    block = {"background": "photo", "photos": folder.as_uri(), "size": [SIDE, SIDE], "decoys": [0, 0],
             "occluderProbability": 0.0, "seams": ["none"]}  # fmt: skip
    return ReferenceObjectParams.model_validate({"scenes": {**block, **scenes}, "prompts": {"count": 6}})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        write_png(folder / f"room{number}.png", photo(60 + 20 * number, 150))
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture
def view(tmp_path: Path) -> Path:
    """A white cylinder, seen from 30 degrees above."""
    pixels = np.full((90, 60, 4), 255, np.uint8)
    pixels[..., 3] = 0
    pixels[15:75, 10:50, 3] = 255
    cv2.ellipse(pixels, (30, 75), (20, 10), 0, 0, 360, (255, 255, 255, 255), -1)
    cv2.ellipse(pixels, (30, 15), (20, 10), 0, 0, 360, (255, 255, 255, 255), -1)
    return write_cutout(tmp_path / "view.npz", pixels, Base(30.0, 75.0, 20.0, 60.0, 30.0))


def scene(
    folder: Path, given: ReferenceObjectParams, view: Path, number: int = 0, **named: Path
) -> tuple[Bytes, Bytes, Any]:
    """Image, mask and facts of one scene of the family."""
    child = scene_children(given, Sample("cup", attributes={"home": ""}))[number]
    sample = Sample(f"cup{child.ending}", attributes={"home": "", **child.attributes})
    fields = list(grammar(given, "cup", 5))[child.attributes["prompt"]]
    files = {
        ("perspectives", "cutouts"): view,
        ("prompts", "fields"): write_json(folder / "fields.json", vars(fields)),
    }
    workspace = folder / f"work{len(list(folder.iterdir()))}"
    workspace.mkdir()
    stage = ScenesStage(StageContext(scenes_stage(given), given))
    result = stage.process(sample, StageInputs(files, given, 5, workspace, named=named))
    check_result(stage.context.stage, result, workspace)
    image, mask = result.outputs["image"], result.outputs["mask"]
    assert isinstance(image, Pixels)
    assert isinstance(mask, Pixels)
    return image.values, mask.values, result.metrics


def test_an_object_stands_in_a_photo_that_stays_as_it_is_elsewhere(tmp_path: Path, photos: Path, view: Path) -> None:
    given = params(photos)
    image, mask, facts = scene(tmp_path, given, view, **{PHOTOS: photos})
    original = cv2.imread(str(photos / facts["place"]), cv2.IMREAD_COLOR)
    far = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=45) == 0
    assert far.sum() > 500
    offset = cv2.blur(image, (9, 9)).astype(int) - cv2.blur(cv2.resize(original, None, fx=0.96, fy=0.96), (9, 9))[
        :SIDE, :SIDE
    ].astype(int)
    # The part of the photo that is shown lies somewhere along its width, on which its tone depends.
    assert np.quantile(np.abs(offset[far] - np.median(offset[far])), 0.75) < 8
    assert 0.005 < (mask > 0).mean() < 0.4
    below = cv2.dilate(mask, np.ones((9, 9), np.uint8)) & ~cv2.dilate(mask, np.ones((3, 3), np.uint8))
    foot = np.zeros_like(mask)
    foot[np.flatnonzero((mask > 0).any(axis=1))[-1] - 8 :] = 255
    assert offset[(below & foot) > 0].mean() < np.median(offset[far]) - 5, "its shadow begins at its base"


def test_drawn_scenes_differ_in_exposure_and_a_photo_keeps_its_own(
    tmp_path: Path, photos: Path, view: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = params(tmp_path, background="surface", photos="")
    drawn = [scene(tmp_path, given, view, number) for number in range(4)]
    gains = np.array([facts["light_gains"] for _, _, facts in drawn])
    assert np.ptp(np.log(gains[:, 1])) > 0.2
    assert np.ptp(np.log(gains[:, 0] / gains[:, 2])) > 0.05
    for name in ("_EXPOSURE", "_WARMTH"):
        monkeypatch.setattr(scenes_module, name, 0.0)
    for number, (image, mask, _) in enumerate(drawn):
        plain, same, facts = scene(tmp_path, given, view, number)
        assert facts["light_gains"] == [1.0, 1.0, 1.0]
        assert (same == mask).all(), "what stands where does not depend on the camera"
        dim = plain.max(axis=2) < 160
        ratios = linear_from_bytes(image)[dim].mean(axis=0) / linear_from_bytes(plain)[dim].mean(axis=0)
        np.testing.assert_allclose(ratios, gains[number], rtol=0.03)
    assert "light_gains" not in scene(tmp_path, params(photos), view, **{PHOTOS: photos})[2]


def test_the_brighter_side_of_a_photo_lights_the_object(tmp_path: Path, view: Path) -> None:
    found = []
    for name, sides in (("left", (235, 40)), ("right", (40, 235))):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(2):
            write_png(folder / f"{number}.png", photo(*sides, width=200))
        image, mask, _ = scene(tmp_path, params(folder), view, **{PHOTOS: folder})
        columns = np.flatnonzero((mask > 0).any(axis=0))
        middle = (columns[0] + columns[-1]) // 2
        inside = cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0
        found.append(image[:, :middle][inside[:, :middle]].mean() - image[:, middle:][inside[:, middle:]].mean())
    assert found[0] > 4
    assert found[1] < -4


def test_the_light_of_a_photo_has_its_colour_and_never_comes_from_below() -> None:
    red = np.full((80, 80, 3), 0.1, np.float32) * np.array([4, 1, 1], np.float32)
    around, white = light_of_photo(red)
    light = illumination(around, np.full(3, 0.3, np.float32))
    assert light.on_table[0] > 1.5 * light.on_table[1]
    assert (light.directions[:, 1] > 0).all()
    assert light_of_photo(red * 2)[1] > 1.5 * white
    ramp = np.linspace(0, 0.98, 50, dtype=np.float32)
    developed = np.where(
        ramp > 0.75, 0.75 + 0.25 * (1 - np.exp(-(without_tone_curve(ramp) - 0.75) / 0.25)), without_tone_curve(ramp)
    )
    assert np.abs(developed - ramp).max() < 1e-4


@pytest.mark.parametrize("number", [0, 3, 20])
def test_nothing_stands_above_the_ground_line(tmp_path: Path, photos: Path, view: Path, number: int) -> None:
    given = params(photos, ground=0.6)
    _, mask, _ = scene(tmp_path, given, view, number, **{PHOTOS: photos})
    rows = np.flatnonzero((mask > 0).any(axis=1))
    assert rows[-1] > 0.6 * SIDE
    assert rows[0] > 0


@settings(max_examples=50, deadline=None)
@given(count=st.integers(2, 30), ratio=st.floats(0.3, 0.9), salt=st.integers(0, 99))
def test_no_photo_is_in_two_splits(count: int, ratio: float, salt: int) -> None:
    given_ = ReferenceObjectParams.model_validate(
        {"scenes": {"background": "photo", "photos": "file:///p"}, "annotate": {"splitRatio": ratio}}
    )
    names = [f"{salt}-{number}.jpg" for number in range(count)]
    splits = [photos_of_split(names, given_, split) for split in ("train", "val", "test")]
    assert sorted(name for split in splits for name in split) == sorted(names)
    assert splits[0] and splits[1], "two photos are enough"


def test_the_photo_of_a_scene_is_one_of_its_split(tmp_path: Path, photos: Path, view: Path) -> None:
    given = params(photos)
    names = sorted(path.name for path in photos.glob("*.png"))
    children = scene_children(given, Sample("cup", attributes={"home": ""}))
    first = [next(n for n, child in enumerate(children) if child.attributes["prompt"] == prompt) for prompt in range(6)]
    splits = set()
    for number in first:
        split = children[number].attributes["split"]
        splits.add(split)
        _, _, facts = scene(tmp_path, given, view, number, **{PHOTOS: photos})
        assert facts["place"] in photos_of_split(names, given, split)
    assert splits == {"train", "val"}


def test_a_single_photo_cannot_be_split(tmp_path: Path, photos: Path, view: Path) -> None:
    for path in sorted(photos.glob("*.png"))[1:]:
        path.unlink()
    given = params(photos)
    children = scene_children(given, Sample("cup", attributes={"home": ""}))
    numbers = {child.attributes["split"]: number for number, child in enumerate(children)}
    with pytest.raises(ConfigurationError, match="every split needs photos of its own"):
        for number in numbers.values():
            scene(tmp_path, given, view, number, **{PHOTOS: photos})


def test_things_of_the_user_stand_beside_the_object_without_a_label(tmp_path: Path, photos: Path, view: Path) -> None:
    things = tmp_path / "things"
    things.mkdir()
    magenta = np.zeros((80, 50, 4), np.uint8)
    magenta[10:70, 10:40] = (220, 20, 220, 255)
    write_png(things / "block.png", magenta)
    given = params(photos, background="surface", photos="", things=things.as_uri(), decoys=[2, 2])
    assert [each.name for each in named_inputs(given)] == [THINGS]
    image, mask, facts = scene(tmp_path, given, view, **{THINGS: things})
    pixels = image.astype(int)
    alike = (pixels[..., 0] > pixels[..., 1] + 50) & (pixels[..., 2] > pixels[..., 1] + 50)
    assert facts["decoys"] == 2
    assert alike.sum() > 200
    assert (alike & (mask > 0)).sum() < 0.03 * alike.sum()


@pytest.mark.parametrize(
    ("shape", "alpha", "remedy"),
    [(None, 0, "holds no cut-out"), ((40, 40, 3), 0, "alpha channel"), ((40, 40, 4), 255, "nowhere transparent")],
)
def test_things_have_to_be_cut_out(tmp_path: Path, shape: tuple[int, ...] | None, alpha: int, remedy: str) -> None:
    if shape is not None:
        write_png(tmp_path / "thing.png", np.full(shape, alpha, np.uint8))
    with pytest.raises(ConfigurationError, match=remedy):
        read_companions(tmp_path, "things")


def test_the_own_photo_is_emptied_once_and_shows_the_object_again(tmp_path: Path, view: Path) -> None:
    rng = np.random.default_rng(3)
    ground = np.clip(130 + rng.normal(0, 6, (100, 120, 3)), 0, 255).astype(np.uint8)
    cut = np.zeros((100, 120, 4), np.uint8)
    cut[40:70, 45:75] = (200, 30, 30, 255)
    shaded = ground.copy()
    cv2.ellipse(shaded, (72, 70), (34, 9), 0, 0, 360, (60, 60, 60), -1)
    shaded[cut[..., 3] > 0] = ground[cut[..., 3] > 0]
    shown = np.where(cut[..., 3:] > 0, cut[..., :3], cv2.GaussianBlur(shaded, (0, 0), 1.5))
    given = ReferenceObjectParams.model_validate({"scenes": {"background": "own"}})
    workspace = tmp_path / "backdrop"
    workspace.mkdir()
    files = {
        ("white", "photo"): write_png(tmp_path / "photo.png", shown),
        ("white", "cutout"): write_png(tmp_path / "cutout.png", cut),
    }
    made = BackdropStage(StageContext(backdrop_stage(given), given)).process(
        Sample("cup"), StageInputs(files, given, 5, workspace)
    )
    check_result(backdrop_stage(given), made, workspace)
    assert made.metrics["shadow"] > 0.01
    empty = made.outputs["empty"]
    assert isinstance(empty, Pixels)
    inside = cut[..., 3] > 0
    assert np.abs(empty.values[inside].mean(axis=0) - 130).max() < 12, "nothing red is left"
    assert np.array_equal(empty.values[:30], shown[:30])

    child = scene_children(given, Sample("cup", attributes={"home": ""}))[0]
    sample = Sample("cup", attributes={"home": "", **child.attributes})
    fields = next(iter(grammar(given, "cup", 5)))
    files = {
        ("perspectives", "cutouts"): view,
        ("prompts", "fields"): write_json(tmp_path / "fields.json", vars(fields)),
        ("white", "facts"): write_json(tmp_path / "white.json", {"base": {"column": 60.0, "row": 65.0}}),
        ("backdrop", "empty"): write_png(tmp_path / "empty.png", empty.values),
        ("backdrop", "light"): Path(str(made.outputs["light"])),
    }
    spec = scenes_stage(given)
    assert {read.stage for read in spec.reads} == {"perspectives", "prompts", "white", "backdrop"}
    workspace = tmp_path / "scene"
    workspace.mkdir()
    result = ScenesStage(StageContext(spec, given)).process(sample, StageInputs(files, given, 5, workspace))
    image, mask = result.outputs["image"], result.outputs["mask"]
    assert isinstance(image, Pixels)
    assert isinstance(mask, Pixels)
    gains = np.array(result.metrics["light_gains"])
    inside = image.values[cv2.erode(mask.values, np.ones((3, 3), np.uint8)) > 0]
    # White in the light of this iteration.
    assert (inside > 255 * np.minimum(gains, 1) ** (1 / 2.2) - 12).all()
    outside = cv2.dilate(mask.values, np.ones((9, 9), np.uint8)) == 0
    brightness = image.values.mean(axis=2)
    assert brightness[outside].min() < 0.8 * np.median(brightness[outside]), "its shadow is there"


def test_a_small_object_in_a_large_photo_is_emptied_as_if_it_filled_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    height, width, radius = 600, 900, 20
    ground = np.clip(130 + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)
    shade = np.zeros((height, width), np.float32)
    cv2.ellipse(shade, (459, 318), (22, 11), 0, 0, 360, 0.65, -1)
    light = 1 - cv2.GaussianBlur(shade, (0, 0), 1.8)
    cut = cv2.circle(np.zeros((height, width, 4), np.uint8), (450, 300), radius, (200, 30, 30, 255), -1)
    shown = np.where(cut[..., 3:] > 0, cut[..., :3], bytes_from_linear(linear_from_bytes(ground) * light[..., None]))
    given = ReferenceObjectParams.model_validate({"scenes": {"background": "own"}})
    files = {
        ("white", "photo"): write_png(tmp_path / "photo.png", shown),
        ("white", "cutout"): write_png(tmp_path / "cutout.png", cut),
    }
    stage = BackdropStage(StageContext(backdrop_stage(given), given))
    made = stage.process(Sample("cup"), StageInputs(files, given, 5, tmp_path))
    empty = made.outputs["empty"]
    assert isinstance(empty, Pixels)
    changed = (empty.values != shown).any(axis=-1)
    assert changed.sum() < 2.2 * (cut[..., 3] > 0).sum(), "a hole of the photo's size would be ten times the object's"
    left = np.load(str(made.outputs["light"]))["left"]
    beside = (light < 0.8) & (cut[..., 3] == 0)
    error, without = np.abs(left - light)[beside].mean(), np.abs(1 - light)[beside].mean()
    print(f"light off by {error:.3f}, {without:.3f} if no shadow is found")
    assert error < 0.15 < without
