"""No module of the data plane imports itself through others, function-level imports included."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

STAGES = Path(__file__).parents[2] / "stages" / "scenewright_stages"


def import_graph(package: Path) -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports, at any level of its code.

    That a module's own packages are imported before it is left out: it holds for every module.
    """
    sources = {_name(path, package): path for path in sorted(package.rglob("*.py"))}
    return {name: set(_imported(name, path, sources)) for name, path in sources.items()}


def _name(path: Path, package: Path) -> str:
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = _origin(node, name, path)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                if submodule in known:
                    yield submodule
                elif base in known:
                    yield base


def _origin(node: ast.ImportFrom, name: str, path: Path) -> str:
    """The absolute module that a ``from`` statement names."""
    if not node.level:
        return node.module or ""
    levels = node.level - 1 if path.name == "__init__.py" else node.level
    above = name.split(".")[: len(name.split(".")) - levels]
    return ".".join([*above, *([node.module] if node.module else [])])


def test_the_data_plane_has_no_import_cycle() -> None:
    graph = import_graph(STAGES)
    assert len(graph) > 100, "the package was found"
    assert (
        "scenewright_stages.vision.gaussians.cpu_fitting" in graph["scenewright_stages.vision.gaussians.optimisation"]
    )
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "closing",
    ["import toy.first", "from toy import first", "from . import first", "def late():\n    from .first import x"],
)
def test_a_cycle_is_found_however_it_is_closed(tmp_path: Path, closing: str) -> None:
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text("from toy.second import y\nx = 1\n")
    (package / "second.py").write_text("y = 2\n")
    TopologicalSorter(import_graph(package)).prepare()
    (package / "second.py").write_text(f"y = 2\n{closing}\n")
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph(package)).prepare()
