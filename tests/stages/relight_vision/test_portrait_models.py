"""SAM 3, SAM 2, DPT and Marigold with tiny random weights in the published formats: wiring, sizes, prompts, batches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astronaut import photograph
from diffusers import LCMScheduler
from numpy.typing import NDArray
from tiny_portrait_models import SAM2_SIZES, save_tiny_dpt, save_tiny_marigold, save_tiny_sam2, save_tiny_sam3
from transformers import DPTForDepthEstimation, Sam3Model

from scenewright_stages.backends.albedo.interface import ALBEDO, AlbedoEstimator
from scenewright_stages.backends.marigold import scale_of
from scenewright_stages.backends.normals.dpt import normals_of_relief
from scenewright_stages.backends.normals.interface import NORMALS, NormalEstimator
from scenewright_stages.backends.runtime.capability import Capability
from scenewright_stages.backends.runtime.errors import (
    BrokenWeights,
    LicenceNotAccepted,
    MissingWeights,
    UnsupportedOption,
    UnsupportedSubject,
)
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.backends.runtime.registry import backend
from scenewright_stages.backends.segment import sam2
from scenewright_stages.backends.segment.interface import SEGMENT, Segmenter, Subject, SubjectPoint
from scenewright_stages.backends.segment.sam3 import overlap
from scenewright_stages.vision.imaging.matting import NoSubject
from scenewright_stages.vision.subjects.people import portrait_box

Floats = NDArray[np.float32]
IMAGE = np.random.default_rng(0).random((90, 120, 3), dtype=np.float32)
PERSON = Subject("person")
ALPHA = np.zeros((90, 120), np.float32)
ALPHA[10:80, 20:100] = 1
FOLDERS = {
    "sam3": "facebook/sam3",
    "sam2": "facebook/sam2.1-hiera-large",
    "dpt": "Intel/dpt-large",
    "marigold-iid": "prs-eth/marigold-iid-appearance-v1-1",
    "marigold-normals": "prs-eth/marigold-normals-v1-1",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_tiny_sam3(root / FOLDERS["sam3"])
    save_tiny_sam2(root / FOLDERS["sam2"])
    save_tiny_dpt(root / FOLDERS["dpt"])
    save_tiny_marigold(root / FOLDERS["marigold-iid"])
    save_tiny_marigold(root / FOLDERS["marigold-normals"], "normals")
    return root


@pytest.fixture
def load(cache: Path) -> Any:
    pool = ModelPool()

    def loaded(capability: Capability[Any], name: str, **options: Any) -> Any:
        accepted = frozenset({"sam-license"})
        return pool.load(capability, name, ModelContext(cache, "cpu", accepted, options=options))

    yield loaded
    pool.release()


def _square(image: Floats, side: int, mean: Any, deviation: Any, mode: str = "bilinear") -> torch.Tensor:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    fitted = torch.nn.functional.interpolate(pixels, (side, side), mode=mode, align_corners=False, antialias=True)
    return (fitted - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(deviation).view(1, 3, 1, 1)


# --- SAM 3


def _published_sam3(cache: Path, prompt: str, deviation: float = 0.5) -> tuple[float, Floats]:
    """Best score and mask probability by the published steps, without the batching and caching of the backend."""
    from transformers import AutoTokenizer

    folder = cache / FOLDERS["sam3"]
    model = Sam3Model.from_pretrained(folder).eval()
    text = AutoTokenizer.from_pretrained(folder)([prompt], padding="max_length", max_length=32, return_tensors="pt")
    with torch.inference_mode():
        answer = model(
            pixel_values=_square(IMAGE, 112, (0.5,) * 3, (deviation,) * 3),
            input_ids=text.input_ids,
            attention_mask=text.attention_mask,
        )
    scores = answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid()
    best = int(scores[0].argmax())
    mask = answer.pred_masks[:, best : best + 1].sigmoid()
    full = torch.nn.functional.interpolate(mask, IMAGE.shape[:2], mode="bilinear", align_corners=False)
    return float(scores[0, best]), full[0, 0].numpy()


@pytest.mark.slow
def test_sam3_answers_as_the_published_steps_do(cache: Path, load: Callable[..., Any]) -> None:
    segmenter = load(SEGMENT, "sam3", threshold=0.0)
    assert isinstance(segmenter, Segmenter)
    found = segmenter.segment(IMAGE, PERSON)
    score, probability = _published_sam3(cache, "person")
    assert found.score == pytest.approx(score, abs=1e-3)
    assert found.method == "sam3"
    assert found.alpha.shape == (90, 120)
    sure = np.abs(probability - 0.5) > 0.2
    if sure.any():
        assert (found.mask == (probability > 0.5))[sure].mean() > 0.8
    other_score, _ = _published_sam3(cache, "person", deviation=0.25)
    assert other_score != pytest.approx(score, abs=1e-5), "another normalisation must be seen"


def test_sam3_reads_its_prompt_and_is_repeatable(load: Callable[..., Any]) -> None:
    segmenter = load(SEGMENT, "sam3", threshold=0.0)
    first, again, other = (segmenter.segment(IMAGE, Subject(text)) for text in ("person", "person", "cat"))
    np.testing.assert_array_equal(first.alpha, again.alpha)
    assert first.score != other.score or np.abs(first.alpha - other.alpha).mean() > 0.01


def test_sam3_without_a_likely_instance_rejects_the_picture(load: Callable[..., Any]) -> None:
    with pytest.raises(NoSubject, match="person"):
        load(SEGMENT, "sam3", threshold=0.999).segment(IMAGE, PERSON)


def test_sam3_with_a_box_takes_the_instance_that_fits_it(load: Callable[..., Any]) -> None:
    segmenter = load(SEGMENT, "sam3", threshold=0.0)
    scores = torch.tensor([[0.9, 0.6, 0.7]])
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.9, 0.9], [0.0, 0.0, 0.3, 0.3]]])
    question = type("Question", (), {"box": (60.0, 45.0, 108.0, 81.0)})
    assert segmenter._chosen(scores, boxes, [question], (90, 120)).tolist() == [1]
    question.box = None
    assert segmenter._chosen(scores, boxes, [question], (90, 120)).tolist() == [0]


@pytest.mark.parametrize(("people", "columns"), [("", [1]), ("all", [0, 1]), ("largest", [0])])
def test_sam3_takes_the_best_all_or_the_largest_of_several_people(
    load: Callable[..., Any], people: str, columns: list[int]
) -> None:
    segmenter = load(SEGMENT, "sam3", threshold=0.5, **({"people": people} if people else {}))
    logits = torch.full((1, 3, 4, 3), -20.0)
    logits[0, 0, :, 0], logits[0, 1, 1:, 1], logits[0, 2, :, 2] = 20.0, 20.0, 20.0
    question = type("Question", (), {"box": None})
    found = segmenter._masks(logits, torch.tensor([[0.7, 0.9, 0.2]]), torch.tensor([1]), [question])[0]
    assert np.flatnonzero((found > 0.5).any(dim=0).numpy()).tolist() == columns


def test_sam3_needs_its_licence_by_name(cache: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match="sam-license"):
        ModelPool().load(SEGMENT, "sam3", ModelContext(cache, "cpu"))


# --- SAM 2


def _published_sam2(cache: Path, *corners: tuple[float, float]) -> tuple[float, Floats]:
    """The likelihood and mask of a box in the model's pixels, by the steps of the package's tracking of videos."""
    model = sam2.load_network(cache / FOLDERS["sam2"], FOLDERS["sam2"])
    pixels = _square(IMAGE, 128, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    prompt = {"point_coords": torch.tensor([corners]), "point_labels": torch.tensor([[2, 3]], dtype=torch.int32)}
    with torch.inference_mode():
        _, features, _, sizes = model._prepare_backbone_features(model.forward_image(pixels))
        features[-1] = features[-1] + model.no_mem_embed
        *fine, coarse = (row.permute(1, 2, 0).view(1, -1, *size) for row, size in zip(features, sizes, strict=True))
        model.pred_obj_scores = False  # whether a video still shows the object
        _, _, likely, logits, *_ = model._forward_sam_heads(coarse, prompt, None, fine)
    full = torch.nn.functional.interpolate(logits, IMAGE.shape[:2], mode="bilinear", align_corners=False)
    return float(likely), full[0, 0].sigmoid().numpy()


def test_sam2_answers_as_the_published_steps_do(cache: Path, load: Callable[..., Any]) -> None:
    segmenter = load(SEGMENT, "sam2", threshold=0.0)
    question = sam2._Question(torch.from_numpy(IMAGE), (12.0, 9.0, 96.0, 81.0), ())
    ((mask, likely),) = segmenter._answer([question])
    expected, full = _published_sam2(cache, (12 * 128 / 120, 9 * 128 / 90), (96 * 128 / 120, 81 * 128 / 90))
    assert float(likely.array()) == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(mask.array(), full, atol=1e-4)
    unscaled, _ = _published_sam2(cache, (12.0, 9.0), (96.0, 81.0))
    assert unscaled != pytest.approx(expected, abs=1e-5)
    assert segmenter.segment(IMAGE, Subject(box=question.box)).method == "sam2"


@pytest.mark.parametrize("damage", ["truncated", "another network", "no size"])
def test_a_checkpoint_of_another_network_is_reported(tmp_path: Path, damage: str) -> None:
    folder = save_tiny_sam2(tmp_path / "model")
    if damage == "truncated":
        path = folder / "sam2.1_hiera_large.pt"
        path.write_bytes(path.read_bytes()[:1000])
    else:
        sizes = SAM2_SIZES | ({"image_encoder.neck.d_model": 64} if damage == "another network" else {"_target_": "x"})
        (folder / "network.json").write_text(json.dumps(sizes))
    with pytest.raises(BrokenWeights, match="fetch it again"):
        sam2.load_network(folder, FOLDERS["sam2"])


def test_every_published_checkpoint_has_the_name_that_the_package_gives_it() -> None:
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    for (weights,) in backend("segment", "sam2").weights.values():
        assert weights.required_files == (HF_MODEL_ID_TO_FILENAMES[weights.id][1],)


@pytest.mark.slow
def test_sam2_asks_for_the_face_it_finds_and_rejects_pictures_without_one(load: Callable[..., Any]) -> None:
    image = photograph()
    segmenter = load(SEGMENT, "sam2", threshold=0.0)
    np.testing.assert_array_equal(
        segmenter.segment(image, Subject()).alpha, segmenter.segment(image, Subject(box=portrait_box(image))).alpha
    )
    with pytest.raises(NoSubject, match="no face"):
        segmenter.segment(IMAGE, Subject())
    centre = load(SEGMENT, "sam2", threshold=0.0, without_face="centre")
    assert centre.segment(IMAGE, Subject()).alpha.shape == (90, 120)


@pytest.fixture
def asked(load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[tuple[Any, Any]]]:
    """SAM 2, and the places and labels of each of its batches."""
    segmenter = load(SEGMENT, "sam2", threshold=0.0)
    found: list[tuple[Any, Any]] = []
    encoder = segmenter.model.sam_prompt_encoder
    forward = encoder.forward

    def noted(points: tuple[torch.Tensor, torch.Tensor], **others: Any) -> Any:
        places, labels = points
        found.append((np.round(places.double().numpy(), 3).tolist(), labels.tolist()))
        return forward(points=points, **others)

    monkeypatch.setattr(encoder, "forward", noted)
    return segmenter, found


Asked = tuple[Any, list[tuple[Any, Any]]]


def test_sam2_is_asked_by_points_in_the_models_pixels(asked: Asked) -> None:
    segmenter, prompts = asked
    points = (SubjectPoint(30.0, 45.0), SubjectPoint(105.0, 0.0, inside=False))
    matte = segmenter.segment(IMAGE, Subject(points=points))
    assert matte.alpha.shape == (90, 120)
    # The model sees 128x128 pixels of 120x90.
    assert prompts == [([[[32.0, 64.0], [112.0, 0.0]]], [[1, 0]])]


def test_sam2_takes_box_and_middle_of_a_rough_mask(asked: Asked) -> None:
    segmenter, prompts = asked
    segmenter.segment(IMAGE, Subject(mask=ALPHA > 0))
    ((((left, top), (right, bottom), _),), labels) = prompts[0]
    # The model sees 128x128 pixels of 120x90; the mask reaches from (20, 10) to (100, 80).
    assert left < 20 * 128 / 120 < 100 * 128 / 120 < right and top < 10 * 128 / 90 < 80 * 128 / 90 < bottom
    assert labels == [[2, 3, 1]]
    with pytest.raises(NoSubject, match="empty"):
        segmenter.segment(IMAGE, Subject(mask=ALPHA < 0))


def test_sam2_gets_a_box_and_points_together_and_batches_hold_what_is_asked_alike(asked: Asked) -> None:
    segmenter, prompts = asked
    box, point = (30.0, 45.0, 105.0, 90.0), (SubjectPoint(60.0, 45.0),)
    subjects = [Subject(box=box), Subject(points=point), Subject(box=box, points=point)] * 3
    segmenter._ask._largest = 8  # as on a GPU
    with ThreadPoolExecutor(9) as threads:
        list(threads.map(lambda subject: segmenter.segment(IMAGE, subject), subjects))
    corners, middle = [[32.0, 64.0], [112.0, 128.0]], [[64.0, 64.0]]
    kinds = [(corners, [2, 3]), (middle, [1]), (corners + middle, [2, 3, 1])]
    found = [kinds.index((place, label)) for batch in prompts for place, label in zip(*batch, strict=True)]
    assert sorted(found) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_sam2_answers_alike_alone_and_in_a_batch(load: Callable[..., Any]) -> None:
    segmenter = load(SEGMENT, "sam2", threshold=0.0)
    pictures = [torch.from_numpy(IMAGE), torch.from_numpy(np.ascontiguousarray(IMAGE[::-1]))]
    questions = [sam2._Question(picture, (12.0, 9.0, 96.0, 81.0), ()) for picture in pictures]
    together = [mask.array() for mask, _ in segmenter._answer(questions)]
    alone = [segmenter._answer([question])[0][0].array() for question in questions]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.abs(alone[0] - alone[1]).max() > 0.01


@pytest.mark.parametrize(
    ("name", "subject", "remedy"),
    [
        ("classic", Subject("teapot"), "by box"),
        ("classic", Subject(points=(SubjectPoint(1, 1),)), "by box"),
        ("sam2", Subject("teapot"), "by box or mask or points"),
        ("sam3", Subject(points=(SubjectPoint(1, 1),)), "by box or text"),
        ("sam3", Subject(box=(1, 1, 20, 20)), "such as person"),
        ("mask", Subject(box=(1, 1, 20, 20)), "by mask"),
    ],
)
def test_a_backend_refuses_a_subject_that_it_does_not_read(
    load: Callable[..., Any], name: str, subject: Subject, remedy: str
) -> None:
    with pytest.raises(UnsupportedSubject, match=remedy) as caught:
        load(SEGMENT, name).segment(IMAGE, subject)
    assert caught.value.reason == "SubjectUnsupported" and name in caught.value.message


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("sam2", Subject(points=(SubjectPoint(121, 5),))),
        ("sam2", Subject(box=(200.0, 10.0, 220.0, 20.0))),
        ("classic", Subject(box=(10.0, 10.0, 10.0, 20.0))),
        ("mask", Subject(mask=ALPHA[:-1] > 0)),
    ],
)
def test_a_subject_outside_the_picture_is_refused(load: Callable[..., Any], name: str, subject: Subject) -> None:
    with pytest.raises(ValueError, match=r"picture|mask must be"):
        load(SEGMENT, name).segment(IMAGE, subject)


def test_the_mask_backend_hands_the_mask_on(load: Callable[..., Any]) -> None:
    matte = load(SEGMENT, "mask").segment(IMAGE, Subject(mask=ALPHA > 0))
    np.testing.assert_array_equal(matte.alpha, ALPHA)


def test_a_stage_to_which_text_is_a_hint_gives_it_to_those_that_read_it() -> None:
    box = (1.0, 1.0, 20.0, 20.0)
    subject = Subject("person", box=box)
    assert subject.given == ["text", "box"]
    assert subject.limited_to({"text", "box"}).text == "person"
    limited = subject.limited_to({"box", "points"})
    assert (limited.text, limited.box) == ("", box)


# --- DPT


def test_dpt_normals_are_those_of_its_relief(cache: Path, load: Callable[..., Any]) -> None:
    estimator = load(NORMALS, "dpt")
    assert isinstance(estimator, NormalEstimator)
    normals = estimator.estimate(IMAGE, ALPHA)
    assert (normals.shape, normals.dtype) == ((90, 120, 3), np.float32)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(normals[ALPHA == 0], np.broadcast_to([0, 0, -1], normals[ALPHA == 0].shape))
    model = DPTForDepthEstimation.from_pretrained(cache / FOLDERS["dpt"]).eval()
    with torch.inference_mode():
        inverse = model(pixel_values=_square(IMAGE, 64, (0.5,) * 3, (0.5,) * 3, "bicubic")).predicted_depth
    expected = normals_of_relief(inverse, torch.from_numpy(ALPHA)[None], 0.6)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(normals, expected, atol=2e-4)
    assert np.abs(normals[ALPHA > 0][:, :2]).mean() > 0.05


def test_a_relief_that_is_nearer_on_the_right_faces_left() -> None:
    ramp = torch.linspace(0, 1, 64).repeat(64, 1)[None] * 7 + 3
    alpha = torch.ones((1, 128, 128))
    normals = normals_of_relief(ramp, alpha, 0.5)[0]
    # 0.5 times the side of 128 over 128 pixels (between the 2nd and 98th percentile): a slope of about a half.
    slope = 0.5 / 0.96
    np.testing.assert_allclose(normals[0, 64, 64], -slope / np.hypot(slope, 1), atol=0.02)
    np.testing.assert_allclose(normals[1, 64, 64], 0, atol=1e-4)
    assert normals[2].max() < 0
    scaled = normals_of_relief(ramp * 100 - 4, alpha, 0.5)[0]
    np.testing.assert_allclose(scaled, normals, atol=1e-4)
    flat = normals_of_relief(torch.full((1, 64, 64), 2.0), alpha, 0.5)[0]
    assert (flat[2] == -1).all()


# --- Marigold


def test_marigold_albedo_is_its_albedo_target_at_full_size(cache: Path, load: Callable[..., Any]) -> None:
    from diffusers import MarigoldIntrinsicsPipeline

    estimator = load(ALBEDO, "marigold-iid")
    assert isinstance(estimator, AlbedoEstimator)
    albedo, shading = estimator.estimate(IMAGE, ALPHA, seed=5)
    assert (albedo.shape, albedo.dtype, shading) == (IMAGE.shape, np.float32, None)
    pipeline = MarigoldIntrinsicsPipeline.from_pretrained(cache / FOLDERS["marigold-iid"])
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn((8, 6, 8), generator=torch.Generator().manual_seed(5))[None]
    image = torch.from_numpy(IMAGE).permute(2, 0, 1)[None]
    expected = pipeline(image, latents=latents, match_input_resolution=True, output_type="np").prediction
    np.testing.assert_allclose(albedo, expected[0], atol=1e-5)
    assert np.abs(albedo - expected[1]).mean() > 1e-3, "the material is no albedo"


def test_marigold_is_repeatable_and_depends_on_the_seed(load: Callable[..., Any]) -> None:
    estimator = load(ALBEDO, "marigold-iid")
    first, again, other = (estimator.estimate(IMAGE, ALPHA, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 1e-4


def test_linear_albedo_becomes_srgb(tmp_path: Path) -> None:
    from scenewright_stages.vision.imaging.colour import srgb_from_linear

    made = []
    for name, linear in (("one", False), ("two", True)):
        save_tiny_marigold(tmp_path / name / FOLDERS["marigold-iid"], linear=linear)
        estimator = ModelPool().load(ALBEDO, "marigold-iid", ModelContext(tmp_path / name, "cpu"))
        made.append(estimator.estimate(IMAGE, ALPHA, 0)[0])
    np.testing.assert_allclose(made[1], srgb_from_linear(made[0]), atol=1e-5)


def test_weights_without_an_albedo_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_marigold(tmp_path / FOLDERS["marigold-iid"])
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace('"albedo"', '"irradiance"'))
    with pytest.raises(BrokenWeights, match="no albedo"):
        ModelPool().load(ALBEDO, "marigold-iid", ModelContext(tmp_path, "cpu"))


def test_marigold_normals_are_turned_into_the_cameras_frame(cache: Path, load: Callable[..., Any]) -> None:
    from diffusers import MarigoldNormalsPipeline

    normals = load(NORMALS, "marigold-normals").estimate(IMAGE, ALPHA)
    pipeline = MarigoldNormalsPipeline.from_pretrained(cache / FOLDERS["marigold-normals"])
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn((4, 6, 8), generator=torch.Generator().manual_seed(0))[None]
    theirs = pipeline(torch.from_numpy(IMAGE).permute(2, 0, 1)[None], latents=latents, output_type="np").prediction[0]
    np.testing.assert_allclose(normals, theirs * np.array([1, -1, -1]), atol=1e-4)


def test_the_noise_of_every_step_comes_from_the_seed(tmp_path: Path) -> None:
    folder = save_tiny_marigold(tmp_path / "prs-eth/marigold-normals-lcm-v0-1", "normals")
    shutil.rmtree(folder / "scheduler")
    LCMScheduler(prediction_type="v_prediction", timestep_spacing="trailing").save_pretrained(folder / "scheduler")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("DDIMScheduler", "LCMScheduler"))
    context = ModelContext(tmp_path, "cpu", variant="lcm-v0-1", options={"steps": 3})
    estimator = ModelPool().load(NORMALS, "marigold-normals", context)
    first, again = (estimator.estimate(IMAGE, ALPHA) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_an_albedo_of_unknown_scale_is_brought_to_the_photographs() -> None:
    random = np.random.default_rng(2)
    albedo = random.uniform(0.1, 0.6, (40, 40, 3)).astype(np.float32)
    shading = np.linspace(0.2, 1.0, 40, dtype=np.float32)[None, :, None]
    scale = scale_of(albedo * 0.2, albedo * shading, np.ones((40, 40), np.float32))
    assert scale == pytest.approx(5 * 0.88, rel=0.03)


def test_gpus_run_language_and_masks_in_bf16_and_depth_in_fp32(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: moved.append(device) or self)
    for capability, name, precision in ((SEGMENT, "sam3", "bf16"), (SEGMENT, "sam2", "bf16"), (NORMALS, "dpt", "fp32")):
        context = ModelContext(cache, "cuda", frozenset({"sam-license"}))
        assert ModelPool().load(capability, name, context).record.precision == precision
    assert [device for device in moved if device != "cpu"] == ["cuda"] * 3


@pytest.mark.slow
def test_places_keep_their_precision_when_the_model_has_less(
    load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    for precision in ("fp32", "bf16"):
        segmenter = load(SEGMENT, "sam2", threshold=0.0, precision=precision)
        decoder = segmenter.model.sam_mask_decoder
        forward = decoder.forward

        def noted(forward: Any = forward, **given: Any) -> Any:
            seen.append(given["sparse_prompt_embeddings"])
            return forward(**given)

        monkeypatch.setattr(decoder, "forward", noted)
        segmenter.segment(IMAGE, Subject(box=(12.0, 9.0, 96.0, 81.0)))
    full, half = seen
    assert half.dtype == torch.float32 and torch.equal(full, half)


@pytest.mark.slow
def test_sam2_answers_in_bf16(load: Callable[..., Any]) -> None:
    box = (12.0, 9.0, 96.0, 81.0)
    full, half = (
        load(SEGMENT, "sam2", threshold=0.0, precision=precision).segment(IMAGE, Subject(box=box))
        for precision in ("fp32", "bf16")
    )
    assert half.score == pytest.approx(full.score, abs=0.05) and half.score != full.score


# --- shared


@pytest.mark.parametrize(
    ("capability", "name", "option", "value"),
    [(SEGMENT, "sam3", "threshold", 2), (SEGMENT, "sam2", "batch", 0), (NORMALS, "dpt", "relief", -1),
     (ALBEDO, "marigold-iid", "resolution", 13), (NORMALS, "marigold-normals", "steps", 0),
     (SEGMENT, "sam2", "without_face", "guess"), (ALBEDO, "retinex", "scales", "wide")],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(
    load: Callable[..., Any], capability: Capability[Any], name: str, option: str, value: Any
) -> None:
    with pytest.raises(UnsupportedOption):
        load(capability, name, **{option: value})


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"Intel/dpt-large"):
        ModelPool().load(NORMALS, "dpt", ModelContext(tmp_path, "cpu"))


def test_records_name_weights_and_licence(load: Callable[..., Any]) -> None:
    record = load(SEGMENT, "sam2").record
    assert (record.weights_id, record.licence, record.non_commercial) == (FOLDERS["sam2"], "apache-2.0", False)
    assert load(NORMALS, "classic").record.notes


@pytest.mark.slow
def test_calls_from_many_threads_give_each_its_own_answer(load: Callable[..., Any]) -> None:
    estimator = load(NORMALS, "dpt")
    images = [np.random.default_rng(seed).random((40, 40 + 8 * (seed % 2), 3), dtype=np.float32) for seed in range(8)]
    alphas = [np.ones(image.shape[:2], np.float32) for image in images]
    alone = [estimator.estimate(image, alpha) for image, alpha in zip(images, alphas, strict=True)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(estimator.estimate, images, alphas))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    estimator.release()
    with pytest.raises(RuntimeError, match="released"):
        estimator.estimate(images[0], alphas[0])


def test_overlap_of_boxes() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0
