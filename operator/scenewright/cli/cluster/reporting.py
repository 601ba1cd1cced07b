"""``scenewright report`` of an object in a cluster: how its last run ended, and its page."""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scenewright.cli.cluster.access import Place, connect
from scenewright.cli.cluster.reading import StorageError, copy_object, storage_environment
from scenewright.cli.cluster.references import parse
from scenewright.cli.cluster.views import plain_lines, summary, view_of
from scenewright.cli.errors import print_json, refuse
from scenewright.planning.problems import Problem, SpecError


def report_object(target: str, place: Place, open_page: bool, use_secret: bool, as_json: bool) -> int:
    """Tells what the status knows of the last run; `open_page` copies the page here and shows it."""
    try:
        reference = parse(target)
        cluster = connect(place)
        raw = cluster.get(reference)
        view = view_of(raw, datetime.now(UTC))
        page = view.outputs.get("report", "")
        if as_json:
            print_json({"page": page, **summary(raw)})
        else:
            print("\n".join(plain_lines(view)))
        if open_page:
            _open(page, storage_environment(cluster, raw, use_secret))
    except SpecError as error:
        return refuse(error, as_json)
    except StorageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _open(page: str, environment: dict[str, Any]) -> None:
    if not page:
        raise SpecError([Problem("status.outputs.report", "", "there is no report yet: the run has not published")])
    target = Path(tempfile.mkdtemp(prefix="scenewright-")) / "report.html"
    copy_object(page, target, environment)
    print(f"page: {target}")
    webbrowser.open(target.as_uri())
