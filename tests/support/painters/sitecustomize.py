"""Makes painters with random weights usable in worker processes, which import this when they start.

The published networks work on a megapixel, which takes minutes even when they are tiny; here they work on 64 x 64
pixels. Random weights paint noise, in which no object stands out. So the noise is laid faintly over the picture that
the network was shown. Everything else is the real code: files, licences, pipelines, schedules, seeds and stages.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

SIDE = 64
NOISE = 0.04
_EDIT = "scenewright_stages.backends.edit.qwen_edit"
_INSTRUCTIONS = "scenewright_stages.backends.edit.qwen_instructions"
_ZERO123 = "scenewright_stages.backends.object_views.zero123"


def _small_instructions(module: ModuleType) -> None:
    module.AREA = module._SEEN_AREA = SIDE * SIDE


def _faint_editor(module: ModuleType) -> None:
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus

    pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE = SIDE * SIDE
    editor, paint = module.QwenEditor, module.QwenEditor.edit

    def edit(self: Any, srgb: Any, instruction: str, seed: int = 0, size: tuple[int, int] | None = None) -> Any:
        import cv2

        noise = paint(self, srgb, instruction, seed, size)
        shown = cv2.resize(srgb, noise.shape[1::-1], interpolation=cv2.INTER_AREA)
        return (1 - NOISE) * shown + NOISE * noise

    editor.edit = edit


def _faint_views(module: ModuleType) -> None:
    import torch

    painted = module.Zero123Views._painted

    def paint(self: Any, grey: torch.Tensor, seed: int) -> torch.Tensor:
        noise = painted(self, grey, seed)
        side = self._settings.side
        shown = torch.nn.functional.interpolate(grey, (side, side), mode="bilinear")[0].permute(1, 2, 0)
        return (1 - NOISE) * shown.repeat(module.ROWS, module.COLUMNS, 1) + NOISE * noise

    module.Zero123Views._painted = paint


_AFTER_IMPORT = {_INSTRUCTIONS: _small_instructions, _EDIT: _faint_editor, _ZERO123: _faint_views}


class _Changed(importlib.abc.Loader):
    """Runs a module, then changes it."""

    def __init__(self, real: Any, name: str) -> None:
        self._real, self._name = real, name

    def create_module(self, spec: Any) -> ModuleType | None:
        found: ModuleType | None = self._real.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        _AFTER_IMPORT[self._name](module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name not in _AFTER_IMPORT:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Changed(spec.loader, name)
        return spec


sys.meta_path.insert(0, _Finder())
