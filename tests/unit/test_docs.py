"""The documentation agrees with the code and with itself: tables are fresh, links resolve, headings exist."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from scenewright_stages.vistadream.diagnostics import REMEDIES
from scenewright_stages.vistadream.params import CoarseParams, VistaDreamParams

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "inputs" / "README.md"]


def test_parameter_tables_are_those_of_the_models() -> None:
    tool = _parameter_tables()
    for path, model in tool.PAGES.items():
        page = path.read_text()
        assert page == tool.refreshed(page, model), f"{path.name} is stale: python tools/parameter_tables.py"


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
    assert '| `coarse.inpaint.backend` | `"classic"` | `classic`, `flux-fill` |' in text
    assert text.count("| `") == len(list(_leaves(VistaDreamParams)))


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


def _leaves(model: type) -> Iterator[str]:
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        if hasattr(field.annotation, "model_fields"):
            yield from _leaves(field.annotation)  # type: ignore[arg-type]
        else:
            yield name


def _parameter_tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parameter_tables", ROOT / "tools" / "parameter_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
