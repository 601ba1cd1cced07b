"""The command line with stub processes in place of the worker: ``python scripted_cli.py run FILE``."""

from __future__ import annotations

from scenewright.cli.main import main
from scenewright.execution import process

process.WORKER_MAIN = "stub_worker"

if __name__ == "__main__":
    main()
