"""Makes the shared helpers importable."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(_ROOT / "tools"), str(_ROOT / "tests" / "support")]
