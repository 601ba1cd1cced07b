"""Which modules compile their kernels when the package is installed."""

from __future__ import annotations

import importlib
import pkgutil

import scenewright_stages
from scenewright_stages.compile_kernels import RENDERER, kernel_families


def test_every_module_that_defines_warm_up_is_compiled_once() -> None:
    renderer, others = kernel_families()
    found = [*renderer, *others]
    assert len(found) == len(set(found))
    assert renderer and all(name.startswith(f"{RENDERER}.") for name in renderer)
    heavy = "scenewright_stages.backends."
    names = [each.name for each in pkgutil.walk_packages(scenewright_stages.__path__, "scenewright_stages.")]
    modules = [importlib.import_module(name) for name in names if not name.startswith(heavy) and "__main__" not in name]
    defining = {
        each.__name__ for each in modules if "warm_up" in vars(each) and each.warm_up.__module__ == each.__name__
    }
    assert defining == set(found)
