"""No module of the data plane imports itself through others, and pipelines depend on the shared layers alone.

Imports inside functions count. Pipelines are found as the worker finds them, so no rule names one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from scenewright_stages.pipelines import pipelines

ROOT = Path(__file__).parents[2]
STAGES = ROOT / "stages" / "scenewright_stages"
OPERATOR = ROOT / "operator" / "scenewright"
WORKER = "scenewright_stages.worker"


def import_graph(*packages: Path) -> dict[str, set[str]]:
    """The modules of the packages that each of their modules imports, at any level of its code.

    That a module's own packages are imported before it is left out: it holds for every module.
    """
    sources = {_name(path, package): path for package in packages for path in sorted(package.rglob("*.py"))}
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


def pipeline_packages() -> list[str]:
    """The packages of the built-in pipelines."""
    modules = (pipeline.params.__module__ for pipeline in pipelines(built_in=True).values())
    return sorted({".".join(module.split(".")[:2]) for module in modules})


def misplaced_imports(graph: Mapping[str, set[str]], packages: list[str]) -> list[str]:
    """Imports of a pipeline by anything else, and imports of the worker by a pipeline."""

    def package_of(module: str) -> str:
        return next((each for each in (*packages, WORKER) if f"{module}.".startswith(f"{each}.")), "")

    return [
        f"{module} imports {imported}"
        for module, found in sorted(graph.items())
        for imported in sorted(found)
        if package_of(imported) not in ("", package_of(module))
        and (package_of(imported) in packages or package_of(module) in packages)
    ]


@pytest.mark.slow
def test_nothing_imports_a_pipeline_and_no_pipeline_imports_the_worker() -> None:
    packages = pipeline_packages()
    assert len(packages) >= 2
    graph = import_graph(STAGES, OPERATOR)
    assert any(name.startswith(f"{packages[0]}.") for name in graph), "pipelines are in the graph"
    assert misplaced_imports(graph, packages) == []


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("scenewright_stages.one.params", "scenewright_stages.two.params"),
        ("scenewright_stages.scenes.page", "scenewright_stages.one.report"),
        ("scenewright.planning.plan", "scenewright_stages.two"),
        ("scenewright_stages.one.stage", "scenewright_stages.worker.chain"),
    ],
)
def test_a_misplaced_import_is_found(module: str, imported: str) -> None:
    packages = ["scenewright_stages.one", "scenewright_stages.two"]
    fine = {"scenewright_stages.one.stage": {"scenewright_stages.one.params", "scenewright_stages.scenes.page"}}
    assert misplaced_imports(fine, packages) == []
    assert misplaced_imports({**fine, module: {imported}}, packages) == [f"{module} imports {imported}"]
