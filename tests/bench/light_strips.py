"""Two portraits in light from eight directions, by the functions of the stages: docs/images/relight-eight-lights.jpg.

    PYTHONPATH=stages python tests/bench/light_strips.py [--ambient 0.2] [--elevation 25] OUTPUT

The photograph on the left, then the light from the right, the top right and so on around the face. Brightness stays the
photograph's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.photographs.compositing import composite
from scenewright_stages.photographs.pictures import bytes_from_unit, unit_from_bytes
from scenewright_stages.relight.albedo import blended
from scenewright_stages.relight.degrade import Surface, arriving, exposed, relit
from scenewright_stages.relight.lighting import Draw
from scenewright_stages.relight.shading import Light, direction_of
from scenewright_stages.vision.imaging.albedo import estimate_albedo
from scenewright_stages.vision.subjects.people.face_mesh import face_meshes
from scenewright_stages.vision.subjects.people.face_normals import normals_with_faces
from scenewright_stages.vision.subjects.people.learned import find_people

INPUTS = Path(__file__).parents[2] / "examples" / "inputs"
PORTRAITS = ("astronaut.png", "hopper.jpg")
SIDE = 190
AROUND_FACE = 1.0
"""Half of what is shown, in widths of the face."""
BLEND, RELIEF = 0.2, 0.3

Bytes = NDArray[np.uint8]


def strip(photograph: Bytes, ambient: float, elevation: float) -> Bytes:
    """(SIDE, 9 SIDE, 3) uint8 sRGB."""
    srgb = unit_from_bytes(photograph)
    matte = find_people(srgb).alpha
    meshes = tuple(face_meshes(srgb))
    alpha = bytes_from_unit(matte)
    albedo = blended(estimate_albedo(srgb, matte)[0], photograph, BLEND, alpha)
    normals = normals_with_faces(matte, np.ascontiguousarray(srgb[..., 1]), RELIEF, meshes)
    surface = Surface(albedo, alpha, normals, meshes)
    shown = [photograph]
    for azimuth in range(0, 360, 45):
        light = Light(direction_of(azimuth, elevation), ambient)
        draw = Draw("softShading", light, None, luminance_ratio=1.0)
        arrives = arriving(surface, draw)
        shown.append(composite(relit(surface, exposed(draw, surface, photograph, arrives), arrives), photograph, alpha))
    face = meshes[0][:, :2]
    reach = round(AROUND_FACE * float(np.ptp(face[:, 0])))
    left, top = (max(0, round(float(place)) - reach) for place in face.mean(axis=0))
    window = np.s_[top : top + 2 * reach, left : left + 2 * reach]
    cells = [
        cv2.resize(np.ascontiguousarray(each[window]), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for each in shown
    ]
    return np.asarray(np.hstack(cells), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ambient", type=float, default=0.2)
    parser.add_argument("--elevation", type=float, default=25.0)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    rows = []
    for name in PORTRAITS:
        pixels = cv2.imread(str(INPUTS / name))
        assert pixels is not None
        rows.append(strip(np.ascontiguousarray(pixels[..., ::-1], np.uint8), given.ambient, given.elevation))
    assert cv2.imwrite(str(given.output), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


if __name__ == "__main__":
    main()
