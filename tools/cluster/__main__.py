"""``python tools/cluster``: starts test environments by hand; see docs/test-environments.md."""

from __future__ import annotations

import sys
from pathlib import Path

# When Python runs a folder, the package itself is not importable.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
