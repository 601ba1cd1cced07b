"""Makes the figures with known truth importable."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "relight_vision"))
sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
