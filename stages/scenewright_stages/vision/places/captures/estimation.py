"""Estimates the camera poses of photographs by structure from motion with COLMAP, deterministically on the CPU.

Runs SIFT, exhaustive matching, geometric verification and the incremental mapper with fixed seeds and in fixed order.
Features and pairs are independent of each other, so their threads do not change a byte; the mapper has one.
Where that leaves photographs out, learned matches are added and the mapper runs again (see `learned_matches`).
Photographs that cannot be registered are reported and left out; if too few register, all are refused, because a pose is
never guessed. The unit of length and the world's axes are arbitrary.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np
import pycolmap
from PIL import Image, UnidentifiedImageError

from scenewright_stages.vision.imaging.images.integrity import damage_of
from scenewright_stages.vision.imaging.images.stored import NEW_FORMATS, read_stored
from scenewright_stages.vision.places.captures.capture import MINIMUM_VIEWS, CaptureError
from scenewright_stages.vision.places.captures.learned_matches import add_learned_matches
from scenewright_stages.vision.places.captures.parallax import Matches, parallax_of
from scenewright_stages.vision.places.matching import models as learned_models

MINIMUM_POINTS = 100
"""A model of fewer points may as well be chance."""
_ALL_PAIRS, _OVERLAP = 20, 8
"""Up to so many frames of a video are matched each with each; of more, each with so many before and after it, and with
some farther away."""
_ADJUSTED_AGAIN = 1.4
"""Growth of a video's model after which all cameras are adjusted again; COLMAP's default is 1.1."""
_AT_ONCE = 4
"""Photographs for each thread between two reports of progress."""
_LENS = "SIMPLE_RADIAL"
"""One focal length and one distortion: as much as a few photographs determine."""
_CAMERA, _EXIF, _FOCAL_LENGTH = 272, 34665, 37386
"""Numbers of EXIF tags."""

_FEW_POINTS, _STRICT_ERROR = 15, 2.0
"""Once learned matches are added: points that place a photograph (COLMAP's default is 30), and the largest error of a
point in pixels (COLMAP's is 4). Of nine photographs of a beach the first placed two more, the second kept the cameras
as exact as those of SIFT."""

Progress = Callable[[float, str], None]
Matching = Literal["auto", "learned", "sift"]


@dataclass(frozen=True)
class EstimationSettings:
    """COLMAP settings.

    Attributes:
        features: maximum number per photograph.
        longest_side: image size for feature extraction, pixels.
        seed: of verification and mapper.
        in_order: whether the photographs follow each other by name, as the frames of a video: many are then matched
            with those before and after, and not with all.
        matching: sift: with SIFT alone; learned: badly matched pairs with learned matches too; auto: that, if SIFT
            alone leaves photographs out.
        threads: for features and matches. The result does not depend on them.
    """

    features: int = 4096
    longest_side: int = 1600
    seed: int = 0
    in_order: bool = False
    matching: Matching = "auto"
    threads: int = 1


@dataclass(frozen=True)
class Registration:
    """Result of the registration.

    Attributes:
        registered, unregistered: names of photographs, sorted.
        points: number of points in the model.
        reprojection_error: mean, in pixels.
        apart: how many unregistered photographs match each other, but not the rest.
        learned: whether learned matches helped to place them.
        reason: what learned matches brought, or why there are none although they are wanted.
    """

    registered: tuple[str, ...]
    unregistered: tuple[str, ...]
    points: int
    reprojection_error: float
    apart: int = 0
    learned: bool = False
    reason: str = ""

    def notes(self) -> list[str]:
        """Notes for the user."""
        chosen = [self.reason] if self.reason else []
        if not self.unregistered:
            return chosen
        total = len(self.registered) + len(self.unregistered)
        named = ", ".join(self.unregistered[:10]) + (", ..." if len(self.unregistered) > 10 else "")
        apart = f"; {self.apart} of them fit each other, but not the rest" if self.apart else ""
        return [
            *chosen, f"{len(self.unregistered)} of {total} photographs have no pose and are left out: {named}{apart}"
        ]  # fmt: skip


def estimate_poses(
    photographs: Mapping[str, Path],
    folder: Path,
    settings: EstimationSettings,
    progress: Progress,
    masks: Path | None = None,
) -> Registration:
    """Writes a COLMAP model as ``cameras.txt``, ``images.txt`` and ``points3D.txt``.

    Args:
        photographs: files by their names in the model. A name may contain folders.
        folder: where to write; must be unused.
        progress: called between the steps with a fraction from 0 to 1 and a message.
        masks: folder with ``<name>.png`` for photographs in which features may not lie anywhere: black is left out.

    Raises:
        CaptureError: there are fewer than four photographs (``TooFewViews``), one cannot be read (``Unreadable``), or
            too few overlap from different viewpoints (``TooFewMatches``), or the camera only turned on the spot
            (``PureRotation``).
    """
    if len(photographs) < MINIMUM_VIEWS:
        raise CaptureError("TooFewViews", f"{len(photographs)} photographs, at least {MINIMUM_VIEWS} are needed")
    pictures = folder / "photographs"
    stored = store_photographs(photographs, pictures)
    names = sorted(stored)
    database = folder / "matches.db"
    _match_sift(database, pictures, names, settings, progress, masks)
    progress(0.5, "placing the photographs")
    models = _models(database, pictures, folder / "models", settings)
    learned, reason = False, _reluctance(settings.matching, len(names) - _placed(models))
    if not reason and (
        settings.matching == "learned" or (settings.matching == "auto" and _placed(models) < len(names))
    ):
        models, learned, reason = _with_learned_matches(models, database, pictures, names, settings, progress)
    best = _best(models)
    _check_parallax(database, best)
    if best is None or best.num_reg_images() < MINIMUM_VIEWS or best.num_points3D() < MINIMUM_POINTS:
        raise CaptureError("TooFewMatches", _refusal(len(names), best))
    found = _registration(names, best, models)
    for number in best.images:
        image = best.image(number)
        image.name = stored[image.name]
    best.write_text(folder)
    return replace(
        found,
        registered=tuple(sorted(stored[name] for name in found.registered)),
        unregistered=tuple(sorted(stored[name] for name in found.unregistered)),
        learned=learned,
        reason=reason,
    )


def _match_sift(
    database: Path,
    pictures: Path,
    names: Sequence[str],
    settings: EstimationSettings,
    progress: Progress,
    masks: Path | None,
) -> None:
    """Makes a database of the photographs with their SIFT features and verified matches."""
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    pycolmap.set_random_seed(settings.seed)
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = _LENS
    if masks is not None:
        reader.mask_path = masks
    find_features(database, pictures, names, reader, settings, lambda share, message: progress(0.25 * share, message))
    progress(0.25, f"matching {len(names)} photographs")
    _match(database, settings, len(names))


def _reluctance(matching: Matching, missing: int) -> str:
    """Why learned matches cannot be added although they are wanted; empty if they can or are not.

    Raises:
        CaptureError: the spec names them and their weights are missing (``NotInstalled``).
    """
    if matching == "sift" or learned_models.installed() or (matching == "auto" and not missing):
        return ""
    absent = "the weights of learned matching are not installed: run `python tools/install_matching_models.py`"
    if matching == "learned":
        raise CaptureError("NotInstalled", f"poses.matching is learned, and {absent}")
    return f"matched with SIFT alone, which leaves {missing} photographs out: {absent}"


def _with_learned_matches(
    models: list[pycolmap.Reconstruction],
    database: Path,
    pictures: Path,
    names: Sequence[str],
    settings: EstimationSettings,
    progress: Progress,
) -> tuple[list[pycolmap.Reconstruction], bool, str]:
    """The models with learned matches if they place more, else those without; whether, and what they brought."""
    kept = database.with_name("sift.db")
    shutil.copyfile(database, kept)
    gained = add_learned_matches(
        database,
        pictures,
        names,
        longest_side=settings.longest_side,
        in_order=settings.in_order,
        verification=matching_options(settings)[1],
        progress=lambda share, message: progress(0.55 + 0.35 * share, message),
    )
    progress(0.95, "placing the photographs with learned matches")
    pycolmap.set_random_seed(settings.seed)
    more = _models(database, pictures, database.with_name("learned"), settings, patient=True)
    before, after = _placed(models), _placed(more)
    brought = f"SIFT placed {before} of {len(names)} photographs, with learned matches of {gained} pairs {after}"
    if after > before:
        return more, True, f"{brought}: the latter are used"
    shutil.copyfile(kept, database)
    return models, False, ""


def _best(models: Sequence[pycolmap.Reconstruction]) -> pycolmap.Reconstruction | None:
    return max(models, key=lambda each: (each.num_reg_images(), each.num_points3D()), default=None)


def _placed(models: Sequence[pycolmap.Reconstruction]) -> int:
    """How many photographs the best model places."""
    best = _best(models)
    return 0 if best is None else int(best.num_reg_images())


def stored_name(name: str) -> str:
    """The name under which COLMAP reads a photograph: formats that it does not know are given to it as PNG."""
    return f"{name}.png" if name.lower().endswith(NEW_FORMATS) else name


def store_photographs(photographs: Mapping[str, Path], folder: Path) -> dict[str, str]:
    """Puts photographs where COLMAP reads them; returns their names by those that they have there.

    Raises:
        CaptureError: one is damaged or cannot be read (``Unreadable``).
    """
    stored = {stored_name(name): name for name in sorted(photographs)}
    for own, name in stored.items():
        _store(photographs[name], folder / own, name)
    return stored


def _store(path: Path, target: Path, name: str) -> None:
    """Puts a photograph where COLMAP reads it, converted if need be.

    Raises:
        CaptureError: it is damaged, which would end COLMAP's whole process, or cannot be read.
    """
    if damage := damage_of(path):
        raise CaptureError("Unreadable", f"{name} is damaged: {damage}; copy or export it again, or leave it out")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.name == PurePosixPath(name).name:
        target.symlink_to(path.resolve())
        return
    picture = read_stored(path)
    # OpenCV writes it: with COLMAP in the process, Pillow's PNG writer crashes, because both bring a zlib.
    if picture is None or not cv2.imwrite(str(target), picture[..., ::-1]):
        raise CaptureError("Unreadable", f"{name} cannot be read as a photograph")


def find_features(
    database: Path,
    pictures: Path,
    names: Sequence[str],
    reader: pycolmap.ImageReaderOptions,
    settings: EstimationSettings,
    progress: Progress,
) -> None:
    """Extracts features into a new database; photographs with the same lens share a camera.

    Args:
        database: file to create.
        pictures: folder of the photographs.
        names: of the photographs, in order.
        reader: known properties of the lens.
        settings: COLMAP settings.
        progress: called before each photograph, or before those that are read at once.

    Raises:
        CaptureError: a photograph cannot be read (``Unreadable``).
    """
    register(database, pictures, names, reader)
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads, options.use_gpu = settings.threads, False
    options.max_image_size = settings.longest_side
    options.sift.max_num_features = settings.features
    at_once = 1 if settings.threads == 1 else _AT_ONCE * settings.threads
    for number in range(0, len(names), at_once):
        progress(number / len(names), f"features of {names[number]}")
        pycolmap.extract_features(
            database,
            pictures,
            image_names=list(names[number : number + at_once]),
            reader_options=reader,
            extraction_options=options,
            device=pycolmap.Device.cpu,
        )


def register(database: Path, pictures: Path, names: Sequence[str], reader: pycolmap.ImageReaderOptions) -> None:
    """Creates a database of photographs without features; those with the same lens share a camera.

    Raises:
        CaptureError: a photograph cannot be read (``Unreadable``).
    """
    pycolmap.Database.open(database).close()
    for group in _by_lens(pictures, names):
        single = pycolmap.CameraMode.SINGLE
        pycolmap.import_images(database, pictures, camera_mode=single, image_names=group, options=reader)


def _by_lens(pictures: Path, names: Sequence[str]) -> list[list[str]]:
    """Groups photographs that share a lens: same folder, size, camera and focal length."""
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name in names:
        try:
            with Image.open(pictures / name) as picture:
                exif = picture.getexif()
                about = (picture.size, exif.get(_CAMERA), exif.get_ifd(_EXIF).get(_FOCAL_LENGTH))
        except (OSError, UnidentifiedImageError) as problem:
            raise CaptureError("Unreadable", f"{name} cannot be read as a photograph") from problem
        groups[PurePosixPath(name).parent, *about].append(name)
    return list(groups.values())


def _match(database: Path, settings: EstimationSettings, count: int) -> None:
    matching, verification = matching_options(settings)
    if settings.in_order and count > _ALL_PAIRS:
        pairing = pycolmap.SequentialPairingOptions()
        pairing.overlap, pairing.quadratic_overlap, pairing.num_threads = _OVERLAP, True, 1
        pycolmap.match_sequential(
            database,
            matching_options=matching,
            pairing_options=pairing,
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )
        return
    pycolmap.match_exhaustive(
        database, matching_options=matching, verification_options=verification, device=pycolmap.Device.cpu
    )


def matching_options(
    settings: EstimationSettings,
) -> tuple[pycolmap.FeatureMatchingOptions, pycolmap.TwoViewGeometryOptions]:
    """Options for deterministic matching and verification."""
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu = settings.threads, False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = settings.seed
    return matching, verification


def _models(
    database: Path, pictures: Path, folder: Path, settings: EstimationSettings, *, patient: bool = False
) -> list[pycolmap.Reconstruction]:
    """The models of the mapper; a patient one also places photographs that share few points with the others."""
    options = pycolmap.IncrementalPipelineOptions()
    if patient:
        options.mapper.abs_pose_min_num_inliers, options.mapper.filter_max_reproj_error = _FEW_POINTS, _STRICT_ERROR
    if settings.in_order:
        # Frames of a video fit well as soon as they are placed: fewer adjustments of all cameras give the same poses.
        options.ba_global_frames_ratio = options.ba_global_points_ratio = _ADJUSTED_AGAIN
        options.ba_global_max_refinements, options.ba_local_max_refinements = 2, 1
    options.num_threads = options.mapper.num_threads = 1
    options.random_seed = options.mapper.random_seed = settings.seed
    found = pycolmap.incremental_mapping(database, pictures, folder, options=options)
    return [model for _, model in sorted(found.items())]


def _check_parallax(database: Path, best: pycolmap.Reconstruction | None) -> None:
    """Raises CaptureError if rotations and a lens explain all matches."""
    focal = None
    if best is not None:
        lens = next(iter(best.cameras.values()))
        focal = float(lens.mean_focal_length()) / max(lens.width, lens.height)
    found = parallax_of(verified_matches(database), focal)
    if found.turned_only:
        raise CaptureError(
            "PureRotation",
            f"the camera turned on the spot: the matches of {1 - found.moved:.0%} of {found.pairs} pairs of "
            "photographs follow from a rotation alone, so nothing tells near from far. Take the photographs from "
            "different places, or stitch them to a panorama and use worldexplorer",
        )


def verified_matches(database: Path) -> list[Matches]:
    """The verified matches of all pairs, in the order of the pairs."""
    opened = pycolmap.Database.open(database)
    cameras = {each.camera_id: each for each in opened.read_all_cameras()}
    places = {}
    for image in opened.read_all_images():
        lens = cameras[image.camera_id]
        pixels = np.asarray(opened.read_keypoints(image.image_id), np.float64)[:, :2]
        places[image.image_id] = (pixels - (lens.width / 2, lens.height / 2)) / max(lens.width, lens.height)
    found = []
    for pair, geometry in sorted(zip(*opened.read_two_view_geometries(), strict=True), key=lambda each: int(each[0])):
        rows = np.asarray(geometry.inlier_matches, np.int64).reshape(-1, 2)
        first, second = pycolmap.pair_id_to_image_pair(pair)
        if len(rows):
            found.append(Matches(places[first][rows[:, 0]], places[second][rows[:, 1]]))
    opened.close()
    return found


def _refusal(count: int, best: pycolmap.Reconstruction | None) -> str:
    placed = 0 if best is None else best.num_reg_images()
    points = 0 if best is None else best.num_points3D()
    return (
        f"{placed} of {count} photographs fit together, on {points} points: they must overlap by half or more, be "
        "taken from different places, and show surfaces with detail that stand still"
    )


def _names(model: pycolmap.Reconstruction) -> set[str]:
    return {model.image(number).name for number in model.reg_image_ids()}


def _registration(
    names: Sequence[str], best: pycolmap.Reconstruction, models: Sequence[pycolmap.Reconstruction]
) -> Registration:
    placed = _names(best)
    elsewhere = set().union(*(_names(each) for each in models)) - placed
    return Registration(
        tuple(sorted(placed)),
        tuple(name for name in names if name not in placed),
        best.num_points3D(),
        float(best.compute_mean_reprojection_error()),
        len(elsewhere),
    )
