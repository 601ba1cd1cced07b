"""Loads transformers and diffusers models from a folder of published weights, with their common options."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype


def load_transformer(class_name: str, request: LoadRequest, on_gpu: str = "fp32") -> tuple[Any, BackendRecord]:
    """Loads a transformers model for inference; returns it with its record, including the precision.

    Args:
        class_name: a class exported by ``transformers``.
        request: folder of the weights, device and options.
        on_gpu: default precision on a GPU; depth and normals need fp32.
    """
    transformers: Any = importlib.import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    default = "fp32" if request.context.device == "cpu" else on_gpu
    precision = str(request.context.option("precision", default))
    model = getattr(transformers, class_name).from_pretrained(
        request.folder, local_files_only=True, use_safetensors=True, dtype=torch_dtype(precision)
    )
    return model.to(request.context.device).eval(), replace(request.record, precision=precision)


class TransformerModel:
    """Holds a transformers model until it is released."""

    def __init__(self, model: Any, record: BackendRecord, device: str) -> None:
        self._model = model
        self._device = device
        self.record = record

    @property
    def model(self) -> Any:
        """The model. Raises RuntimeError after :meth:`release`."""
        if self._model is None:
            raise RuntimeError(f"{self.record.backend} was released")
        return self._model

    @property
    def device(self) -> str:
        """Where it runs."""
        return self._device

    def release(self) -> None:
        """Free the model's memory."""
        self._model = None
        free_memory()


def quiet_diffusers() -> Any:
    """The diffusers package with progress bars disabled, to keep logs readable."""
    diffusers: Any = importlib.import_module("diffusers")
    diffusers.utils.logging.disable_progress_bar()
    importlib.import_module("transformers").utils.logging.disable_progress_bar()
    return diffusers


def batch_size(request: LoadRequest, default: int) -> int:
    """The option ``batch``. Raises UnsupportedOption if it is below 1."""
    batch = int(request.context.option("batch", default))
    if batch < 1:
        raise UnsupportedOption(f"{request.facts.name}.batch", batch, ["1 and above"])
    return batch
