"""Zero123++ with tiny random weights in the published format: what the model sees, and what becomes of its answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler
from tiny_zero123 import CLIP_SIDE, RAMPING, SIDE, save_tiny_zero123
from transformers import CLIPImageProcessor

from scenewright_stages.backends.object_views.interface import OBJECT_VIEWS, Camera, on_plain
from scenewright_stages.backends.object_views.zero123 import (
    AZIMUTHS,
    ELEVATIONS,
    GREY,
    Preprocessing,
    Zero123Settings,
    Zero123Views,
    load_parts,
    unscaled_latents,
    unscaled_pixels,
)
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool

FOLDER = Path("sudo-ai") / "zero123plus-v1.2"
LICENCE = "cc-by-nc-4.0"
CAMERAS = [Camera(azimuth, elevation) for azimuth, elevation in zip(AZIMUTHS, ELEVATIONS, strict=True)]
NOTHING = lambda ready: None  # noqa: E731


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    save_tiny_zero123(root / FOLDER)
    return root


@pytest.fixture(scope="module")
def thing() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    alpha = np.zeros((48, 48), np.float32)
    alpha[12:36, 10:38] = 1
    return rng.random((48, 48, 3), dtype=np.float32), alpha


def _painter(cache: Path, guidance: float = 4.0) -> Zero123Views:
    parts = load_parts(cache / FOLDER, "cpu", torch.float32)
    facts = ModelPool().load(OBJECT_VIEWS, "zero123", _context(cache)).record
    return Zero123Views(parts, Zero123Settings(3, guidance, SIDE), facts)


def _context(cache: Path, **options: Any) -> ModelContext:
    return ModelContext(cache, "cpu", accepted_licences=frozenset({LICENCE}), options={"precision": "fp32", **options})


@pytest.mark.slow
def test_a_seed_fixes_all_six_views_and_seed_and_thing_change_them(cache: Path, thing: tuple[Any, Any]) -> None:
    painter = _painter(cache)
    first = painter.views(*thing, CAMERAS, 2**70 + 1, NOTHING)
    assert [view.shape for view in first] == [(SIDE, SIDE, 3)] * 6
    again = painter.views(*thing, CAMERAS, 2**70 + 1, NOTHING)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], painter.views(*thing, CAMERAS, 2, NOTHING)[0])
    mirrored = (thing[0][:, ::-1].copy(), thing[1])
    assert not np.array_equal(first[0], painter.views(*mirrored, CAMERAS, 2**70 + 1, NOTHING)[0])
    chosen = painter.views(*thing, [CAMERAS[4], CAMERAS[1]], 2**70 + 1, NOTHING)
    assert np.array_equal(chosen[0], first[4]) and np.array_equal(chosen[1], first[1])


@pytest.mark.slow
def test_the_published_calls_give_the_same_picture(cache: Path, thing: tuple[Any, Any]) -> None:
    """Each step written out, with attention over own and reference tokens in one plain formula."""
    painter = _painter(cache)
    grey = torch.from_numpy(on_plain(*thing, GREY)).permute(2, 0, 1)[None]
    with torch.no_grad():
        made = painter._painted(grey, 5)
        parts = load_parts(cache / FOLDER, "cpu", torch.float32)
        expected = _plainly(parts, grey, 5)
    torch.testing.assert_close(made, expected, atol=2e-5, rtol=0)
    # The reference matters: without it the same noise gives another picture.
    with torch.no_grad():
        alone = _plainly(load_parts(cache / FOLDER, "cpu", torch.float32), grey, 5, with_reference=False)
    assert float((alone - made).abs().max()) > 1e-4


@pytest.mark.parametrize("size", [(40, 40), (40, 56), (70, 40), (18, 30)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_center_crop": False},
        {"do_resize": False},
        {"do_resize": False, "do_center_crop": False},
        {"do_center_crop": False, "size": {"height": 24, "width": 36}},
        {"size": {"shortest_edge": 36}, "crop_size": {"height": 30, "width": 26}},
        {"size": 24, "crop_size": 20},
    ],
    ids=str,
)
def test_pictures_are_prepared_as_the_published_file_says(
    tmp_path: Path, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    """Against the library's own processor, which rounds to bytes after resizing."""
    stated = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}, **settings}
    stated |= {"image_mean": [0.5] * 3, "image_std": [0.8] * 3}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(stated))
    # Smooth, and nowhere black or white: the library also rounds and clips between rows and columns.
    rows, columns, channels = np.meshgrid(*(np.arange(each) for each in (*size, 3)), indexing="ij")
    picture = (128 + 90 * np.sin(0.5 * rows + 0.7 * columns + channels)).astype(np.uint8)
    expected = CLIPImageProcessor(**stated)(images=picture, return_tensors="pt").pixel_values
    given = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    found = Preprocessing.read(path)(given)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 2 / 255 / 0.8


class _PlainAttention:
    """Softmax attention over own tokens and, where they are known, those of the reference."""

    def __init__(self, tokens: dict[str, torch.Tensor], name: str, read: list[bool]) -> None:
        self.tokens, self.name, self.read = tokens, name, read

    def __call__(self, attn: Any, hidden: Any, encoder_hidden_states: Any = None, **rest: Any) -> Any:
        other = encoder_hidden_states
        source = hidden if other is None else other
        if other is None and self.read[0]:
            source = torch.cat([source, self.tokens[self.name]], dim=1)
        elif other is None:
            self.tokens[self.name] = hidden
        query, key, value = (
            project(values).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project, values in ((attn.to_q, hidden), (attn.to_k, source), (attn.to_v, source))
        )
        weights = torch.softmax(query @ key.transpose(2, 3) * attn.scale, dim=-1)
        return attn.to_out[0]((weights @ value).transpose(1, 2).flatten(2))


def _plainly(parts: Any, grey: torch.Tensor, seed: int, with_reference: bool = True) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(seed)
    tokens: dict[str, torch.Tensor] = {}
    read = [False]
    parts.unet.set_attn_processor({name: _PlainAttention(tokens, name, read) for name in parts.unet.attn_processors})
    small = torch.nn.functional.interpolate(grey, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    looked = torch.nn.functional.interpolate(grey, (CLIP_SIDE, CLIP_SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    # Pixels in [-1, 1], scaled by .5 / .8.
    spread = parts.vae.encode((small * 2 - 1) * 0.5 / 0.8).latent_dist
    shown = spread.mean + spread.std * torch.randn(spread.mean.shape, generator=drawn)
    spread = parts.vae.encode(torch.zeros_like(small)).latent_dist
    nothing = spread.mean + spread.std * torch.randn(spread.mean.shape, generator=drawn)
    reference = torch.cat([nothing, shown])
    embedding = parts.vision_encoder((looked - 0.45) / 0.27).image_embeds
    ramped = parts.empty_prompt + embedding[:, None] * torch.tensor(RAMPING)[None, :, None]
    prompt = torch.cat([parts.empty_prompt, ramped])
    schedule = EulerAncestralDiscreteScheduler.from_config(parts.scheduler.config)
    schedule.set_timesteps(3)
    assert int(schedule.timesteps[0]) == 999
    latents = torch.randn((1, 4, 3 * SIDE // 8, 2 * SIDE // 8), generator=drawn) * schedule.init_noise_sigma
    for number, time in enumerate(schedule.timesteps):
        sigma = schedule.sigmas[number]
        noisy = reference + torch.randn(reference.shape, generator=drawn) * sigma
        scale = 1 / (sigma**2 + 1) ** 0.5
        read[0] = False
        parts.unet(noisy * scale, time, encoder_hidden_states=prompt)
        read[0] = with_reference
        schedule.scale_model_input(latents, time)
        both = parts.unet(torch.cat([latents] * 2) * scale, time, encoder_hidden_states=prompt).sample
        guided = both[:1] + 4.0 * (both[1:] - both[:1])
        latents = schedule.step(guided, time, latents, generator=drawn).prev_sample
    pixels = parts.vae.decode((latents / 0.75 + 0.22) / 0.18215).sample / 0.5 * 0.8
    return (pixels[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)


def test_scaling_is_undone() -> None:
    values = torch.linspace(-1, 1, 9)
    torch.testing.assert_close(unscaled_latents((values - 0.22) * 0.75), values)
    torch.testing.assert_close(unscaled_pixels(values * 0.5 / 0.8), values)


@pytest.mark.slow
def test_cameras_other_than_the_six_and_impossible_options_are_refused(cache: Path, thing: tuple[Any, Any]) -> None:
    with pytest.raises(UnsupportedOption):
        _painter(cache).views(*thing, [Camera(45, 20)], 0, NOTHING)
    for options in ({"steps": 0}, {"guidance": -1.0}):
        with pytest.raises(UnsupportedOption):
            ModelPool().load(OBJECT_VIEWS, "zero123", _context(cache, **options))


def test_the_licence_has_to_be_accepted(cache: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match=LICENCE):
        ModelPool().load(OBJECT_VIEWS, "zero123", ModelContext(cache, "cpu"))


def test_only_squares_go_in() -> None:
    with pytest.raises(ValueError, match="square"):
        on_plain(np.zeros((4, 6, 3), np.float32), np.zeros((4, 6), np.float32), 0.5)
