"""Lets the tests import what installs the toy pipeline."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
