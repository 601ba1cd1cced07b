"""Renders ``report.html``: the common part of all pages, and the overview of a job's samples.

The caller passes a template that extends ``base.html.j2``, and its data (`render_page`). Pages are self-contained:
images, video, splats and scripts are embedded, and a content security policy forbids loading anything. Equal data
gives equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scenewright_stages.contract.backends import Evidence
from scenewright_stages.contract.results import duration_text
from scenewright_stages.report.charts import histogram_svg, metres_text, number_text, sphere_svg
from scenewright_stages.report.data import IndexData, IndexEntry, State
from scenewright_stages.report.pictures import depth_legend

_TEMPLATES = Path(__file__).parent / "templates"
_STATE_WORDS: dict[State, str] = {
    "done": "Done",
    "warning": "Done with warnings",
    "failed": "Failed",
    "rejected": "Rejected",
    "waiting": "Waiting for a choice",
    "not selected": "Not selected",
    "skipped": "Skipped",
    "missing": "No record",
}
_KIND_WORDS: dict[Evidence, str] = {"measured": "Measured", "predicted": "Learned model", "prior": "Assumption"}


def render_page(template: Path, report: object, scripts: Sequence[str] = (), **values: object) -> str:
    """A page as HTML text (UTF-8).

    Args:
        template: the page's template file. It may extend and include the templates beside it and those of this package.
        report: the page's data; its ``title`` is the page title.
        scripts: texts of scripts allowed to run, besides the script of every page.
        values: further variables of the template.
    """
    page = _environment(template.parent).get_template(template.name)
    return page.render(report=report, policy=_content_policy([_page_script(), *scripts]), **values)


def render_index(data: IndexData) -> str:
    """The overview of several samples as HTML text (UTF-8).

    Raises:
        ValueError: a link leaves the page's folder.
    """
    check_links(entry.href for entry in data.entries)
    return render_page(
        _TEMPLATES / "index.html.j2",
        data,
        entries=sorted(data.entries, key=_worst_first),
        counts=data.counts,
    )


def _worst_first(entry: IndexEntry) -> tuple[int, str]:
    order = ("failed", "missing", "waiting", "warning", "rejected", "skipped", "not selected", "done")
    return order.index(entry.state), entry.sample


def check_links(links: Iterable[str]) -> None:
    """Checks that no link runs a script or leaves the page's folder, because links contain sample names.

    Raises:
        ValueError: a link does.
    """
    for link in links:
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|[/\\]", link) or ".." in link.split("/"):
            raise ValueError(f"link {link!r} must be a path relative to the report")


def _content_policy(scripts: list[str]) -> str:
    """Content security policy that allows only these scripts and forbids loading anything.

    The viewer Spark needs exceptions: it compiles its own WebAssembly and starts workers from blob: URLs.
    """
    hashes = " ".join(f"'sha256-{_sha256_base64(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes} 'wasm-unsafe-eval'; worker-src blob: data:; "
        "connect-src data: blob:; img-src data: blob:; media-src data: blob:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def _sha256_base64(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@cache
def _page_script() -> str:
    return (_TEMPLATES / "page.js").read_text(encoding="utf-8")


@cache
def _environment(templates: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([templates, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration_text,
        "number": number_text,
        "metres": metres_text,
        "href": lambda path: quote(path, safe="/"),
    }
    environment.globals |= {
        "depth_legend": depth_legend,
        "state_words": _STATE_WORDS,
        "kind_words": _KIND_WORDS,
        "page_script": _page_script(),
        "histogram_svg": histogram_svg,
        "sphere_svg": sphere_svg,
        "stylesheet": (_TEMPLATES / "report.css").read_text(encoding="utf-8"),
    }
    return environment
