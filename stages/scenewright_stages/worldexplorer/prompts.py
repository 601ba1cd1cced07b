"""Prompts of a text scaffold: four given prompts, or four rooms of a theme."""

from __future__ import annotations

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.worldexplorer.params import GAPS, ScaffoldParams

_ROOMS = ("kitchen", "office", "bedroom", "living room")
_EYE_LEVEL = "the horizon line centered, shot from an eye-level, straight-on camera, with no tilt"


def prompts_of(block: ScaffoldParams) -> tuple[str, ...]:
    """The user's prompts for ahead, left, behind and right; empty without any text."""
    if block.prompts:
        return tuple(block.prompts)
    return tuple(f"{room} of a {block.theme}" for room in _ROOMS) if block.theme else ()


def drawing_prompts(block: ScaffoldParams) -> tuple[str, ...]:
    """The prompts for a text-to-image model, which add a level horizon so that the views fit together.

    Raises:
        SampleError: there is neither a theme nor prompts.
    """
    prompts = prompts_of(block)
    if not prompts:
        raise SampleError(
            "TextMissing",
            "scaffold.method scaffoldGen draws from texts: set scaffold.theme, or scaffold.prompts to what lies ahead, "
            "on the left, behind and on the right; an entry of a curated set may bring its own",
        )
    return tuple(f"{prompt}, {_EYE_LEVEL}" for prompt in prompts)


def gap_prompts(block: ScaffoldParams) -> tuple[str, ...]:
    """A prompt for each gap, combining its two neighbours; empty without any text."""
    prompts = prompts_of(block)
    return tuple(
        f"{prompts[number]} and {prompts[(number + 1) % len(prompts)]}" for number in range(len(GAPS) if prompts else 0)
    )
