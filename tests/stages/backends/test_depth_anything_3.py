"""Depth Anything 3: its networks give what the published code gives with equal weights, and files are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_da3 import FOLDERS, MAIN, PLAIN, save_tiny_da3, tiny_network
from tiny_vggt import tiny_pictures

from scenewright_stages.backends.depth.da3 import estimator
from scenewright_stages.backends.depth.da3.checkpoint import CHECKPOINT
from scenewright_stages.backends.depth.da3.estimator import (
    Da3Estimator,
    believed_sky,
    fitted_picture,
    intrinsics_of,
    spread,
    whole_patches,
)
from scenewright_stages.backends.depth.da3.network import PUBLISHED, Da3Network, expected_shapes
from scenewright_stages.backends.depth.depth_anything import AssumedRange
from scenewright_stages.backends.depth.interface import DEPTH
from scenewright_stages.backends.runtime.checkpoints import SHAPE
from scenewright_stages.backends.runtime.errors import (
    BackendContractError,
    BrokenWeights,
    LicenceNotAccepted,
    MissingWeights,
    UnsupportedOption,
)
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.backends.runtime.registry import find_backend

LICENCES = frozenset({"cc-by-nc-4.0"})
SPOTS = ((0, 0), (21, 23), (41, 69))
PICTURE = tiny_pictures(1, 40, 60)[0].permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_da3(tmp_path_factory.mktemp("cache"))


def load(cache: Path, variant: str = "base", **options: Any) -> Da3Estimator:
    context = ModelContext(cache, "cpu", LICENCES, variant, options={"resolution": 84, **options})
    found = ModelPool().load(DEPTH, "depth-anything-3", context)
    assert isinstance(found, Da3Estimator)
    return found


def at_spots(values: torch.Tensor) -> torch.Tensor:
    return torch.stack([values[row, column] for row, column in SPOTS])


def close(found: torch.Tensor, golden: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(golden), atol=2e-5, rtol=2e-5)


def given() -> torch.Tensor:
    """(1, 3, 42, 70): normalised roughly as pictures are."""
    return (tiny_pictures(2, 42, 70)[1:] - 0.45) / 0.225


def test_the_main_network_gives_what_the_published_code_gives_with_equal_weights() -> None:
    network = tiny_network(MAIN)
    answer = network(given())
    assert answer.confidence is not None and answer.fields is not None and answer.sky is None
    close(at_spots(answer.depth[0]), [1.23645, 1.232429, 1.305385])
    close(at_spots(answer.confidence[0]), [1.95075, 1.93958, 1.957984])
    close(answer.fields[0], [0.890268, 1.035480])
    # The maps are smooth: only the tokens show where every patch is.
    tokens = network.backbone.pretrained(given())[0][-1][0]
    close(torch.stack([tokens[3, 5], tokens[14, -1], tokens[0, 40]]), [-7.695777, 0.183804, -0.955655])


def test_the_plain_network_gives_what_the_published_code_gives_with_equal_weights() -> None:
    network = tiny_network(PLAIN)
    answer = network(given())
    assert answer.sky is not None and answer.confidence is None and answer.fields is None
    close(at_spots(answer.depth[0]), [1.243548, 1.235816, 1.276603])
    close(at_spots(answer.sky[0]), [0.197954, 0.311803, 0.240301])
    tokens = network.backbone.pretrained(given())[0][-1][0]
    close(torch.stack([tokens[3, 5], tokens[14, -1], tokens[0, 20]]), [-1.032164, 0.040649, -0.545178])


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    network, pictures = tiny_network(MAIN), (tiny_pictures(3, 42, 56) - 0.45) / 0.225
    together = network(pictures).depth
    for number in range(3):
        torch.testing.assert_close(together[number], network(pictures[number : number + 1]).depth[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "count", "parameters"),
    [
        ("DA3-SMALL", 443, 34_299_655),
        ("DA3-BASE", 443, 135_366_791),
        ("DA3-LARGE-1.1", 643, 410_941_959),
        ("DA3METRIC-LARGE", 406, 334_171_394),
        ("DA3MONO-LARGE", 406, 334_171_394),
    ],
)
def test_a_published_network_has_the_published_tensors(name: str, count: int, parameters: int) -> None:
    with torch.device("meta"):
        shapes = expected_shapes(Da3Network(PUBLISHED[name]))
    assert (len(shapes), sum(torch.Size(shape).numel() for shape in shapes.values())) == (count, parameters)
    width = PUBLISHED[name].width
    assert shapes["model.backbone.pretrained.pos_embed"] == (1, 1370, width)
    assert ("model.backbone.pretrained.camera_token" in shapes) == ("model.cam_enc.trunk.3.attn.qkv.weight" in shapes)
    assert ("model.head.scratch.sky_output_conv2.2.bias" in shapes) == (PUBLISHED[name].alternates is None)
    assert shapes.get("model.head.scratch.output_conv2_aux.3.2.weight", (32,)) == (32,)


def test_the_facts_say_how_large_the_files_are() -> None:
    facts = find_backend("depth", "depth-anything-3")
    assert facts is not None
    for sets in facts.weights.values():
        for weights in sets:
            with torch.device("meta"):
                shapes = expected_shapes(Da3Network(PUBLISHED[weights.id.rpartition("/")[2]]))
            size = 4 * sum(torch.Size(shape).numel() for shape in shapes.values())
            assert weights.approximate_bytes == pytest.approx(size, rel=0.05)


def rewritten(cache: Path, tmp_path: Path, change: Any) -> Path:
    """A cache whose base network's tensors are changed."""
    folder = tmp_path / "depth-anything" / "DA3-BASE"
    folder.mkdir(parents=True)
    source = cache / "depth-anything" / "DA3-BASE"
    tensors = load_file(source / CHECKPOINT)
    change(tensors)
    save_file(tensors, folder / CHECKPOINT)
    (folder / SHAPE).write_text((source / SHAPE).read_text())
    return tmp_path


TOKEN = "model.backbone.pretrained.camera_token"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensors: tensors.pop(TOKEN), f"it lacks {TOKEN}"),
        (lambda tensors: tensors.update({"model.gs_head.bias": torch.zeros(1)}), "model.gs_head.bias is not a tensor"),
        (lambda tensors: tensors.update({TOKEN: torch.zeros(1, 2, 33)}), rf"{TOKEN} has the shape \(1, 2, 33\)"),
    ],
)
def test_missing_unknown_and_wrong_tensors_are_refused_by_name(
    cache: Path, tmp_path: Path, change: Any, named: str
) -> None:
    with pytest.raises(BrokenWeights, match=named):
        load(rewritten(cache, tmp_path, change))


def test_a_file_that_cannot_be_read_is_refused(cache: Path, tmp_path: Path) -> None:
    broken = rewritten(cache, tmp_path, lambda tensors: None)
    (broken / "depth-anything" / "DA3-BASE" / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(BrokenWeights, match="cannot be read"):
        load(broken)
    (broken / "depth-anything" / "DA3-BASE" / SHAPE).write_text(json.dumps({"head": {}}))
    with pytest.raises(BrokenWeights, match="does not describe a network"):
        load(broken)
    with pytest.raises(MissingWeights, match="DA3-SMALL"):
        load(broken, "small")


def test_the_main_series_gives_depth_up_to_one_factor_and_the_camera(cache: Path) -> None:
    estimate = load(cache).estimate(PICTURE)
    assert not estimate.is_metric and "up to one factor" in estimate.notes[0]
    assert estimate.valid.all() and estimate.depth.shape == PICTURE.shape[:2]
    assert estimate.intrinsics is not None
    degrees = np.degrees(2 * np.arctan(PICTURE.shape[1] / 2 / estimate.intrinsics[0, 0]))
    assert 55 < degrees < 65
    asked = load(cache).estimate(PICTURE, field_of_view_degrees=90.0)
    assert asked.intrinsics is not None and asked.intrinsics[0, 0] == pytest.approx(PICTURE.shape[1] / 2)
    np.testing.assert_array_equal(asked.depth, estimate.depth)


def test_the_metric_network_gives_metres_by_the_focal_length(cache: Path) -> None:
    metric = load(cache, "metric-large")
    wide, narrow = (metric.estimate(PICTURE, field_of_view_degrees=degrees) for degrees in (90.0, 45.0))
    assert wide.is_metric and wide.notes == () and wide.valid.any() and not wide.valid.all()
    np.testing.assert_array_equal(wide.valid, narrow.valid)
    ratio = narrow.depth[wide.valid] / wide.depth[wide.valid]
    np.testing.assert_allclose(ratio, np.tan(np.pi / 4) / np.tan(np.pi / 8), rtol=1e-5)
    # 84 pixels wide for the network: the focal length is 42, and 300 stand for metres.
    raw = tiny_network(PLAIN)
    seen = fitted_picture(PICTURE, 84, 14)
    normal = (seen - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    answer = raw(torch.from_numpy(normal.astype(np.float32)).permute(2, 0, 1)[None]).depth
    middle = wide.depth[wide.valid]
    assert middle.min() >= float(answer.min()) * 42 / 300 * 0.99
    assert middle.max() <= float(answer.max()) * 42 / 300 * 1.01


def test_without_a_field_of_view_the_base_network_estimates_it_for_the_metric_one(cache: Path) -> None:
    estimate, base = load(cache, "metric-large").estimate(PICTURE), load(cache).estimate(PICTURE)
    assert estimate.is_metric and "estimated" in estimate.notes[0]
    assert estimate.intrinsics is not None and base.intrinsics is not None
    np.testing.assert_array_equal(estimate.intrinsics, base.intrinsics)


def test_the_mono_network_is_spread_over_the_assumed_range_and_marks_sky(cache: Path) -> None:
    estimate = load(cache, "mono-large", near_metres=2.0, far_near_ratio=4.0).estimate(PICTURE)
    depth = estimate.depth[estimate.valid]
    assert not estimate.is_metric and "2 to 8 m" in estimate.notes[0]
    assert (depth.min(), depth.max()) == (2.0, 8.0)
    assert 0 < np.count_nonzero(~estimate.valid) < estimate.depth.size
    assert (estimate.confidence[~estimate.valid] == 0).all()


def test_spread_is_linear_between_the_percentiles() -> None:
    values = np.linspace(1, 2, 101, dtype=np.float32)[None]
    found = spread(values, np.ones_like(values, np.bool_), AssumedRange(1.0, 3.0))
    assert (found[0, 0], found[0, 100]) == (1.0, 3.0)
    assert found[0, 50] == pytest.approx(2.0, abs=1e-5)
    for bad in (np.ones_like(values), np.where(values > 1.5, np.float32(np.nan), values)):
        with pytest.raises(BackendContractError):
            spread(bad, np.ones_like(values, np.bool_), AssumedRange())


def test_a_picture_that_is_all_sky_keeps_its_depth() -> None:
    sky = np.ones((8, 8), np.float32)
    assert not believed_sky(sky).any()
    sky[:2] = 0
    assert np.count_nonzero(believed_sky(sky)) == 48


@pytest.mark.parametrize(
    ("width", "height", "size", "golden"),
    [
        (640, 480, (378, 504), [0.33094, 0.43277, 0.2522]),
        (480, 640, (504, 378), [1.03305, 0.34524, 0.53107]),
        (1000, 333, (168, 504), [0.19394, -0.35504, 0.77508]),
        (97, 203, (504, 238), [-1.21029, -0.03992, 0.23477]),
        (300, 301, (504, 504), [-0.57668, -1.19538, -0.39268]),
        (507, 511, (504, 504), [-0.23418, -0.39006, 0.51364]),
    ],
)
def test_preprocessing_is_the_published_one(
    width: int, height: int, size: tuple[int, int], golden: list[float]
) -> None:
    noise = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    fitted = fitted_picture((noise / 255).astype(np.float32), estimator.LONGER_SIDE, 14)
    normal = (fitted - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    assert fitted.shape[:2] == size
    np.testing.assert_allclose([normal[10, 20, 0], normal[-1, -1, 1], normal[100, 150, 2]], golden, atol=2e-5)


def test_sides_are_whole_patches() -> None:
    assert [whole_patches(side, 14) for side in (1, 7, 20, 21, 504, 377)] == [14, 14, 14, 28, 504, 378]


def test_a_camera_that_cannot_be_is_refused() -> None:
    for fields in ([0.0, 1.0], [1.0, 3.1], [np.nan, 1.0]):
        with pytest.raises(BackendContractError, match="field of view"):
            intrinsics_of(np.array(fields), 10, 10)


def test_licences_options_and_release(cache: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match="DA3-LARGE"):
        ModelPool().load(DEPTH, "depth-anything-3", ModelContext(cache, "cpu", variant="large"))
    for variant, names in FOLDERS.items():
        loaded = load(cache, variant)
        assert loaded.record.weights_id == "+".join(f"depth-anything/{name}" for name in names)
        assert loaded.record.non_commercial == (variant == "large")
    with pytest.raises(UnsupportedOption, match="resolution"):
        load(cache, resolution=13)
    coarse = load(cache, precision="bf16").estimate(PICTURE)
    np.testing.assert_allclose(coarse.depth, load(cache).estimate(PICTURE).depth, rtol=0.02)
    loaded.release()
    with pytest.raises(RuntimeError, match="released"):
        loaded.estimate(PICTURE)
