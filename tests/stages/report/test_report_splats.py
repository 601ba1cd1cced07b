"""The compact splat file: read back by an independent decoder written from the format's description."""

from __future__ import annotations

import gzip
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from report_scenes import CAMERA, blob, empty_splats, joined, three_clusters

import build_viewer
from scenewright_stages.scenes.splats import SplatCloud, drawable, most_important, packed_bytes, pivot_distance
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import rotation_from_quaternion


def random_cloud(count: int = 500, extent: float = 5.0) -> SplatCloud:
    random = np.random.default_rng(3)
    return SplatCloud(
        random.uniform(-extent, extent, (count, 3)),
        random.uniform(0.002, 0.5, (count, 3)),
        random.normal(size=(count, 4)),
        random.uniform(0.05, 1, count),
        random.uniform(0, 1, (count, 3)),
    )


_UNPACK = """
import { readFileSync, writeFileSync } from "node:fs";
const [program, input, output] = process.argv.slice(1);
const { unpacked } = await import(program);
writeFileSync(output, unpacked(readFileSync(input)));
"""


def unpacked(data: bytes, folder: Path) -> SplatCloud:
    """What the page's script makes of packed splats."""
    packed, spz = folder / "packed", folder / "spz"
    packed.write_bytes(gzip.decompress(data))
    program = (build_viewer.SOURCES / "src/packed.js").as_uri()
    command = [*build_viewer.find_node().node, "--input-type=module", "-e", _UNPACK, program, str(packed), str(spz)]
    subprocess.run(command, check=True, capture_output=True)
    return read_spz(spz.read_bytes())


def read_spz(body: bytes) -> SplatCloud:
    """Inverse of SPZ 3 before gzip, back in OpenCV axes."""
    magic, version, count, degree, bits, _, _ = struct.unpack_from("<IIIBBBB", body)
    assert (magic, version, degree) == (0x5053474E, 3, 0)
    sections = np.split(np.frombuffer(body, np.uint8, offset=16), np.cumsum([9, 1, 3, 3]) * count)
    raw = sections[0].reshape(count, 3, 3).astype(np.int64) @ [1, 256, 65536]
    means = np.where(raw >= 2**23, raw - 2**24, raw) / 2.0**bits
    colour = ((sections[2].reshape(count, 3) / 255 - 0.5) / 0.15) * 0.28209479177387814 + 0.5
    quaternions = [_quaternion(code) for code in sections[4].view("<u4").tolist()]
    return SplatCloud(
        means * (1, -1, -1),
        np.exp(sections[3].reshape(count, 3) / 16 - 10),
        np.array(quaternions).reshape(-1, 4) * (1, 1, -1, -1),
        sections[1] / 255,
        colour,
    )


def _quaternion(code: int) -> list[float]:
    """wxyz of smallest-three bits."""
    largest = code >> 30
    xyzw = [0.0] * 4
    for component in reversed([index for index in range(4) if index != largest]):
        magnitude = (code & 511) / 511 / np.sqrt(2)
        xyzw[component] = -magnitude if code & 512 else magnitude
        code >>= 10
    xyzw[largest] = np.sqrt(max(0.0, 1 - sum(value**2 for value in xyzw)))
    return [xyzw[3], *xyzw[:3]]


def degrees_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    relative = np.einsum("nji,njk->nik", rotation_from_quaternion(first), rotation_from_quaternion(second))
    cosine = (np.trace(relative, axis1=1, axis2=2) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.process
def test_the_page_unpacks_the_cloud_within_its_stated_precision(tmp_path: Path) -> None:
    cloud = random_cloud()
    read = unpacked(packed_bytes(cloud), tmp_path)
    assert np.abs(read.means - cloud.means).max() <= 2**-16
    assert np.abs(read.scales / cloud.scales - 1).max() < 0.032
    assert np.abs(read.opacities - cloud.opacities).max() <= 0.5 / 255 + 1e-6
    assert np.abs(read.srgb - cloud.srgb).max() < 0.5 / 135
    turned = degrees_between(read.quaternions, cloud.quaternions)
    assert turned.max() < 0.25
    unflipped = degrees_between(read.quaternions * (1, 1, -1, -1), cloud.quaternions)
    assert np.median(unflipped) > 30


@pytest.mark.process
def test_large_scenes_give_up_precision_and_not_positions(tmp_path: Path) -> None:
    cloud = random_cloud(extent=3000.0)
    read = unpacked(packed_bytes(cloud), tmp_path)
    assert np.abs(read.means - cloud.means).max() <= 3000 * 2**-22


def test_the_same_cloud_gives_the_same_bytes() -> None:
    assert packed_bytes(random_cloud()) == packed_bytes(random_cloud())


def test_splats_cost_at_most_twenty_bytes_and_half_of_that_where_neighbours_are_alike() -> None:
    cloud = random_cloud(20_000)
    assert len(packed_bytes(cloud)) < 20 * len(cloud)
    rows = np.lexsort((cloud.means[:, 0] // 0.5, cloud.means[:, 1] // 0.5))
    smooth = replace(cloud.select(rows), srgb=0.5 + cloud.means[rows] / 10, scales=np.full_like(cloud.scales, 0.02))
    smooth = replace(smooth, quaternions=np.tile(np.float32([1, 0, 0, 0]), (len(cloud), 1)))
    assert len(packed_bytes(smooth)) < 10 * len(cloud)


@pytest.mark.process
def test_an_empty_cloud_is_a_valid_file(tmp_path: Path) -> None:
    assert len(unpacked(packed_bytes(empty_splats()), tmp_path)) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("means", np.nan), ("scales", 0.0), ("scales", np.inf), ("opacities", 0.001), ("quaternions", 0.0)],
)
def test_gaussians_that_no_renderer_shows_are_left_out(field: str, value: float) -> None:
    cloud = random_cloud(5)
    getattr(cloud, field)[2] = value
    kept = drawable(cloud)
    np.testing.assert_array_equal(kept.means, np.delete(cloud.means, 2, axis=0))


def test_thinning_keeps_what_covers_most_of_the_view() -> None:
    near, far = blob((0, 0, 1), (1, 0, 0), count=50), blob((0, 0, 50), (0, 1, 0), count=50)
    kept = most_important(joined(far, near), 50, CAMERA.position)
    assert (kept.means[:, 2] < 2).all()
    assert len(most_important(near, 50, CAMERA.position)) == 50


def test_optimiser_tensors_become_visible_values() -> None:
    harmonics = np.zeros((1, 4, 3), np.float32)
    harmonics[0, 0] = (np.array([0.2, 0.5, 0.9]) - 0.5) / 0.28209479177387814
    harmonics[0, 1:] = 9.0
    parameters = [np.zeros((1, 3)), np.log([[0.1, 0.2, 0.3]]), [[1, 0, 0, 0]], [np.log(4.0)], harmonics]
    cloud = SplatCloud.of(GaussianScene(*(torch.tensor(np.float32(values)) for values in parameters)))
    np.testing.assert_allclose(cloud.srgb[0], [0.2, 0.5, 0.9], atol=1e-6)
    np.testing.assert_allclose(cloud.scales[0], [0.1, 0.2, 0.3], atol=1e-6)
    assert cloud.opacities[0] == pytest.approx(0.8)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"opacities has shape \(4,\), expected \(5,\)"):
        SplatCloud(np.zeros((5, 3)), np.ones((5, 3)), np.ones((5, 4)), np.ones(4), np.ones((5, 3)))


def test_orbiting_turns_around_what_the_camera_sees() -> None:
    behind = blob((0, 0, -4), (1, 1, 1), count=5000)
    beside = blob((40, 0, 9), (1, 1, 1), count=5000)
    cloud = joined(three_clusters(), behind, beside)
    assert 2.5 <= pivot_distance(cloud, CAMERA) <= 3.5
    assert pivot_distance(behind, CAMERA) == 1.0
