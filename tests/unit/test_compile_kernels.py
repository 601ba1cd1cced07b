"""Which modules compile their kernels when the package is installed."""

from __future__ import annotations

import ast
from pathlib import Path

from scenewright_stages.compile_kernels import PACKAGE, RENDERER, kernel_families


def defines_warm_up(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "warm_up" for node in tree.body)


def test_every_module_that_defines_warm_up_is_compiled_once() -> None:
    renderer, others = kernel_families()
    found = [*renderer, *others]
    assert len(found) == len(set(found))
    assert renderer and all(name.startswith(f"{RENDERER}.") for name in renderer)
    assert others and not any(name.startswith(f"{RENDERER}.") for name in others)
    wanted = {path for path in PACKAGE.rglob("*.py") if defines_warm_up(path)}
    assert {PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in found} == wanted
