"""Executions: dated folders in a local output, one for each time that a data set is started.

``--execution`` selects one of them instead of the output itself. In a cluster, set ``spec.output.uri``.
"""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scenewright.planning.problems import Problem, SpecError
from scenewright_stages.contract import layout
from scenewright_stages.contract.samples import is_path_part

NEW, LAST = "new", "last"
OPTION = "--execution"
_STAMP = "%Y%m%d_%H%M%S"


def execution_uri(output_uri: str, wanted: str, now: float | None = None) -> str:
    """URI of the execution ``new``, ``last`` (last modified), or of that name, in a folder that contains executions.

    Raises:
        SpecError: there is no such execution, or the output is not a local folder.
    """
    parts = urlsplit(output_uri)
    if parts.scheme != "file":
        raise _refused(wanted, "needs a local output; elsewhere name the folder in output.uri")
    folder = Path(unquote(parts.path))
    if wanted == NEW:
        at = time.time() if now is None else now
        # If the time is taken as a name, the next free second.
        while (folder / (name := time.strftime(_STAMP, time.localtime(at)))).exists():
            at += 1
        return _below(output_uri, name)
    found = sorted(each.parent for each in folder.glob(f"*/{layout.ROOT}") if each.is_dir())
    if not found:
        raise _refused(wanted, f"{folder} holds no execution; begin with {OPTION} {NEW}")
    if wanted == LAST:
        return _below(output_uri, max(found, key=_modified).name)
    if wanted not in [each.name for each in found] or not is_path_part(wanted):
        raise _refused(wanted, f"no such execution; there are: {', '.join(each.name for each in found[-10:])}")
    return _below(output_uri, wanted)


def _modified(folder: Path) -> tuple[float, str]:
    """Time of the last change: every run writes its job file and renews its lock."""
    written = [folder, folder / layout.ROOT, folder / layout.JOB]
    return max(each.stat().st_mtime for each in written if each.exists()), folder.name


def _below(output_uri: str, name: str) -> str:
    return f"{output_uri.rstrip('/')}/{name}"


def _refused(wanted: str, remedy: str) -> SpecError:
    return SpecError([Problem(OPTION, wanted, remedy)])
