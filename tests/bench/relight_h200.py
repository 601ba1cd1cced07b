"""Relit portraits a second on one GPU, against a plain loop over the same models, and how busy the GPU is.

    python tests/bench/relight_h200.py [--normals dpt|marigold] [--images 240] [--plain 24] [--processes 1] [--tiny]
        [--json FILE]

SAM 3 and the normals' model have their full size and random weights; the pictures are 1024x1024 PNG files in memory.
Each is decoded, segmented, matted, taken apart, freed of its light, given normals and a new light, put together and
encoded as the result files. The plain loop does one picture after the other with batches of one. The fast way runs the
same code on many threads, whose calls the models gather into batches, in one or several processes that share the GPU,
as several shards do. Loading, compiling and a few pictures of warming up are not counted. Exit code 1 if a bar is
missed. Prints JSON.

GPU busy is the mean of NVML's utilisation, read every 50 ms, until the first process has done its share.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
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

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show
from relight_models import random_dpt, random_marigold, random_sam3

from scenewright_stages import compile_kernels
from scenewright_stages.backends.normals.interface import NormalEstimator
from scenewright_stages.backends.segment.interface import Subject
from scenewright_stages.backends.segment.sam3 import Sam3Segmenter
from scenewright_stages.contract.stage import Pixels
from scenewright_stages.photographs.compositing import outline, split_layers
from scenewright_stages.photographs.pictures import bytes_from_linear, linear_from_bytes, linear_from_unit
from scenewright_stages.relight import shading
from scenewright_stages.vision.imaging import albedo, matting
from scenewright_stages.worker.stage.encoding import encode_png

SPEED_BAR, BUSY_BAR = 2.0, 0.9
SIDE = 1024

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


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
    """NVML's utilisation while a block runs, of the first GPU that is visible."""

    def __init__(self, counted: bool = True) -> None:
        self._counted = counted

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
        while self._counted and not self._done.wait(0.05):
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
    images_per_second: float
    busy: float
    ratio: float
    images: int
    processes: int
    threads: int
    batch: int
    gigabytes: float
    host_milliseconds: dict[str, float]


class Share:
    """What one process does: its models are loaded and warm, then it relights its share of the pictures.

    Args:
        options: of the command line; ``rank`` says which process this is, and that of rank 0 times the plain loop.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        make = random_dpt if options.normals == "dpt" else random_marigold
        self._options, self._files = options, pictures(4 if options.tiny else 16)
        self._fast = Models(random_sam3(options.batch, options.tiny), make(options.batch, options.tiny))
        self._pool, unused = ThreadPoolExecutor(options.threads), HostTime()
        warm = range(2 if options.tiny else options.threads + 8)
        list(self._pool.map(lambda seed: relight(self._picture(seed), seed, self._fast, unused), warm))
        self.plain = 0.0
        if options.rank == 0:
            models = Models(random_sam3(1, options.tiny), make(1, options.tiny))
            relight(self._files[0], 0, models, unused)
            seconds = _timed(
                lambda: [relight(self._picture(seed), seed, models, unused) for seed in range(options.plain)]
            )
            self.plain = options.plain / seconds

    def run(self) -> dict[str, Any]:
        """Relights; images, seconds, and the host's CPU time."""
        host, own = HostTime(), range(self._options.rank, self._options.images, self._options.processes)
        seconds = _timed(
            lambda: list(self._pool.map(lambda seed: relight(self._picture(seed), seed, self._fast, host), own))
        )
        memory = 0.0 if self._options.tiny else torch.cuda.max_memory_allocated() / 1e9
        return {"plain": self.plain, "seconds": seconds, "gigabytes": memory, "host": dict(host.seconds)}

    def _picture(self, seed: int) -> bytes:
        return self._files[seed % len(self._files)]


def measure(options: argparse.Namespace) -> Reading:
    """Both ways over the same pictures in one run, the fast way in as many processes as are asked for."""
    command = [sys.executable, __file__, *sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [*command, "--rank", str(rank), "--meeting", folder], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
            for rank in range(options.processes)
        ]
        while len(list(Path(folder).glob("ready-*"))) < options.processes:
            assert all(each.poll() is None for each in started), "a process ended while it loaded its models"
            time.sleep(0.02)
        with BusySampler(counted=not options.tiny) as sampler:
            (Path(folder) / "go").touch()
            while not list(Path(folder).glob("done-*")):
                assert all(each.poll() is None for each in started), "a process ended while it relit"
                time.sleep(0.02)
        parts = [json.loads(each.communicate()[0].decode().strip().splitlines()[-1]) for each in started]
    plain, host = max(each["plain"] for each in parts), Counter[str]()
    for each in parts:
        host.update(each["host"])
    quick = options.images / max(each["seconds"] for each in parts)
    return Reading(
        options.normals, round(plain, 2), round(quick, 2), round(sampler.mean, 3), round(quick / plain, 2),
        options.images, options.processes, options.threads, options.batch,
        round(sum(each["gigabytes"] for each in parts), 1),
        {name: round(1000 * spent / options.images, 1) for name, spent in host.most_common()},
    )  # fmt: skip


def one_process(options: argparse.Namespace) -> None:
    """Loads, waits until all processes are ready, relights, and prints what it read."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    share = Share(options)
    (options.meeting / f"ready-{options.rank}").touch()
    while not (options.meeting / "go").exists():
        time.sleep(0.005)
    found = share.run()
    (options.meeting / f"done-{options.rank}").touch()
    print(json.dumps(found))


def _timed(work: Callable[[], object]) -> float:
    _wait()
    started = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--normals", choices=("dpt", "marigold"), default="dpt")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--plain", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--processes", type=int, default=1, help="that share the GPU, each with models of its own")
    parser.add_argument("--threads", type=int, default=0, help="of each process; 0 = two a core over all processes")
    parser.add_argument("--tiny", action="store_true", help="small models, on the CPU: tries the script with DPT")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rank", type=int, help="of a single process, which this script starts itself")
    parser.add_argument("--meeting", type=Path, help="likewise")
    options = parser.parse_args(arguments)
    options.threads = options.threads or max(1, 2 * len(os.sched_getaffinity(0)) // options.processes)
    if options.tiny:
        options.images, options.plain, options.threads = 4, 1, 2
    return options


def main(arguments: list[str] | None = None) -> int:
    """Prints the reading; 1 if a bar is missed."""
    options = parsed(arguments)
    if options.rank is not None:
        one_process(options)
        return 0
    started = time.perf_counter()
    compile_kernels.main()
    print(f"kernels compiled in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    reading = measure(options)
    device = "cpu" if options.tiny else torch.cuda.get_device_name()
    show({**asdict(reading), "busy_bar": BUSY_BAR, "device": device, "torch": torch.__version__}, options.json)
    return int(not options.tiny and (reading.ratio < SPEED_BAR or reading.busy < BUSY_BAR))


if __name__ == "__main__":
    sys.exit(main())
