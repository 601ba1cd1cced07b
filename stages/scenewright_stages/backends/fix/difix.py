"""The backend `difix`: SD-Turbo fine-tuned by a TuningRun, its checkpoints, and the base network of a run.

Every checkpoint has two files: ``.safetensors`` for this backend, and ``.pkl`` with the keys of upstream's trainer
(train_difix.py) for upstream's inference.
"""

from __future__ import annotations

import hashlib
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

from scenewright_stages.backends.fix.difix_network import RANK, DifixNetwork, is_learned, padded
from scenewright_stages.backends.fix.interface import FlawedView, check_fixed
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BrokenWeights, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.registry import check_licence
from scenewright_stages.backends.runtime.tensors import free_memory
from scenewright_stages.vision.types import Float32Array

FORMAT = "scenewright-fixer-difix-1"
PROMPT = "remove degradation"
RELEASED = {"difix": False, "difix_ref": True}
"""Variants that repair without having been tuned, and whether they learned from references."""
_AUTOENCODER = Path("vae/diffusion_pytorch_model.safetensors")
_ABOUT = "scenewright"


class DifixFixer:
    """Runs a network on renders and, if it was trained with them, their references."""

    def __init__(self, network: DifixNetwork, record: BackendRecord, uses_reference: bool) -> None:
        self._network: DifixNetwork | None = network.to(record.device).eval()
        self.record, self._uses_reference = record, uses_reference

    def fix(self, view: FlawedView, seed: int = 0) -> Float32Array:
        """See ``Fixer.fix``; ignores the seed. Raises RuntimeError after :meth:`release`."""
        if self._network is None:
            raise RuntimeError(f"{self.record.backend} was released")
        seen = view if self._uses_reference else replace(view, reference=None)
        return check_fixed(run_difix(self._network, seen), view)

    def release(self) -> None:
        """Frees the model's memory."""
        self._network = None
        free_memory()


def load_difix(request: LoadRequest) -> DifixFixer:
    """Loads the base and the option ``checkpoint``; released fixers need no checkpoint.

    Raises:
        UnsupportedOption: SD-Turbo without a checkpoint, or a checkpoint of the wrong kind or for another base.
        LicenceNotAccepted: the licence of the checkpoint's base is not accepted.
    """
    path = request.context.option("checkpoint", None)
    if not path:
        if request.record.variant not in RELEASED:
            raise UnsupportedOption(
                "fix.checkpoint", path, ["a checkpoint of a TuningRun: SD-Turbo itself repairs nothing"]
            )
        return DifixFixer(base_network(request.folder, seed=0), request.record, RELEASED[request.record.variant])
    network = base_network(request.folder, seed=0)
    facts = read_checkpoint(network, Path(path))
    check_licence(request.facts, facts["variant"], request.context.accepted_licences)
    record = request.record
    licences = dict.fromkeys([*record.licence.split("+"), *facts["licence"].split("+")])
    record = replace(record, revision=f"{record.revision} step {facts['step']}", licence="+".join(licences))
    return DifixFixer(network, record, bool(facts["uses_reference"]))


def base_network(folder: Path, seed: int) -> DifixNetwork:
    """The initial network of a run, in float32: SD-Turbo with new skips and adapters, or a released fixer.

    Args:
        folder: a diffusers pipeline. A released fixer's autoencoder already has skips and adapters.
        seed: of new adapters.

    Raises:
        BrokenWeights: the folder has skips and adapters, but not those of DiFix.
    """
    diffusers = quiet_diffusers()
    transformers: Any = importlib.import_module("transformers")
    options = {"local_files_only": True, "use_safetensors": True}
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **options)
    encoder = transformers.CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", **options)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
    tokens = tokenizer(PROMPT, max_length=tokenizer.model_max_length, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        prompt = encoder(tokens.input_ids)[0]
    released = _adapted_autoencoder(folder / _AUTOENCODER)
    if released:
        vae = diffusers.AutoencoderKL.from_config(diffusers.AutoencoderKL.load_config(folder / "vae"))
    else:
        vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae", **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DifixNetwork(unet.float(), vae.float(), prompt.float())
    if released:
        try:
            network.vae.load_state_dict(released)
        except RuntimeError as problem:
            raise BrokenWeights(folder.name, folder / _AUTOENCODER, str(problem)) from problem
    return network


def _adapted_autoencoder(path: Path) -> dict[str, torch.Tensor]:
    """The weights of an autoencoder that has adapters; empty for a plain one."""
    with safetensors.safe_open(path, "pt") as file:
        adapted = any(".lora_A." in name for name in file.keys())  # noqa: SIM118
    return load_file(path) if adapted else {}


@torch.no_grad()
def run_difix(network: DifixNetwork, view: FlawedView) -> Float32Array:
    """The network's answer, (H, W, 3), clipped to [0, 1]."""
    height, width = view.srgb.shape[:2]
    views = padded(views_of(view)[None].to(network.prompt), network.multiple())
    answer = network(views)[0, :, :height, :width]
    fixed: Float32Array = answer.float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return fixed


def views_of(view: FlawedView) -> torch.Tensor:
    """(V, 3, H, W) the render and, if there is one, the reference resized to it."""
    pictures = [view.srgb]
    if view.reference is not None:
        size = view.srgb.shape[1], view.srgb.shape[0]
        pictures.append(np.asarray(cv2.resize(view.reference, size, interpolation=cv2.INTER_AREA), np.float32))
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32))


def save_checkpoint(path: Path, network: DifixNetwork, facts: Mapping[str, Any]) -> None:
    """Writes safetensors with the facts as metadata; equal networks give equal bytes.

    Args:
        path: of the file.
        network: provides the learned weights.
        facts: ``step``, ``variant``, ``licence``, ``uses_reference``, and any others.
    """
    about = {"format": FORMAT, "frozen": frozen_digest(network), "facts": dict(facts)}
    metadata = {_ABOUT: json.dumps(about, sort_keys=True)}
    save_file({name: value.detach().cpu().contiguous() for name, value in _tensors(network).items()}, path, metadata)


def read_checkpoint(network: DifixNetwork, path: Path) -> dict[str, Any]:
    """Loads a checkpoint's weights into the network and returns its facts.

    Raises:
        UnsupportedOption: it is of the wrong kind, or for another base.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
    except (OSError, ValueError, safetensors.SafetensorError) as problem:
        raise UnsupportedOption("fix.checkpoint", path.name, [f"a readable checkpoint ({problem})"]) from problem
    if about.get("format") != FORMAT:
        raise UnsupportedOption("fix.checkpoint", path.name, ["a checkpoint that backend difix was tuned to"])
    if about["frozen"] != frozen_digest(network):
        raise UnsupportedOption("fix.variant", "", [f"{about['facts']['variant']}: {path.name} was tuned from it"])
    wanted, found = _tensors(network), load_file(path)
    if {name: value.shape for name, value in wanted.items()} != {name: value.shape for name, value in found.items()}:
        raise UnsupportedOption("fix.checkpoint", path.name, ["a checkpoint of the same base model"])
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(found[name])
    facts: dict[str, Any] = about["facts"]
    return facts


def upstream_checkpoint(
    network: DifixNetwork, learning_rate: float, moments: Mapping[str, Mapping[str, torch.Tensor]] | None = None
) -> dict[str, Any]:
    """A checkpoint in the format of upstream's trainer.

    Args:
        network: provides the weights.
        learning_rate: of the optimiser.
        moments: AdamW's state by parameter name; without it, that of an optimiser before its first step.
    """
    vae = network.vae.state_dict()
    order = upstream_order(network)
    # AdamW stores a parameter that is listed twice only once, under its last index.
    places = {name: place for place, name in enumerate(order)}
    group = {
        "lr": learning_rate, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False,
        "maximize": False, "foreach": None, "capturable": False, "differentiable": False, "fused": None,
    }  # fmt: skip
    state = {
        places[name]: {key: value.detach().cpu() for key, value in each.items()}
        for name, each in sorted((moments or {}).items(), key=lambda item: places[item[0]])
    }
    return {
        "vae_lora_target_modules": list(network.adapted),
        "rank_vae": RANK,
        "state_dict_unet": network.unet.state_dict(),
        "state_dict_vae": {name: value for name, value in vae.items() if is_learned(name)},
        "optimizer": {"state": state, "param_groups": [{**group, "params": [places[name] for name in order]}]},
    }


def upstream_order(network: DifixNetwork) -> list[str]:
    """Names of the learned parameters in the order of upstream's optimiser, which lists the skips' adapters twice."""
    unet = [f"unet.{name}" for name, _ in network.unet.named_parameters()]
    vae = [f"vae.{name}" for name, _ in network.vae.named_parameters()]
    return [*unet, *(name for name in vae if "lora" in name), *(name for name in vae if "skip_conv_" in name)]


def frozen_digest(network: DifixNetwork) -> str:
    """Digest of the frozen weights, which identifies the autoencoder; a checkpoint contains only the others."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(network.vae.named_parameters()):
        if not is_learned(name):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _tensors(network: DifixNetwork) -> dict[str, torch.Tensor]:
    """The trained tensors by name."""
    unet = {f"unet.{name}": value for name, value in network.unet.named_parameters()}
    vae = {f"vae.{name}": value for name, value in network.vae.named_parameters() if is_learned(name)}
    return unet | vae
