"""A backend's GPU memory and licence are stated beside it, in its facts, and nowhere else in the product."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenewright_stages.backends.runtime import registry

ROOT = Path(__file__).parents[2]
PYTHON = ("operator", "stages", "tools")
TEXT = ("charts", "images", "docs", "examples", "README.md")
TEXT_SUFFIXES = {".md", ".yaml", ".json", ".tpl", ".txt", ""}
MEASURED = ("docs/benchmarks.md",)
"""Readings of benchmarks are no statement of what a Pod asks for."""

MODELS = {facts.name for facts in registry.backends() if facts.family == "model"}
LICENCES = {weights.licence for facts in registry.backends() for sets in facts.weights.values() for weights in sets}
NAME = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(MODELS)))
MEMORY = re.compile(r"\d\s*(?:GiB|Gi|GB)\b(?! of (?:memory|disk))")
TERMS = re.compile(r"non-commercial|research only|\bgated\b|permissive", re.IGNORECASE)
GENERATED = re.compile(r"<!-- backends: begin.*<!-- backends: end -->", re.DOTALL)


def statements(source: str) -> list[str]:
    """What a Python source says of a backend's memory or licence, with the lines."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    # A set of identifiers says which names exist, not which backend has one of them.
    vocabulary = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Set) for part in node.elts}
    return [f"{node.lineno}: {what}" for node, what in _said(tree) if id(node) not in docstrings | vocabulary]


def _said(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "gpu_memory_gib" and _numbers(node.value):
            yield node.value, "GPU memory as a number"
        elif isinstance(node, ast.Dict):
            yield from _said_in_table(node)
        elif isinstance(node, ast.Set) and _names(node):
            yield node, "a set of backends"
        elif isinstance(node, (ast.Tuple, ast.List)) and _names(node) and _numbers(node):
            yield node, "a backend beside a number"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in LICENCES:
                yield node, f"the licence {node.value}"
            elif NAME.search(node.value) and (MEMORY.search(node.value) or TERMS.search(node.value)):
                yield node, f"{node.value[:60]!r}"


def _said_in_table(table: ast.Dict) -> Iterator[tuple[ast.expr, str]]:
    for key, value in zip(table.keys, table.values, strict=True):
        if key is not None and _names(key) and (_numbers(value) or LICENCES.intersection(_strings(value))):
            yield key, "a table of backends"


def _strings(node: ast.AST) -> set[str]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def _names(node: ast.AST) -> set[str]:
    return MODELS & _strings(node)


def _numbers(node: ast.AST) -> bool:
    """Whether a number stands directly in the expression or in a part of it; True and False are none."""
    return any(
        isinstance(part, ast.Constant) and isinstance(part.value, (int, float)) and not isinstance(part.value, bool)
        for part in ast.walk(node)
    )


def lines(text: str) -> list[str]:
    """Lines of a page or a manifest that name a backend beside an amount of memory or its licence's terms."""
    kept = GENERATED.sub(lambda found: "\n" * found.group().count("\n"), text)
    return [
        f"{number}: {line.strip()[:80]}"
        for number, line in enumerate(kept.splitlines(), 1)
        if NAME.search(line) and (MEMORY.search(line) or TERMS.search(line) or _licence_in(line))
    ]


def _licence_in(line: str) -> bool:
    return any(re.search(rf"(?<![\w.-]){re.escape(licence)}(?![\w.-])", line) for licence in LICENCES)


@pytest.mark.slow
def test_no_source_states_a_backends_memory_or_licence_a_second_time() -> None:
    facts = set((ROOT / "stages" / "scenewright_stages" / "backends").glob("*/facts.py"))
    assert len(facts) >= 6
    # These weights come with the installation and serve no capability: this file is where their facts stand.
    facts.add(ROOT / "stages/scenewright_stages/vision/places/matching/models/__init__.py")
    sources = sorted(path for folder in PYTHON for path in (ROOT / folder).rglob("*.py") if path not in facts)
    assert len(sources) > 300
    found = {str(path.relative_to(ROOT)): statements(path.read_text()) for path in sources}
    assert {path: said for path, said in found.items() if said} == {}


def test_no_page_or_chart_states_a_backends_memory_or_licence_a_second_time() -> None:
    paths = [path for name in TEXT for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
    read = {str(path.relative_to(ROOT)): path for path in paths if path.suffix in TEXT_SUFFIXES}
    assert "docs/quick-start.md" in read and "charts/scenewright/values.yaml" in read
    found = {name: lines(path.read_text()) for name, path in read.items() if name not in MEASURED}
    assert {name: said for name, said in found.items() if said} == {}


@pytest.mark.parametrize(
    "source",
    [
        'GPU_MEMORY_GIB = {"sam3": 8.0, "sam2": 4.0}',
        'SIZES = {"dpt": Resources(gpus=1, memory=4.0)}',
        'GPU_BACKENDS = frozenset({"flux-fill", "depth-pro", "depth-anything", "moge"})',
        "resources = _resources([params.depth.backend], gpu_memory_gib=8.0)",
        'SIZES = (("sam3", 12), ("sam2", 8))',
        'LICENCES = {"depth-pro": "apple-amlr"}',
        'NEEDED = "sam-license"',
        'Field(description="Arithmetic of flux-fill: bf16 (24 GiB) or fp8 (15 GiB).")',
        'Field(description="classic or flux-fill (FLUX.1 Fill, non-commercial weights).")',
    ],
)
def test_a_second_statement_in_a_source_is_found(source: str) -> None:
    assert statements(source)


@pytest.mark.parametrize(
    "source",
    [
        'seconds = 2.0 if backend == "qwen-vl" else 0.02',
        'PRESET = ("sam3", "sam2")',
        'Segmenter = Literal["classic", "mask", "sam3", "sam2"]',
        "SCENE = stage_resources([choice], own_gpu_memory_gib=8.0, memory_gib=24.0)",
        'def f():\n    """SAM: the backend sam3 under its gated licence needs 12 GiB."""',
        'Field(description="Text prompt of sam3.", max_length=200)',
        'KNOWN_LICENCES = frozenset({"apache-2.0", "mit", "cc0-1.0"})',
    ],
)
def test_other_uses_of_a_backends_name_are_no_statement(source: str) -> None:
    assert not statements(source)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("| segment | `sam3` | GPU | 12 GiB |", True),
        ("`depth-pro` allows research only", True),
        ("sam3: {gpuMemory: 12Gi}", True),
        ("`moge` is under `mit`", True),
        ("models: {cpu: 1, memoryGib: 2}", False),
        ("`sam3` reads a prompt", False),
        ("<!-- backends: begin -->\n| `sam3` | 12 GiB |\n<!-- backends: end -->", False),
    ],
)
def test_a_second_statement_on_a_page_is_found(text: str, found: bool) -> None:
    assert bool(lines(text)) == found
