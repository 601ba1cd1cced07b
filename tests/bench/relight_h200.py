"""Relit portraits a second on one GPU, against a plain loop over the same models, and how busy the GPU is.

    python tests/bench/relight_h200.py [--normals dpt|marigold] [--images 240] [--plain 24] [--json out.json]

SAM 3 and the normals' model have their full size and random weights, which take the same time as trained ones; the
pictures are 1024x1024 PNG files in memory. Each is decoded, segmented, matted, taken apart, freed of its light, given
normals and a new light, put together and encoded as the four result files. The plain loop does one picture after
the other with batches of one; the fast way runs the same code on many threads, whose calls the models gather into
batches. Loading, compiling and a few pictures of warming up are not counted. Exit code 1 if a bar is missed.

GPU busy is the mean of NVML's utilisation, read every 50 ms: the share of its sampling period in which a kernel ran.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray

from scenewright_stages.backends.capability import BackendRecord
from scenewright_stages.backends.marigold import MarigoldNormals, MarigoldSettings
from scenewright_stages.backends.normals.dpt import DptNormals
from scenewright_stages.backends.normals.interface import NormalEstimator
from scenewright_stages.backends.segment.interface import Subject
from scenewright_stages.backends.segment.sam3 import Sam3Segmenter
from scenewright_stages.contract.stage import Pixels
from scenewright_stages.photographs.compositing import outline, split_layers
from scenewright_stages.photographs.pictures import bytes_from_linear, linear_from_bytes, linear_from_unit
from scenewright_stages.vision import albedo, matting, normals, shading
from scenewright_stages.worker.stage.encoding import encode_png

SPEED_BAR, BUSY_BAR = 2.0, 0.9
SIDE = 1024
_RECORD = BackendRecord("bench", "bench", "model", device="cuda", precision="bf16")

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class LetterTokenizer:
    """Stands in for SAM 3's tokenizer, whose vocabulary is not at hand: a token for each letter."""

    def __call__(self, texts: list[str], max_length: int, **_: Any) -> dict[str, torch.Tensor]:
        tokens = [0, *(ord(letter) % 1000 + 2 for letter in texts[0]), 1][:max_length]
        mask = [1] * len(tokens) + [0] * (max_length - len(tokens))
        padded = tokens + [1] * (max_length - len(tokens))
        return {"input_ids": torch.tensor([padded]), "attention_mask": torch.tensor([mask])}


def random_sam3(batch: int) -> Sam3Segmenter:
    """SAM 3 as published (0.8 billion weights), random, bf16."""
    transformers: Any = importlib.import_module("transformers")
    model = _on_gpu(lambda: transformers.Sam3Model(transformers.Sam3Config()), torch.bfloat16)
    # Random scores are low; every picture has to go through the whole pipeline.
    return Sam3Segmenter(model, LetterTokenizer(), _RECORD, "cuda", batch, threshold=0.0)


def random_dpt(batch: int) -> DptNormals:
    """DPT-Large as published (0.34 billion weights), random, fp16."""
    transformers: Any = importlib.import_module("transformers")
    config = transformers.DPTConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, image_size=384,
        backbone_out_indices=[5, 11, 17, 23], neck_hidden_sizes=[256, 512, 1024, 1024], is_hybrid=False,
    )  # fmt: skip
    return DptNormals(
        _on_gpu(lambda: transformers.DPTForDepthEstimation(config), torch.float16), _RECORD, "cuda", batch
    )


def random_marigold(batch: int) -> MarigoldNormals:
    """Marigold as published (Stable Diffusion 2's U-Net and autoencoder), random, fp16, four steps at 768 pixels."""
    diffusers: Any = importlib.import_module("diffusers")
    unet = _on_gpu(
        lambda: diffusers.UNet2DConditionModel(
            sample_size=96, in_channels=8, out_channels=4, block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True,
        ),
        torch.float16,
    )  # fmt: skip
    coder = _on_gpu(
        lambda: diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, sample_size=768,
        ),
        torch.float16,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing")
    pipeline = diffusers.MarigoldNormalsPipeline(
        unet, coder, scheduler, None, None, prediction_type="normals", default_denoising_steps=4,
        default_processing_resolution=768,
    )  # fmt: skip
    pipeline.empty_text_embedding = torch.zeros((1, 2, 1024), device="cuda", dtype=torch.float16)
    return MarigoldNormals(pipeline, _RECORD, "cuda", MarigoldSettings("fp16", batch))


def _on_gpu(make: Callable[[], Any], kind: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        with torch.device("cuda"):
            return make().eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class Models:
    """What one way of running uses."""

    segmenter: Sam3Segmenter
    surface: NormalEstimator


class HostTime:
    """CPU seconds of the host by part of the work, over all threads."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what this thread computes inside; waiting counts nothing."""
        began = time.thread_time()
        yield
        with self._lock:
            self.seconds[name] += time.thread_time() - began


def relight(picture: bytes, seed: int, models: Models, host: HostTime) -> int:
    """Everything that happens to one photograph; the size of its result files."""
    with host.part("decode"):
        photograph, srgb = _decoded(picture)
    with host.part("segment and matte"):
        alpha = _alpha(srgb, models.segmenter)
    with host.part("layers"):
        layers = split_layers(photograph, alpha)
        matte = alpha.astype(np.float32) * np.float32(1 / 255)
    with host.part("albedo"):
        bare, _ = albedo.estimate_albedo(srgb, matte, "classic")
        bare_linear = linear_from_unit(bare)
    with host.part("normals"):
        surface = models.surface.estimate(srgb, matte)
    with host.part("shade"):
        light = shading.sample_light(np.random.default_rng(seed))
        lit = bytes_from_linear(shading.shade(bare_linear, surface, light))
    with host.part("recombine"):
        output = _recombined(photograph, lit, alpha, matte, layers.behind)
    with host.part("encode"):
        made = (bytes_from_linear(bare_linear), output, layers.foreground)
        # The photograph's own file is handed on.
        return sum(len(encode_png(each, compressed=True)) for each in (Pixels(photograph, picture), *map(Pixels, made)))


def _decoded(picture: bytes) -> tuple[Bytes, Floats]:
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None, "the pictures are sound"
    photograph = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
    return photograph, photograph.astype(np.float32) * np.float32(1 / 255)


def _recombined(photograph: Bytes, lit: Bytes, alpha: Bytes, matte: Floats, behind: Bytes) -> Bytes:
    """The lit subject before what is behind it."""
    output = photograph.copy()
    cv2.copyTo(lit, (alpha == 255).view(np.uint8), output)
    edge = outline(alpha)
    share = matte.reshape(-1, 1)[edge]
    front, back = (linear_from_bytes(side) for side in (np.ascontiguousarray(lit.reshape(-1, 3)[edge]), behind))
    output.reshape(-1, 3)[edge] = bytes_from_linear(share * front + (1 - share) * back)
    return output


def _alpha(srgb: Floats, segmenter: Sam3Segmenter) -> Bytes:
    """The segmenter does all its work, but its weights are random: what is relit is an oval with a soft outline."""
    try:
        segmenter.segment(srgb, Subject("person"))
    except matting.NoSubject:
        matting.refine_matte(srgb, _oval(srgb.shape[0]) > 0.5, 8)
    return (_oval(srgb.shape[0]) * np.float32(255)).astype(np.uint8)


def _oval(side: int) -> Floats:
    rows, columns = np.ogrid[:side, :side]
    distance = np.hypot((columns - 0.45 * side) / 0.3, (rows - 0.6 * side) / 0.5) / side
    oval: Floats = np.clip((1 - distance) * 60 + 0.5, 0, 1).astype(np.float32)
    return oval


def pictures(count: int) -> list[bytes]:
    """PNG files of the astronaut, each cut and turned another way."""
    made = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        top, left = random.integers(0, 60, 2)
        cut = skimage.data.astronaut()[top : top + 450, left : left + 450]
        cut = np.ascontiguousarray(cut[:, ::-1] if seed % 2 else cut)
        large = cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        made.append(cv2.imencode(".png", cv2.cvtColor(large, cv2.COLOR_RGB2BGR))[1].tobytes())
    return made


class BusySampler:
    """NVML's utilisation while a block runs."""

    def __enter__(self) -> BusySampler:
        self._samples: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._samples.append(torch.cuda.utilization() / 100)

    @property
    def mean(self) -> float:
        """Share of the time."""
        return float(np.mean(self._samples)) if self._samples else 0.0


@dataclass(frozen=True)
class Reading:
    """One run: the plain loop and the fast way, images a second, how busy the GPU was, and the host's CPU an image."""

    normals: str
    plain_images_per_second: float
    plain_busy: float
    images_per_second: float
    busy: float
    ratio: float
    images: int
    threads: int
    batch: int
    gigabytes: float
    host_milliseconds: dict[str, float]


def measure(options: argparse.Namespace) -> Reading:
    """Both ways over the same pictures in one run."""
    make = random_dpt if options.normals == "dpt" else random_marigold
    plain, fast = Models(random_sam3(1), make(1)), Models(random_sam3(options.batch), make(options.batch))
    files, host, unused = pictures(16), HostTime(), HostTime()
    with ThreadPoolExecutor(options.threads) as pool:
        list(pool.map(lambda seed: relight(files[seed % 16], seed, fast, unused), range(options.threads + 8)))
        relight(files[0], 0, plain, unused)
        slow_seconds, slow_busy = _timed(
            lambda: [relight(files[seed % 16], seed, plain, unused) for seed in range(options.plain)]
        )
        seconds, busy = _timed(
            lambda: list(pool.map(lambda seed: relight(files[seed % 16], seed, fast, host), range(options.images)))
        )
    slow, quick = options.plain / slow_seconds, options.images / seconds
    memory = torch.cuda.max_memory_allocated() / 1e9
    return Reading(
        options.normals, round(slow, 2), round(slow_busy, 3), round(quick, 2), round(busy, 3), round(quick / slow, 2),
        options.images, options.threads, options.batch, round(memory, 1),
        {name: round(1000 * spent / options.images, 1) for name, spent in host.seconds.most_common()},
    )  # fmt: skip


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    torch.cuda.synchronize()
    with BusySampler() as sampler:
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return seconds, sampler.mean


def main(arguments: list[str] | None = None) -> int:
    """Print the reading; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--normals", choices=("dpt", "marigold"), default="dpt")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--plain", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2 * (os.cpu_count() or 8))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    started = time.perf_counter()
    for package in (matting, albedo, normals, shading):
        package.warm_up()
    print(f"kernels compiled in {time.perf_counter() - started:.0f} s", flush=True)
    reading = measure(options)
    print(f"SAM 3 and {reading.normals} normals, {SIDE}x{SIDE}, batches of up to {reading.batch}")
    print(f"plain loop {reading.plain_images_per_second:.2f} images/s, GPU busy {reading.plain_busy:.0%}")
    print(f"batched    {reading.images_per_second:.2f} images/s, GPU busy {reading.busy:.0%} (bar {BUSY_BAR:.0%})")
    print(f"host       {reading.host_milliseconds} ms of CPU an image")
    print(f"ratio      {reading.ratio:.2f} (bar {SPEED_BAR:g})")
    print(json.dumps({**asdict(reading), "device": torch.cuda.get_device_name(), "torch": torch.__version__}))
    if options.json:
        options.json.write_text(json.dumps(asdict(reading), indent=1))
    return int(reading.ratio < SPEED_BAR or reading.busy < BUSY_BAR)


if __name__ == "__main__":
    sys.exit(main())
