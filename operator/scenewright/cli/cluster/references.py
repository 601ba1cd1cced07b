"""How a user names an object: ``scenejob/courtyard``, with the kind's name, plural or short name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scenewright.planning.problems import Problem, SpecError, suggestion

# The names of scenewright.api.kinds, whose models take a third of a second to load; a test compares them.
PLURALS = {"SceneJob": "scenejobs", "DatasetJob": "datasetjobs", "TuningRun": "tuningruns"}
SHORT_NAMES = {"SceneJob": "scene", "DatasetJob": "dsj", "TuningRun": "tune"}
GROUP, VERSION = "scenewright.io", "v1alpha1"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Reference:
    """An object of a namespace that is not known yet."""

    kind: str
    name: str

    @property
    def plural(self) -> str:
        """As the API's paths have it."""
        return PLURALS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


def parse(text: str) -> Reference:
    """The object that `text` names.

    Raises:
        SpecError: it is no reference, or of no kind of ours.
    """
    word, slash, name = text.partition("/")
    kind = _kinds().get(word.lower())
    if not slash or not _NAME.fullmatch(name):
        raise SpecError([Problem("object", text, "must be KIND/NAME, such as scenejob/courtyard")])
    if kind is None:
        raise SpecError([Problem("object", text, f"no such kind: {suggestion(word, sorted(_kinds()))}")])
    return Reference(kind, name)


def is_reference(text: str) -> bool:
    """Whether `text` means an object in a cluster; a file or folder of that name wins."""
    return text.partition("/")[0].lower() in _kinds() and not Path(text).exists()


def _kinds() -> dict[str, str]:
    """Kind by every name that it has."""
    names = {kind.lower(): kind for kind in PLURALS}
    names |= {plural: kind for kind, plural in PLURALS.items()}
    names |= {f"{plural}.{GROUP}": kind for kind, plural in PLURALS.items()}
    return names | {short: kind for kind, short in SHORT_NAMES.items()}
