"""``scenewright operator``: runs the operator in a cluster."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from scenewright.cli.texts import refusing
from scenewright.reconcile.settings import load_settings


@refusing
def operator_command(config: Path | None) -> int:
    """Runs the operator. Returns 0 after a signal, 1 after a failure, 10 for an invalid configuration."""
    settings = load_settings(str(config) if config else None)
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if settings.log_format == "json" else plain)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    from scenewright.reconcile.main import run_operator

    # Not uvloop: after a failed connection attempt it may keep the file descriptor (its issue 653). The next connection
    # gets the same number and fails, and the operator ends. A restart of the API server caused that.
    return asyncio.run(run_operator(settings))


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, with its traceback."""
        content = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False)
