"""How much faster two GPUs of one Pod tune DiFix than one, through the stage and the launcher of its further processes.

    python tests/bench/difix_gpus.py [--gpus 1 2] [--batch 2] [--steps 60] [--size 576 1024] [--folder FOLDER] [--tiny]
        [--json FILE]

The stage ``tune`` as a worker runs it, compiled, on pairs in files: rank 0 in this process, the further ranks started
by ``RankProcesses``. The same batch on one GPU and on two, with the same draws, so the losses have to agree. Weights
are random and saved as the published repositories are. Counted are whole steps after the first ones, with reading,
exchange and the question whether to stop. Exit code 1 if two are less than 1.85 times as fast. Prints JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show
from difix_step import network_of, write_pairs
from safetensors.torch import save_file
from tiny_difix import save_tokenizer
from tiny_vgg import REPOSITORY, random_vgg
from transformers import CLIPTextConfig, CLIPTextModel

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, Ranks, StageContext, StageInputs
from scenewright_stages.contract.task import ENVIRONMENT, Task, TaskModels, TaskOutput
from scenewright_stages.difix.fixer_params import DifixLossParams, DifixTuningParams, FixerParams
from scenewright_stages.difix.pairs_data import DATA
from scenewright_stages.difix.pipeline import fixer_stages
from scenewright_stages.difix.tune import DATASET, TuneStage, read_loss_table
from scenewright_stages.worker.stage.ranks import RankProcesses

BAR, LOSS_BAR = 1.85, 0.02
WARM = 10
LICENCE = "sai-nc-community"
RATE = 1e-6
"""Small, as in ``difix_step.py``: random weights amplify every rounding."""


def save_models(cache: Path, tiny: bool) -> None:
    """SD-Turbo's folder and VGG's, with random weights."""
    folder, context = cache / "stabilityai" / "sd-turbo", 64 if tiny else 1024
    network = network_of("cpu" if tiny else "cuda", tiny)
    network.unet.save_pretrained(folder / "unet")
    # The skips and adapters that the network added are the stage's to add.
    added = ("skip", "lora", "base_layer")
    plain = type(network.vae).from_config(network.vae.config)
    assert not any(word in name for name in plain.state_dict() for word in added)
    plain.save_pretrained(folder / "vae")
    text = CLIPTextConfig(
        vocab_size=64, hidden_size=context, intermediate_size=context, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    save_tokenizer(folder / "tokenizer")
    (cache / REPOSITORY).mkdir(parents=True)
    save_file(random_vgg(), cache / REPOSITORY / "model.safetensors")


def save_data(root: Path, size: tuple[int, int]) -> None:
    """A data set of pairs."""
    (root / "pictures").mkdir(parents=True)
    entries = {
        pair.name: {
            name: str(path.relative_to(root))
            for name, path in (("image", pair.image), ("target_image", pair.target), ("ref_image", pair.reference))
            if path is not None
        }
        for pair in write_pairs(root / "pictures", size)
    }
    (root / DATA).parent.mkdir()
    (root / DATA).write_text(json.dumps({"train": entries, "test": {"0": entries["0"]}}))


def params_of(options: argparse.Namespace, gpus: int) -> FixerParams:
    """Textures count from the first step on; nothing is kept before the last."""
    losses = DifixLossParams(lpips=0, gram=0) if options.tiny else DifixLossParams(gram_after=0)
    chosen = DifixTuningParams(losses=losses, gpus=gpus, compile="never" if options.tiny else "always")
    return FixerParams(
        backend="difix", steps=options.steps, batch=options.batch, learning_rate=RATE, difix=chosen,
        checkpoint_every=100_000, state_every=100_000,
    )  # fmt: skip


class NoState:
    """Durable state that nobody asks for."""

    step = 0
    files: Mapping[str, Path] = {}

    def save(self, step: int, files: Mapping[str, Path]) -> None:
        """Keeps nothing."""


class Busy:
    """The counters of busy time of all devices, ten times a second, from `begin` on."""

    def __init__(self, gpus: int) -> None:
        self.shares: list[list[float]] = [[] for _ in range(gpus)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def begin(self) -> None:
        """Counts from now on."""
        if torch.cuda.is_available():
            self._thread.start()

    def end(self) -> list[float]:
        """The mean of each."""
        self._stop.set()
        return [round(float(np.mean(each)), 3) for each in self.shares if each]

    def _sample(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(len(self.shares))]
        while not self._stop.wait(0.1):
            for shares, handle in zip(self.shares, handles, strict=True):
                shares.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)


def measured(options: argparse.Namespace, folder: Path, gpus: int) -> dict[str, Any]:
    """Seconds of a step, the losses, how busy the devices were."""
    params, device = params_of(options, gpus), "cpu" if options.tiny else "cuda"
    scratch = folder / f"scratch-{gpus}"
    scratch.mkdir()
    task = Task(
        kind="TuningRun", name="bench", pipeline="fixer", parameters=params.model_dump(mode="json", by_alias=True),
        step="tune", run="bench", work_hash="", keys={"tune": "bench", "evaluate": "bench"},
        output=TaskOutput(uri=str(scratch)), select_stages=["tune"],
        models=TaskModels(cache=str(folder / "models"), device=device, accept_licenses=[LICENCE]),
    )  # fmt: skip
    os.environ[ENVIRONMENT] = task.model_dump_json(by_alias=True)
    ends, busy, began = list[float](), Busy(gpus), time.perf_counter()

    def note(fraction: float, message: str) -> None:
        ends.append(time.perf_counter())
        if len(ends) == WARM:
            busy.begin()

    def dies(message: str) -> None:
        print(message, file=sys.stderr, flush=True)
        os._exit(1)

    models = ModelSettings(folder / "models", device, frozenset({LICENCE}))
    further = RankProcesses(gpus, scratch, dies)
    try:
        stage = TuneStage(StageContext(fixer_stages(params)[0], params, models, progress=note))
        ranks = further.ranks() if gpus > 1 else Ranks()
        named, workspace = {DATASET: folder / "data"}, scratch / "work"
        workspace.mkdir()
        inputs = StageInputs({}, params, 3, workspace, named=named, state=NoState(), ranks=ranks)
        further.begin(Sample("tuning"), inputs)
        result = stage.process(Sample("tuning"), inputs)
    finally:
        further.close()
    steps = np.diff(ends[WARM - 1 :])
    table = result.outputs["loss"]
    assert isinstance(table, Path)
    return {
        "first_step_seconds": round(ends[0] - began, 1),
        "step_seconds": round(float(np.mean(steps)), 4),
        "median_step_seconds": round(float(np.median(steps)), 4),
        "busy": busy.end(),
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else 0.0,
        "losses": [loss for _, loss, _ in read_loss_table(table)],
    }


def compared(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """How much faster two are, and how far their losses are from one's."""
    first, second = (np.array(each["losses"]) for each in (one, two))
    apart = np.abs(first - second) / first
    return {
        "ratio": round(one["median_step_seconds"] / two["median_step_seconds"], 3),
        "losses_apart": {
            "largest": round(float(apart.max()), 5),
            "mean": round(float(apart.mean()), 5),
            "of_the_means": round(float(abs(first.mean() - second.mean()) / first.mean()), 5),
        },
    }


def main() -> int:
    """Measures and prints; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--size", type=int, nargs=2, default=[576, 1024])
    parser.add_argument("--folder", type=Path, help="keeps models and data, for another call with other --gpus")
    parser.add_argument("--tiny", action="store_true", help="few channels, on the CPU: tries the script")
    parser.add_argument("--json", type=Path, help="of an earlier call, readings are kept")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    found |= {"torch": torch.__version__, "batch": options.batch, "bar": BAR}
    if not options.tiny:
        found["device"] = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "data").is_dir():
            save_models(folder / "models", options.tiny)
            save_data(folder / "data", tuple(options.size))
        for gpus in options.gpus:
            found[str(gpus)] = measured(options, folder, gpus)
            print(gpus, {**found[str(gpus)], "losses": "..."}, file=sys.stderr, flush=True)
            if options.json:
                # Compiling takes minutes: what is measured is not lost with the next one.
                options.json.write_text(json.dumps(found, indent=1) + "\n")
            gc.collect()
            if not options.tiny:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
    if {"1", "2"} <= set(found):
        found |= compared(found["1"], found["2"])
    show(found, options.json)
    return int(not options.tiny and found.get("ratio", BAR) < BAR)


if __name__ == "__main__":
    sys.exit(main())
