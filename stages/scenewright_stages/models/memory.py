"""Giving a released model's memory back."""

from __future__ import annotations

import gc

import torch


def free_memory() -> None:
    """Collect what is no longer referenced and hand the GPU's cached blocks back.

    Pipelines and compiled modules refer to themselves in circles, so that without a collection 20 GB may stay
    until Python happens to run one.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
