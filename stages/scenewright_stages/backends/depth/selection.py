"""Which depth backends parameters may name, and rules over their traits, all derived from the backends' facts.

The parameter blocks of the pipelines read it, so it imports nothing heavy. A rule holds or not for a backend and a
variant; :func:`cel_of` writes the same condition for the API server.
"""

from __future__ import annotations

from collections.abc import Callable

from scenewright_stages.backends.runtime.registry import built_in, find_backend
from scenewright_stages.contract.backends import BackendFacts, DepthTraits

CAPABILITY = "depth"
Wanted = Callable[[DepthTraits], bool]


def depth_names(wanted: Wanted = lambda traits: True, *, from_files: bool = True) -> tuple[str, ...]:
    """Names of the built-in backends of which at least one variant has the wanted traits.

    Args:
        wanted: of a variant.
        from_files: whether to include backends that read a file beside the image.
    """
    found = (facts for facts in built_in(CAPABILITY) if from_files or not facts.reads)
    return tuple(facts.name for facts in found if _variants_of(facts, wanted))


def has(wanted: Wanted, backend: str, variant: str) -> bool:
    """Whether a backend's variant has the wanted traits; an unknown variant, if all known ones have them."""
    facts = find_backend(CAPABILITY, backend)
    if facts is None:
        return False
    traits = facts.depth_traits(variant)
    return wanted(traits) if traits else len(_variants_of(facts, wanted)) == len(_all_variants(facts))


def cel_of(wanted: Wanted) -> str:
    """The condition of :func:`has` in CEL, over ``self.backend`` and ``self.variant``."""
    whole, parts = [], []
    for facts in built_in(CAPABILITY):
        variants = _variants_of(facts, wanted)
        if len(variants) == len(_all_variants(facts)):
            whole.append(facts.name)
        elif variants:
            parts.append(f"(self.backend == '{facts.name}' && self.variant in {variants})")
    return " || ".join([*([f"self.backend in {whole}"] if whole else []), *parts]) or "false"


def listing_of(wanted: Wanted) -> str:
    """The backends with the wanted traits, for a description: ``classic, depth-anything small/base``."""
    found = []
    for facts in built_in(CAPABILITY):
        variants = _variants_of(facts, wanted)
        some = "" if len(variants) == len(_all_variants(facts)) else f" {'/'.join(filter(None, variants))}"
        found += [facts.name + some] if variants else []
    return ", ".join(found)


def examples_of(wanted: Wanted) -> tuple[dict[str, str], ...]:
    """One block of each backend with a variant that has the wanted traits."""
    found = ((facts.name, _variants_of(facts, wanted)) for facts in built_in(CAPABILITY))
    return tuple({"backend": name, "variant": variants[-1]} for name, variants in found if variants)


def _variants_of(facts: BackendFacts, wanted: Wanted) -> list[str]:
    """The variants that have the wanted traits; an empty name stands for the default."""
    if facts.depth is None:
        raise ValueError(f"the facts of the depth backend {facts.name} lack depth=DepthTraits(...)")
    return [name for name in _all_variants(facts) if (traits := facts.depth_traits(name)) and wanted(traits)]


def _all_variants(facts: BackendFacts) -> list[str]:
    return ["", *facts.weights]
