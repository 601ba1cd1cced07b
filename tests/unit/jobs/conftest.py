"""Lets the tests import what builds Jobs for them, and the toy pipeline."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
