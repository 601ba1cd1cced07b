"""``scenewright models``: lists backends and their weights, downloads weights, stores the empty prompt's embedding."""

from __future__ import annotations

import subprocess
import sys
from itertools import groupby

from scenewright.api.raw import Json
from scenewright.cli.texts import plain_table, print_json, print_problems, size, table_console
from scenewright.execution.outcomes import COMMAND_REFUSED
from scenewright.planning.policy import PERMISSIVE, Served, served_capabilities
from scenewright.planning.problems import Problem, suggestion
from scenewright_stages.backends.inpaint.facts import FLUX_FILL
from scenewright_stages.backends.runtime import registry
from scenewright_stages.backends.runtime.cache.weights import default_cache_dir, fetch_weights, weights_status
from scenewright_stages.backends.runtime.errors import MissingPackage, MissingWeights
from scenewright_stages.contract.backends import BackendFacts, Licensed, licence_need
from scenewright_stages.pipelines import pipelines

PROMPTED_WEIGHTS = {FLUX_FILL.id: FLUX_FILL}
"""Weights that need no text encoders once the embedding of the empty prompt is stored with them."""


def models_command(as_json: bool) -> int:
    """Lists all backends and their weights."""
    rows = backend_rows()
    if as_json:
        print_json({"cache": str(default_cache_dir()), "backends": rows})
    else:
        _print_table(rows)
    return 0


def backend_rows() -> list[Json]:
    """One row for each set of weights of each backend, and one for each backend without weights."""
    return [row for facts in registry.backends() for row in _rows(facts)]


def policy_command(policy: str, as_json: bool) -> int:
    """Lists what ``models.policy`` gives each pipeline, and which pipelines are complete under it."""
    if policy != PERMISSIVE:
        return _refused(Problem("--policy", policy, f"must be {PERMISSIVE}"))
    found = {name: [_served_json(each) for each in served_capabilities(each)] for name, each in pipelines().items()}
    if as_json:
        print_json(
            {
                name: {"complete": all(row["backend"] for row in rows), "capabilities": rows}
                for name, rows in found.items()
            }
        )
    else:
        _print_policy(found)
    return 0


def _served_json(served: Served) -> Json:
    facts = served.facts
    base = {"capability": served.capability, "stages": list(served.stages), "restricted": list(served.restricted)}
    if facts is None:
        return {**base, "backend": None, "without": served.without}
    licensed = facts.licensed((served.variant or None) if facts.weights else None)
    return {
        **base,
        "backend": facts.name,
        "variant": served.variant,
        "weights": [weights.id for weights in (facts.weights_of(served.variant or None) if facts.weights else ())],
        "licences": list(dict.fromkeys(each.licence for each in licensed)),
        "mustBeAccepted": any(licence_need(each).needed for each in licensed),
        "gpuMemoryGiB": facts.gpu_memory(served.variant),
        "notes": facts.notes,
    }


def _print_policy(found: dict[str, list[Json]]) -> None:
    folded = ("pipeline and capability", "backend", "licence")
    table = plain_table(*folded, "runs on", folded=folded)
    for pipeline, rows in found.items():
        gaps = [row["capability"] for row in rows if row["backend"] is None]
        table.add_row(pipeline, f"lacks {', '.join(gaps)}" if gaps else "complete", "", "", style="bold")
        for row in rows:
            name, refused = f"  {row['capability']}", ", ".join(row["restricted"])
            if row["backend"] is None:
                without = f"; set {row['without']}" if row["without"] else ""
                table.add_row(name, f"none: {refused} may not be used commercially{without}", "", "")
                continue
            licences = ", ".join(row["licences"]) + (" *" if row["mustBeAccepted"] else "")
            table.add_row(name, f"{row['backend']} {row['variant']}".strip(), licences, _device(row["gpuMemoryGiB"]))
    console = table_console()
    console.print(table)
    console.print("* must be accepted by name in spec.models.acceptLicenses", style="dim")


def _device(gpu_memory: float) -> str:
    return f"GPU, {gpu_memory:.0f} GiB" if gpu_memory else "CPU"


def fetch_command(weights_id: str, accepted: str) -> int:
    """Downloads weights into the model cache. Their licence must be accepted by name if necessary."""
    sets = (weights for facts in registry.backends() for variant in facts.weights.values() for weights in variant)
    known = {weights.id: weights for weights in sets}
    weights = known.get(weights_id)
    if weights is None:
        return _refused(Problem("--fetch", weights_id, f"no such weights; {suggestion(weights_id, sorted(known))}"))
    need = licence_need(weights)
    if need.needed and accepted != need.licence:
        remedy = (
            f"{weights.id} is {need.reason}: read {need.url} and, if it allows your use, say --accept {need.licence}"
        )
        return _refused(Problem("--accept", accepted, remedy))
    try:
        status = fetch_weights(weights, default_cache_dir(), with_optional=True)
    except MissingPackage as error:
        return _refused(Problem("--fetch", weights_id, str(error)))
    except (OSError, MissingWeights) as error:  # The hub's own errors are OSErrors.
        sys.stderr.write(f"error: --fetch: {weights_id}: the download failed: {error}\n")
        return 1
    print(f"{weights.id}: {status.path}")
    return 0


def empty_prompt_command(weights_id: str) -> int:
    """Embeds the empty prompt with the text encoders of cached weights, and stores the embedding with them."""
    option = "--store-empty-prompt"
    if weights_id not in PROMPTED_WEIGHTS:
        return _refused(Problem(option, weights_id, f"must be one of {', '.join(PROMPTED_WEIGHTS)}"))
    status = weights_status(PROMPTED_WEIGHTS[weights_id], default_cache_dir())
    if status.path is None or status.state != "present" or not status.optional_present:
        remedy = f"its text encoders are not in the model cache: scenewright models --fetch {weights_id}"
        return _refused(Problem(option, weights_id, remedy))
    # In a separate process: the command line imports no model code.
    command = [sys.executable, "-m", "scenewright_stages.backends.inpaint.flux_prompts", str(status.path)]
    return subprocess.run(command, check=False).returncode


def _refused(problem: Problem) -> int:
    print_problems([problem])
    return COMMAND_REFUSED


def _rows(facts: BackendFacts) -> list[Json]:
    """One row per set of weights of each variant; one row for a backend without weights."""
    base = {
        "capability": facts.capability,
        "backend": facts.name,
        "family": facts.family,
        "device": facts.device,
        "gpuMemoryGiB": facts.gpu_memory(),
        "image": facts.image,
        "extra": facts.extra,
        "notes": facts.notes,
        "evidence": facts.evidence,
    }
    default = next(iter(facts.weights), "")
    rows = [
        {
            **base,
            "gpuMemoryGiB": facts.gpu_memory(variant),
            **_traits(facts, variant),
            "weights": weights.id,
            "variant": variant,
            "default": variant == default,
            **_licence(weights),
            "bytes": weights.approximate_bytes,
            "state": status.state,
            "revision": status.revision,
        }
        for variant, sets in facts.weights.items()
        for weights in sets
        for status in [weights_status(weights, default_cache_dir())]
    ]
    return rows or [{**base, **_traits(facts, ""), **_licence(facts.formula), "state": "built in"}]


def _traits(facts: BackendFacts, variant: str) -> Json:
    traits = facts.depth_traits(variant)
    if traits is None:
        return {}
    return {"scale": traits.scale, "marksSky": traits.marks_sky, "predictsNewViews": traits.predicts_new_views}


def _licence(licensed: Licensed | None) -> Json:
    """Licence of weights, or of a method that the backend implements without any."""
    if licensed is None:
        return {}
    need = licence_need(licensed)
    return {"licence": need.licence, "licenceUrl": need.url, "mustBeAccepted": need.needed}


def _print_table(rows: list[Json]) -> None:
    """A line for each backend and one for each of its weights."""
    console = table_console()
    table = plain_table("backend and weights", "licence", "size", "state", folded=["backend and weights"])
    for (capability, backend), group in groupby(rows, key=lambda row: (row["capability"], row["backend"])):
        first, *_ = of_backend = list(group)
        bare = ("", "", "") if "weights" in first else (_licence_cell(first), "", first["state"])
        table.add_row(f"{capability} {backend} ({_device(first['gpuMemoryGiB'])})", *bare, style="bold")
        for row in (each for each in of_backend if "weights" in each):
            cells = (f"  {row['weights']}", _licence_cell(row), size(row["bytes"]), row["state"])
            table.add_row(*cells, style="dim" if row["state"] == "missing" else "")
    console.print(table)
    console.print("* must be accepted by name in spec.models.acceptLicenses", style="dim")
    console.print(f"model cache: {default_cache_dir()}", style="dim", soft_wrap=True)


def _licence_cell(row: Json) -> str:
    return f"{row.get('licence', '')}{' *' if row.get('mustBeAccepted') else ''}"
