"""Lets the tests import what builds Jobs for them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
