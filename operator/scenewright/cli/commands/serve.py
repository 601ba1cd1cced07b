"""``scenewright serve``: the web page of a folder, an object store or a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from scenewright.api.raw import Json
from scenewright.cli.cluster.access import Place, connect
from scenewright.cli.texts import refusing
from scenewright.planning.problems import Problem, SpecError


@refusing
def serve_command(
    target: str,
    *,
    cluster: bool,
    host: str,
    port: int,
    namespaces: Sequence[str],
    context: str,
    config: Path | None,
    read_only: bool,
) -> int:
    """Serves the page of a folder, an ``s3://`` URI or a cluster until it is interrupted."""
    if cluster and target:
        raise SpecError([Problem("--cluster", target, "shows a cluster: leave out the folder")])
    try:
        from scenewright_lab.serving import serve
        from scenewright_lab.settings import Settings
    except ImportError as error:
        remedy = f"needs the packages of the page ({error.name}): pip install 'scenewright[lab,stages]'"
        raise SpecError([Problem("serve", target or "results", remedy)]) from None
    given = _settings(config)
    given |= {"target": "" if cluster else target or "results", "cluster": cluster, "port": port, "context": context}
    given |= {"host": host} if host else {}
    given |= {"namespaces": list(namespaces)} if namespaces else {}
    given |= {"read_only": True} if read_only else {}
    settings = Settings.of(given)
    if cluster:
        # Without credentials the server would only show a traceback.
        connect(Place(context=context))
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"http://{shown}:{settings.port}{'' if settings.may_act else '  (shows only)'}", flush=True)
    serve(settings)
    return 0


def _settings(file: Path | None) -> Json:
    if file is None:
        return {}
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SpecError([Problem("--config", str(file), f"cannot be read: {error}")]) from None
    return dict(found or {})
