"""PerSAM on a tiny random SAM: its guidance is the published one and not the library's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from plain_persam import guided
from tiny_sam import CELLS, CHANNELS, SIDE, save_tiny_sam, tiny_sam
from torch import Tensor

from scenewright_stages.backends.locate.guided_decoder import Guidance, decode
from scenewright_stages.backends.locate.interface import LOCATE, Exemplar, Locator
from scenewright_stages.backends.locate.persam import (
    FitSettings,
    PersamLocator,
    Seen,
    Target,
    dice_loss,
    fitted_weights,
    focal_loss,
)
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.vision.imaging.matting import NoSubject

RECORD = BackendRecord("locate", "persam", "model")
RNG = np.random.default_rng(3)


def prompts(model: torch.nn.Module) -> tuple[Tensor, Tensor]:
    points, labels = torch.tensor([[[[30.0, 40.0], [100.0, 90.0]]]]), torch.tensor([[[1, 0]]], dtype=torch.int32)
    with torch.no_grad():
        sparse, dense = model.prompt_encoder(
            input_points=points, input_labels=labels, input_boxes=None, input_masks=None
        )
    return sparse, dense


def case() -> tuple[torch.nn.Module, Tensor, Guidance]:
    model = tiny_sam(peaked=40.0)
    torch.manual_seed(1)
    similarity = torch.rand(CELLS * CELLS)
    return model, torch.randn(1, CHANNELS, CELLS, CELLS), Guidance(similarity, torch.randn(CHANNELS))


@torch.no_grad()
def plain(model: torch.nn.Module, features: Tensor, guidance: Guidance) -> Tensor:
    sparse, dense = prompts(model)
    places = model.get_image_wide_positional_embeddings()[0]
    weights = dict(model.state_dict())
    return guided(weights, features[0], places, sparse[0, 0], dense[0], guidance.similarity, guidance.embedding)


@torch.no_grad()
def test_guided_logits_are_those_of_the_published_method() -> None:
    model, features, guidance = case()
    expected = plain(model, features, guidance)
    single, _ = decode(model, features, *prompts(model), multimask=False, guidance=guidance)
    three, quality = decode(model, features, *prompts(model), multimask=True, guidance=guidance)
    assert float(expected.std()) > 0.1, "a model that answers the same to everything proves nothing"
    assert float((single - expected[:1]).abs().max()) < 1e-4
    assert float((three - expected[1:]).abs().max()) < 1e-4
    assert quality.shape == (3,)


@torch.no_grad()
def test_the_librarys_own_arguments_are_something_else() -> None:
    model, features, guidance = case()
    answer = model(
        image_embeddings=features,
        input_points=torch.tensor([[[[30.0, 40.0], [100.0, 90.0]]]]),
        input_labels=torch.tensor([[[1, 0]]], dtype=torch.int32),
        attention_similarity=guidance.similarity.reshape(1, 1, 1, -1),
        target_embedding=guidance.embedding.reshape(1, 1, 1, -1),
    ).pred_masks[0, 0]
    difference = float((answer - plain(model, features, guidance)[1:]).abs().max())
    print(f"largest difference of the library's logits: {difference:.3f}")
    assert difference > 1e-2


@torch.no_grad()
def test_without_guidance_the_decoder_is_sams() -> None:
    model, features, _ = case()
    library = model(
        image_embeddings=features,
        input_points=torch.tensor([[[[30.0, 40.0], [100.0, 90.0]]]]),
        input_labels=torch.tensor([[[1, 0]]], dtype=torch.int32),
    )
    masks, quality = decode(model, features, *prompts(model), multimask=True)
    assert float((masks - library.pred_masks[0, 0]).abs().max()) < 1e-4
    assert float((quality - library.iou_scores[0, 0]).abs().max()) < 1e-4


@pytest.mark.slow
def test_weights_of_f_are_those_of_a_thousand_decoder_passes() -> None:
    locator = PersamLocator(tiny_sam(), RECORD, "cpu", fit=FitSettings())
    picture = RNG.random((48, 64, 3), dtype=np.float32)
    alpha = np.zeros((48, 64), np.float32)
    alpha[10:40, 12:50] = 1
    fitted = locator.target_of(Exemplar("one", picture, alpha)).weights
    assert fitted is not None
    assert float(fitted.sum()) == pytest.approx(1, abs=1e-5)
    assert float((fitted - 1 / 3).abs().max()) > 0.01, "it learned something"
    expected = by_decoding_every_time(locator, picture, torch.from_numpy(alpha).flatten())
    assert float((fitted - expected).abs().max()) < 1e-5


def by_decoding_every_time(locator: PersamLocator, picture: NDArray[np.float32], mask: Tensor) -> Tensor:
    """The fit with the decoder in the loop, as published."""
    model = locator.model
    seen = locator.see(picture)
    own = seen.features[0][:, locator._on_grid(mask.reshape(48, 64), seen) > 0.485]
    direction = own.amax(dim=1) / 2 + own.mean(dim=1) / 2
    target = Target(direction / direction.norm(), own.mean(dim=1), 0.0)
    points, labels = locator.points(locator.similarity(seen, target), seen, with_background=False)
    features = seen.features.clone()
    free = torch.nn.Parameter(torch.ones(2, 1) / 3)
    optimiser = torch.optim.AdamW([free], lr=1e-3, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1000)
    for _ in range(1000):
        with torch.no_grad():
            sparse, dense = model.prompt_encoder(points.clone(), labels.clone(), None, None)
            low, _ = decode(model, features, sparse, dense, multimask=True)
            high = torch.nn.functional.interpolate(low[None], (SIDE, SIDE), mode="bilinear", align_corners=False)
            high = high[..., : seen.fitted[0], : seen.fitted[1]]
            high = torch.nn.functional.interpolate(high, (48, 64), mode="bilinear", align_corners=False)[0].flatten(1)
        mixed = (torch.cat([1 - free.sum(0)[None], free]) * high).sum(dim=0)
        loss = dice_loss(mixed, mask) + focal_loss(mixed, mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return torch.cat([1 - free.sum(0)[None], free]).detach()[:, 0]


def test_losses_are_the_published_ones() -> None:
    logits, mask = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    likely = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.5])))
    dice = 1 - (2 * likely[0] + 1) / (likely.sum() + 2)
    entropy = -np.log([likely[0], 1 - likely[1], 1 - likely[2]])
    wrong = np.array([1 - likely[0], likely[1], likely[2]])
    focal = (np.array([0.25, 0.75, 0.75]) * entropy * wrong**2).mean()
    assert float(dice_loss(logits, mask)) == pytest.approx(dice, rel=1e-5)
    assert float(focal_loss(logits, mask)) == pytest.approx(focal, rel=1e-5)


def test_f_weighs_the_mask_that_is_right() -> None:
    mask = (torch.arange(400) % 20 < 8).float()
    right, wrong = (mask * 2 - 1) * 3, (torch.arange(400) // 20 < 8).float() * 2 - 1
    weights = fitted_weights(torch.stack([wrong, right, -right]), mask, FitSettings(1e-2, 300))
    assert int(weights.argmax()) == 1


@pytest.mark.parametrize("fit", [None, FitSettings(epochs=2)])
def test_the_chosen_point_lies_inside_what_was_planted(fit: FitSettings | None) -> None:
    """One feature inside a blob of cells, others around it, in pictures of all shapes: the point is inside always."""
    locator = PersamLocator(tiny_sam(), RECORD, "cpu", fit=fit)
    rng = np.random.default_rng(5)
    for number in range(100):
        size = (int(rng.integers(40, 200)), int(rng.integers(40, 200)))
        seen, inside, own = planted(rng, size)
        target = Target(own / own.norm(), own, 0.0)
        points, labels = locator.points(locator.similarity(seen, target), seen, with_background=fit is None)
        assert labels[0, 0].tolist() == ([1] if fit else [1, 0])
        column, row = (int(value / (SIDE / CELLS)) for value in points[0, 0, 0].tolist())
        assert inside[row, column], f"picture {number} of {size}: cell {row}, {column}"
        if fit is None:
            column, row = (int(value / (SIDE / CELLS)) for value in points[0, 0, 1].tolist())
            assert not inside[row, column]


def planted(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Seen, NDArray[np.bool_], Tensor]:
    factor = SIDE / max(size)
    fitted = (int(size[0] * factor + 0.5), int(size[1] * factor + 0.5))
    rows, columns = max(1, fitted[0] * CELLS // SIDE), max(1, fitted[1] * CELLS // SIDE)
    tall, wide = int(rng.integers(1, max(2, rows))), int(rng.integers(1, max(2, columns)))
    top, left = int(rng.integers(0, rows - tall + 1)), int(rng.integers(0, columns - wide + 1))
    inside = np.zeros((CELLS, CELLS), bool)
    inside[top : top + tall, left : left + wide] = True
    own = rng.normal(size=CHANNELS).astype(np.float32)
    features = rng.normal(size=(CHANNELS, CELLS, CELLS)).astype(np.float32)
    features[:, inside] = own[:, None] + 0.2 * rng.normal(size=(CHANNELS, int(inside.sum())))
    return Seen(torch.from_numpy(features)[None], size, fitted), inside, torch.from_numpy(own)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_tiny_sam(root / "facebook/sam-vit-huge")
    return root


def loaded(cache: Path, name: str, **options: object) -> Locator:
    return ModelPool().load(LOCATE, name, ModelContext(cache, "cpu", options=options))


@pytest.mark.parametrize("name", ["persam", "persam-f"])
def test_published_weights_load_and_answer_at_the_pictures_size(cache: Path, name: str) -> None:
    options = {"threshold": 0.0, **({"epochs": 3} if name == "persam-f" else {})}
    locator = loaded(cache, name, **options)
    assert isinstance(locator, Locator)
    assert locator.record.weights_id == "facebook/sam-vit-huge"
    exemplar = Exemplar("cup", RNG.random((60, 80, 3), dtype=np.float32), np.eye(60, 80, dtype=np.float32))
    picture = np.random.default_rng(1).random((70, 50, 3), dtype=np.float32)
    try:
        first = locator.locate(exemplar, picture)
    except NoSubject as empty:
        assert "empty" in empty.message or "nothing" in empty.message  # random weights may draw nothing
        return
    assert first.alpha.shape == (70, 50)
    assert first.method == name
    np.testing.assert_array_equal(first.alpha, locator.locate(exemplar, picture).alpha)


def test_what_looks_like_the_photos_background_is_absent(cache: Path) -> None:
    locator = PersamLocator(tiny_sam(), RECORD, "cpu")
    rng = np.random.default_rng(2)
    own, other = (torch.from_numpy(rng.normal(size=CHANNELS).astype(np.float32)) for _ in range(2))
    cosine = float(torch.nn.functional.cosine_similarity(own, other, dim=0))
    target = Target(own / own.norm(), own, cosine)
    logits = torch.full((32, 32), -9.0)
    logits[8:20, 8:20] = 9.0
    features = other[:, None, None].repeat(1, CELLS, CELLS)
    there = features.clone()
    there[:, 2:5, 2:5] = own[:, None, None]
    seen = [Seen(each[None], (SIDE, SIDE), (SIDE, SIDE)) for each in (there, features)]
    assert locator._likeness(seen[0], target, logits) == pytest.approx(1, abs=1e-4)
    assert locator._likeness(seen[1], target, logits) == pytest.approx(0, abs=1e-4)


def test_settings_that_cannot_be_are_refused(cache: Path) -> None:
    for name, options in (
        ("persam", {"threshold": 2.0}),
        ("persam-f", {"epochs": 0}),
        ("persam-f", {"learning_rate": 0}),
    ):
        with pytest.raises(UnsupportedOption):
            loaded(cache, name, **options)
