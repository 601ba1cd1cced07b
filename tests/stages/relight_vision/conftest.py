"""Lets tests here look at the tool that installs the models of people."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
