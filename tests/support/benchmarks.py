"""What benchmarks have in common, and how tests get at their parts."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDER = Path(__file__).parents[1] / "bench"


def load_benchmark(name: str) -> ModuleType:
    """The module of a script in tests/bench."""
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", _FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def show(found: Mapping[str, Any], output: Path | None) -> None:
    """Prints the readings as JSON, and writes them if a file is named."""
    text = json.dumps(found, indent=1)
    print(text)
    if output:
        output.write_text(text + "\n")
