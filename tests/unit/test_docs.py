"""The documentation agrees with the code and with itself: tables are fresh, links resolve, headings exist."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from rule_examples import right_spec

from scenewright.api.kinds import spec_model
from scenewright.api.names import API_VERSION
from scenewright.cli.manifests import Changes, load_plans
from scenewright.planning.documents import kind_of
from scenewright.planning.overrides import apply_overrides
from scenewright.planning.problems import SpecError
from scenewright_stages.backends.runtime import registry
from scenewright_stages.pipelines import pipelines
from scenewright_stages.vistadream.diagnostics import REMEDIES
from scenewright_stages.vistadream.params import CoarseParams, VistaDreamParams

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "inputs" / "README.md"]


def test_parameter_tables_are_those_of_the_models() -> None:
    tool = _parameter_tables()
    for name, pipeline in pipelines(built_in=True).items():
        path = tool.page_of(name)
        page = path.read_text()
        assert page == tool.refreshed(page, name, pipeline.params), (
            f"{path.name} is stale: python tools/parameter_tables.py"
        )


def test_backend_tables_are_those_of_the_facts() -> None:
    tool = _tool("backend_tables")
    page = tool.PAGE.read_text()
    assert page == tool.refreshed(page, registry.backends()), "backends.md is stale: python tools/backend_tables.py"


def test_a_changed_fact_makes_the_backend_tables_stale() -> None:
    tool = _tool("backend_tables")
    sam3 = registry.backend("segment", "sam3")
    (weights,) = sam3.weights_of()
    for changed in (
        replace(sam3, gpu_memory_gib=13.0),
        replace(sam3, options={"batch": ()}),
        replace(sam3, weights={"default": (replace(weights, licence="mit"),)}),
        replace(sam3, weights={"default": (weights, replace(weights, id="lab/second"))}),
    ):
        assert tool.tables([changed]) != tool.tables([sam3])


def test_a_changed_default_makes_the_tables_stale() -> None:
    tool = _parameter_tables()

    class Changed(VistaDreamParams):
        coarse: CoarseParams = CoarseParams()
        max_resolution: int = 640

    assert tool.tables(Changed) != tool.tables(VistaDreamParams)


def test_tables_hold_every_field_with_its_default_and_range() -> None:
    text = _parameter_tables().tables(VistaDreamParams)
    assert "| `coarse.minInpaintRatio` | `0.05` | number, ≥ 0.0, ≤ 1.0 |" in text
    assert "| `fieldOfViewDegrees` | `null` | number, > 5.0, < 150.0, or unset |" in text
    assert '| `coarse.inpaint.backend` | `"classic"` | `classic`, `flux-fill`, `flux2-klein` |' in text
    assert "| `render.gaussiansPlyDegree` | `0` | `0`, `3` |" in text
    assert len(re.findall(r"^\| `", text, flags=re.MULTILINE)) == len(list(_leaves(VistaDreamParams)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    broken = [target for target in _relative_links(page.read_text()) if not _resolves(page, target)]
    assert not broken, f"{page.relative_to(ROOT)} links to {', '.join(broken)}"


def test_a_link_to_nowhere_is_found() -> None:
    page = ROOT / "README.md"
    text = "[a](docs/none.md) [b](https://example.org) ![c](README.md) [d](docs/cli.md#no-such-heading)"
    assert [target for target in _relative_links(text) if not _resolves(page, target)] == [
        "docs/none.md",
        "docs/cli.md#no-such-heading",
    ]


def test_every_cause_of_a_failed_selection_is_explained() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    missing = [cause for cause in REMEDIES if f"### {cause}" not in page]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_fields_of_documented_commands_exist(page: Path) -> None:
    unknown = [each for each in _assignments(page.read_text()) if not _is_field(each)]
    assert not unknown, f"{page.relative_to(ROOT)} sets {', '.join(unknown)}"


def test_a_field_that_does_not_exist_is_found() -> None:
    text = "`--set coarse.frame=5` and --set 'coarse.frames=5' --set operator.image.tag=a --set operator.image.tags=a"
    assert [_is_field(each) for each in _assignments(text)] == [False, True, True, False]


def test_manifests_in_the_pages_are_valid(tmp_path: Path) -> None:
    manifests = [block for page in PAGES for block in _manifests(page.read_text())]
    assert manifests
    for manifest in manifests:
        _plan(manifest, tmp_path)


def test_pipeline_blocks_in_the_pages_are_valid() -> None:
    found = 0
    for name, pipeline in pipelines(built_in=True).items():
        for block in (block for page in PAGES for block in _yaml_blocks(page.read_text(), f"{name}:")):
            pipeline.parse(yaml.safe_load(block)[name])
            found += 1
    assert found > 1


def test_a_wrong_manifest_is_refused(tmp_path: Path) -> None:
    (manifest, *_) = _manifests((ROOT / "docs" / "quick-start.md").read_text())
    with pytest.raises(SpecError):
        _plan(manifest.replace("[flux-1-dev-non-commercial]", "[]"), tmp_path)


def _assignments(markdown: str) -> list[str]:
    """What the page gives to ``--set``, as far as it is an assignment."""
    found = re.findall(r"--set\s+(?:'([^']+=[^']*)'|([a-z][\w.]+=[^\s`']+))", markdown)
    return [quoted or plain for quoted, plain in found]


def _is_field(assignment: str) -> bool:
    """Whether the path names a value of the chart or a field of any pipeline; the value may contradict the example."""
    return _is_chart_value(assignment) or any(_applies(assignment, document) for document in _examples())


def _is_chart_value(assignment: str) -> bool:
    """Whether helm's ``--set`` may name it."""
    found: Any = yaml.safe_load((ROOT / "charts" / "scenewright" / "values.yaml").read_text())
    for name in assignment.partition("=")[0].split("."):
        if not isinstance(found, dict) or name not in found:
            return False
        found = found[name]
    return True


def _applies(assignment: str, document: dict[str, Any]) -> bool:
    kind = kind_of(document)
    try:
        apply_overrides(document, [assignment], spec_model(kind), sorted(pipelines(kind)))
    except SpecError:
        return False
    return True


def _examples() -> list[dict[str, Any]]:
    """A document of each built-in pipeline."""
    return [
        {"apiVersion": API_VERSION, "kind": each.kind, "metadata": {"name": "a"}, "spec": right_spec(each.kind, name)}
        for name, each in pipelines(built_in=True).items()
    ]


def _manifests(markdown: str) -> list[str]:
    return _yaml_blocks(markdown, "apiVersion:")


def _yaml_blocks(markdown: str, beginning: str) -> list[str]:
    blocks = re.findall(r"^( *)```yaml\n(.*?)^\1```", markdown, flags=re.DOTALL | re.MULTILINE)
    return [block for block in (textwrap.dedent(text) for _, text in blocks) if block.startswith(beginning)]


def _plan(manifest: str, folder: Path) -> None:
    file = folder / "manifest.yaml"
    file.write_text(manifest)
    load_plans([file], Changes(), complete=False)


def _relative_links(markdown: str) -> list[str]:
    prose = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def _resolves(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    return file.exists() and (not anchor or anchor in _anchors(file.read_text()))


def _anchors(markdown: str) -> set[str]:
    """Anchors of the headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _leaves(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation)
        else:
            yield name


def _parameter_tables() -> ModuleType:
    return _tool("parameter_tables")


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tests_that_the_pages_name_exist() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert "test_draws_fill_their_ranges" in named
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


def test_files_of_tests_that_the_pages_name_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(tests/[\w/.-]+\.py)\b", page.read_text())}
    assert "tests/bench/relight_scale.py" in named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", ["vistadream.md", "relight.md"])
def test_each_item_of_a_pipelines_origin_has_its_field_and_its_test_or_a_reason(page: str) -> None:
    rows = _rows((ROOT / "docs" / page).read_text(), ("## Each item", "## From the original"))
    assert len(rows) > 20
    assert _unproved(rows) == []
    assert _unproved([["an item", "a field", ""]]) == ["an item"]


def _unproved(rows: list[list[str]]) -> list[str]:
    """Items without what stands for them here, or without a test where they are not left out on purpose."""
    return [item for item, here, test in rows if not here or ("`test" not in test and "on purpose" not in here)]


def _rows(markdown: str, headings: tuple[str, ...]) -> list[list[str]]:
    """Cells of the table below the heading that begins so."""
    sections = [part for part in re.split(r"^(?=## )", markdown, flags=re.MULTILINE) if part.startswith(headings)]
    lines = [line for line in "".join(sections).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]
