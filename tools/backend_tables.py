"""Generates the tables of docs/backends.md from the backends' facts: `python tools/backend_tables.py`.

The tables are between two markers; the rest of the page is written by hand. `--check` writes nothing and exits with 1
if the page is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from scenewright.planning.policy import Served, served_capabilities
from scenewright_stages.backends.runtime import registry
from scenewright_stages.contract.backends import BackendFacts, DepthTraits, Licensed, Weights, licence_need
from scenewright_stages.pipelines import pipelines

BEGIN = "<!-- backends: begin (written by tools/backend_tables.py) -->"
END = "<!-- backends: end -->"
PAGE = Path(__file__).parent.parent / "docs" / "backends.md"

_WEIGHTS_HEADER = (
    "| capability | backend | runs on | variant: weights | licence | accept by name | download | GPU memory | extra |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
_DEPTH_HEADER = (
    "| depth backend | variants | scale | evidence | tells sky from walls | predicts depth of new views |\n"
    "|---|---|---|---|---|---|"
)
_OPTIONS_HEADER = "| capability | backend | options and their values |\n|---|---|---|"
_POLICY_HEADER = (
    "| pipeline | capability | without weights | `policy: permissive` | what that invents | best of any licence |\n"
    "|---|---|---|---|---|---|"
)


def tables(backends: Sequence[BackendFacts]) -> str:
    """The tables of weights, licences and sizes, of what depth is good for, and of options."""
    groups = _groups(backends)
    rows = [row for facts, capabilities in groups for row in _weights_rows(facts, ", ".join(capabilities))]
    options = [_options_row(facts, ", ".join(capabilities)) for facts, capabilities in groups if facts.all_options]
    depth = [row for facts in backends if facts.depth for row in _depth_rows(facts)]
    policy = [
        _policy_row(served)
        for pipeline in pipelines(built_in=True).values()
        for served in served_capabilities(pipeline)
    ]
    parts = [_WEIGHTS_HEADER, *rows, "", _DEPTH_HEADER, *depth, "", _OPTIONS_HEADER, *options, "", _POLICY_HEADER]
    return "\n".join([*parts, *policy])


def _policy_row(served: Served) -> str:
    """What serves a capability of a pipeline without weights, with permitted ones, and with any."""
    without = next(
        (facts.name for facts in registry.backends(served.capability) if facts.family == "classic" and not facts.reads),
        served.without.rpartition(": ")[2],
    )
    restricted = [registry.backend(served.capability, name) for name in served.restricted]
    best = max([*([served.facts] if served.facts else []), *restricted], key=lambda facts: facts.rank)
    permitted = _served_cell(served.facts, served.variant) if served.facts else "**none**"
    other = "the same" if best is served.facts else _served_cell(best, best.best_variant)
    notes = served.facts.notes if served.facts else "–"
    cells = (f"`{served.pipeline}`", served.capability, f"`{without}`" if without else "–", permitted, notes, other)
    return f"| {' | '.join(cells)} |"


def _served_cell(facts: BackendFacts, variant: str) -> str:
    licences = dict.fromkeys(each.licence for each in facts.licensed((variant or None) if facts.weights else None))
    parts = [*(f"`{each}`" for each in licences), f"{facts.gpu_memory(variant):g} GiB" if facts.gpu_memory() else "CPU"]
    parts += [facts.measured] if facts.measured else []
    return f"`{facts.name}`{f' {variant}' if variant else ''} ({', '.join(parts)})"


def refreshed(page: str, backends: Sequence[BackendFacts]) -> str:
    """The page with up-to-date tables.

    Raises:
        ValueError: the page lacks one of the markers.
    """
    before, _, rest = page.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{tables(backends)}\n\n{END}{after}"


def _groups(backends: Sequence[BackendFacts]) -> list[tuple[BackendFacts, list[str]]]:
    """Each backend with all capabilities that it serves with the same implementation."""
    found: dict[tuple[str, str], tuple[BackendFacts, list[str]]] = {}
    for facts in backends:
        _, capabilities = found.setdefault((facts.name, facts.implementation), (facts, []))
        capabilities.append(facts.capability)
    return list(found.values())


def _weights_rows(facts: BackendFacts, capabilities: str) -> list[str]:
    runs_on = "GPU" if facts.device == "cuda" else "CPU"
    start = f"| {capabilities} | `{facts.name}` | {runs_on} |"
    extra = f"`{facts.extra or 'stages'}`"
    if not facts.weights:
        found = facts.licensed()
        licence, needed = (_licences(found), _needed(found)) if found else ("–", "–")
        return [f"{start} none | {licence} | {needed} | – | – | {extra} |"]
    return [
        f"{start} `{variant}`: {_ids(sets)} | {_licences(licensed)} | {_needed(licensed)} | {_download(sets)} | "
        f"{_memory(facts, variant)} | {extra} |"
        for variant, sets in facts.weights.items()
        for licensed in [facts.licensed(variant)]
    ]


def _ids(sets: Sequence[Weights]) -> str:
    return ", ".join(
        f"`{weights.id}`" + (" (a Space)" if weights.repository_type == "space" else "") for weights in sets
    )


def _depth_rows(facts: BackendFacts) -> list[str]:
    """One row for all variants with the same traits."""
    by_traits: dict[DepthTraits | None, list[str]] = {}
    for variant in facts.weights or ("",):
        by_traits.setdefault(facts.depth_traits(variant), []).append(f"`{variant}`" if variant else "–")
    return [
        f"| `{facts.name}` | {', '.join(variants)} | {traits.scale} | {facts.evidence} | {_yes(traits.marks_sky)} | "
        f"{_yes(traits.predicts_new_views)} |"
        for traits, variants in by_traits.items()
        if traits is not None
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _licences(sets: Sequence[Licensed]) -> str:
    found = {f"[`{weights.licence}`]({weights.licence_url})" + (", gated" if weights.gated else "") for weights in sets}
    return "; ".join(sorted(found))


def _needed(sets: Sequence[Licensed]) -> str:
    return _yes(any(licence_need(weights).needed for weights in sets))


def _download(sets: Sequence[Weights]) -> str:
    return f"{sum(weights.approximate_bytes for weights in sets) / 1e9:.1f} GB"


def _memory(facts: BackendFacts, variant: str) -> str:
    """GPU memory that a Pod requests, and where it differs by precision."""
    usual = facts.gpu_memory(variant)
    others = {precision: facts.gpu_memory(variant, precision) for precision in facts.precisions}
    differing = ", ".join(f"{name}: {memory:g}" for name, memory in others.items() if memory != usual)
    return f"{usual:g} GiB" + (f" ({differing})" if differing else "")


def _options_row(facts: BackendFacts, capabilities: str) -> str:
    options = [
        f"`{name}`" + (f": {', '.join(f'`{value}`' for value in values)}" if values else "")
        for name, values in facts.all_options.items()
    ]
    return f"| {capabilities} | `{facts.name}` | {'; '.join(options)} |"


def main(arguments: list[str]) -> int:
    """Writes the page, or with ``--check`` reports whether it is out of date; returns the exit code."""
    page = PAGE.read_text()
    fresh = refreshed(page, registry.backends())
    if fresh == page:
        return 0
    if "--check" in arguments:
        print(f"stale: {PAGE.name}")
        return 1
    PAGE.write_text(fresh)
    print(f"written: {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
