"""The backend `difix`: SD-Turbo tuned by a TuningRun, its checkpoints, and the base that a run begins with.

A checkpoint exists twice. ``.safetensors`` is what this backend reads; ``.pkl`` has the keys of upstream's trainer
(train_difix.py) and is read by upstream's inference.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file

from scenewright_stages.backends.capability import BackendRecord, FloatImage
from scenewright_stages.backends.errors import UnsupportedOption
from scenewright_stages.backends.fix.difix_network import RANK, DifixNetwork, is_learned, padded
from scenewright_stages.backends.fix.interface import FlawedView, check_fixed
from scenewright_stages.backends.loading import LoadRequest
from scenewright_stages.backends.pretrained import quiet_diffusers
from scenewright_stages.backends.tensors import free_memory

FORMAT = "scenewright-fixer-difix-1"
PROMPT = "remove degradation"
_ABOUT = "scenewright"


class DifixFixer:
    """Runs a checkpoint on renders and their references."""

    def __init__(self, network: DifixNetwork, record: BackendRecord, device: str) -> None:
        self._network: DifixNetwork | None = network.to(device).eval()
        self._device, self.record = device, record

    def fix(self, view: FlawedView, seed: int = 0) -> FloatImage:
        """See ``Fixer.fix``; nothing is drawn. Raises RuntimeError after :meth:`release`."""
        if self._network is None:
            raise RuntimeError(f"{self.record.backend} was released")
        return check_fixed(run_difix(self._network, view), view)

    def release(self) -> None:
        """Free the model's memory."""
        self._network = None
        free_memory()


def load_difix(request: LoadRequest) -> DifixFixer:
    """The backend from its base and the option ``checkpoint``.

    Raises:
        UnsupportedOption: there is no checkpoint, or it is of another kind.
    """
    path = request.context.option("checkpoint", None)
    if not path:
        raise UnsupportedOption(
            "fix.checkpoint", path, ["a checkpoint of a TuningRun: SD-Turbo itself repairs nothing"]
        )
    network = base_network(request.folder, seed=0)
    facts = read_checkpoint(network, Path(path))
    record = replace(request.record, revision=f"{request.record.revision} step {facts.get('step', '?')}")
    return DifixFixer(network, record, request.context.device)


def base_network(folder: Path, seed: int) -> DifixNetwork:
    """SD-Turbo with fresh skips and adapters, in float32.

    Args:
        folder: as diffusers saves a StableDiffusionPipeline.
        seed: of the adapters' first weights.
    """
    diffusers = quiet_diffusers()
    transformers: Any = importlib.import_module("transformers")
    options = {"local_files_only": True, "use_safetensors": True}
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **options)
    vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae", **options)
    encoder = transformers.CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", **options)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
    tokens = tokenizer(PROMPT, max_length=tokenizer.model_max_length, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        prompt = encoder(tokens.input_ids)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DifixNetwork(unet.float(), vae.float(), prompt.float())


@torch.no_grad()
def run_difix(network: DifixNetwork, view: FlawedView) -> FloatImage:
    """The network's answer, (H, W, 3), clipped to [0, 1]."""
    height, width = view.srgb.shape[:2]
    views = padded(views_of(view)[None].to(network.prompt), network.multiple())
    answer = network(views)[0, :, :height, :width]
    fixed: FloatImage = answer.float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return fixed


def views_of(view: FlawedView) -> torch.Tensor:
    """(V, 3, H, W) the render and, where there is one, the reference at its size."""
    pictures = [view.srgb]
    if view.reference is not None:
        size = view.srgb.shape[1], view.srgb.shape[0]
        pictures.append(np.asarray(cv2.resize(view.reference, size, interpolation=cv2.INTER_AREA), np.float32))
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32))


def save_checkpoint(path: Path, network: DifixNetwork, facts: Mapping[str, Any]) -> None:
    """Writes safetensors with the facts as text beside them; equal networks give equal bytes."""
    metadata = {_ABOUT: json.dumps({"format": FORMAT, "facts": dict(facts)}, sort_keys=True)}
    save_file({name: value.detach().cpu().contiguous() for name, value in _tensors(network).items()}, path, metadata)


def read_checkpoint(network: DifixNetwork, path: Path) -> dict[str, Any]:
    """Puts a checkpoint's weights into the network and returns its facts.

    Raises:
        UnsupportedOption: it is of another kind, or fits another base.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
    except (OSError, ValueError, safetensors.SafetensorError) as problem:
        raise UnsupportedOption("fix.checkpoint", path.name, [f"a readable checkpoint ({problem})"]) from problem
    if about.get("format") != FORMAT:
        raise UnsupportedOption("fix.checkpoint", path.name, ["a checkpoint that backend difix was tuned to"])
    wanted, found = _tensors(network), load_file(path)
    if {name: value.shape for name, value in wanted.items()} != {name: value.shape for name, value in found.items()}:
        raise UnsupportedOption("fix.checkpoint", path.name, ["a checkpoint of the same base model"])
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(found[name])
    facts: dict[str, Any] = about["facts"]
    return facts


def upstream_checkpoint(network: DifixNetwork, learning_rate: float) -> dict[str, Any]:
    """What upstream's trainer pickles, with an optimiser that has not stepped."""
    vae = network.vae.state_dict()
    lora = [name for name, _ in network.vae.named_parameters() if "lora" in name]
    # Upstream lists the skips' parameters, adapters included, once more after all adapters.
    skips = sum(len(list(skip.parameters())) for skip in _skips(network))
    count = len(list(network.unet.parameters())) + len(lora) + skips
    group = {
        "lr": learning_rate, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False,
        "maximize": False, "foreach": None, "capturable": False, "differentiable": False, "fused": None,
    }  # fmt: skip
    return {
        "vae_lora_target_modules": list(network.adapted),
        "rank_vae": RANK,
        "state_dict_unet": network.unet.state_dict(),
        "state_dict_vae": {name: value for name, value in vae.items() if is_learned(name)},
        "optimizer": {"state": {}, "param_groups": [{**group, "params": list(range(count))}]},
    }


def _skips(network: DifixNetwork) -> list[torch.nn.Module]:
    return [module for name, module in network.vae.decoder.named_children() if name.startswith("skip_conv_")]


def _tensors(network: DifixNetwork) -> dict[str, torch.Tensor]:
    """What training changes, by name."""
    unet = {f"unet.{name}": value for name, value in network.unet.named_parameters()}
    vae = {f"vae.{name}": value for name, value in network.vae.named_parameters() if is_learned(name)}
    return unet | vae
