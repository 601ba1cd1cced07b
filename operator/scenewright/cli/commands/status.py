"""``scenewright status``: shows objects in a cluster."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

from scenewright.api.raw import Json
from scenewright.cli.cluster.access import Cluster, Gone, Place, Reference, connect, parse
from scenewright.cli.cluster.views import ObjectView, exit_code, plain_lines, summary, view_of
from scenewright.cli.texts import print_json, refusing, table_console

SECONDS_BETWEEN_LISTS = 3.0


@refusing
def status_command(target: str, place: Place, *, all_namespaces: bool, watch: bool, as_json: bool) -> int:
    """Shows one object or all; with `watch` until the object ends or the user stops."""
    reference = parse(target) if target else None
    cluster = connect(place)
    if reference is None:
        return _show_all(cluster, all_namespaces, watch, as_json)
    return _watch_one(cluster, reference, as_json) if watch else _show_one(cluster, reference, as_json)


def _show_one(cluster: Cluster, reference: Reference, as_json: bool) -> int:
    raw = cluster.get(reference)
    view = view_of(raw)
    if as_json:
        print_json(summary(raw))
    elif sys.stdout.isatty():
        from rich.console import Console

        from scenewright.cli.cluster.pictures import picture

        Console(highlight=False).print(picture(view))
    else:
        print("\n".join(plain_lines(view)))
    return exit_code(view)


def _watch_one(cluster: Cluster, reference: Reference, as_json: bool) -> int:
    """Follows the object to its end: prints the changes as JSON or text lines, or updates a live display."""
    try:
        if as_json or not sys.stdout.isatty():
            return _watch_lines(cluster, reference, as_json)
        from rich.console import Console
        from rich.live import Live

        from scenewright.cli.cluster.pictures import picture

        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            return _until_ended(cluster, reference, lambda _, view: live.update(picture(view), refresh=True))
    except Gone:
        sys.stderr.write(f"{reference}: was deleted\n")
        return 1


def _watch_lines(cluster: Cluster, reference: Reference, as_json: bool) -> int:
    shown: list[str] = []

    def show(raw: Json, view: ObjectView) -> None:
        nonlocal shown
        lines = [json.dumps(summary(raw), ensure_ascii=False)] if as_json else plain_lines(view)
        # Print only lines that have changed.
        fresh = [line for line in lines if line not in shown]
        if fresh:
            print("\n".join(fresh), flush=True)
        shown = lines

    return _until_ended(cluster, reference, show)


def _until_ended(cluster: Cluster, reference: Reference, show: Callable[[Json, ObjectView], None]) -> int:
    for raw in cluster.watch(reference):
        view = view_of(raw)
        show(raw, view)
        if view.ended:
            return exit_code(view)
    return 0


def _show_all(cluster: Cluster, all_namespaces: bool, watch: bool, as_json: bool) -> int:
    lists = _lists(cluster, all_namespaces, watch)
    if as_json:
        for found in lists:
            document = {"objects": [summary(raw) for raw in found]}
            print(json.dumps(document, ensure_ascii=False), flush=True) if watch else print_json(document)
        return 0
    from rich.live import Live

    from scenewright.cli.cluster.pictures import overview

    console = table_console()
    nothing = f"no objects in {'the cluster' if all_namespaces else f'namespace {cluster.namespace}'}"
    views = ([view_of(raw) for raw in found] for found in lists)
    tables = (overview(each, all_namespaces, console.width) if each else nothing for each in views)
    if not watch:
        console.print(next(tables))
        return 0
    with Live(console=console, auto_refresh=False) as live:
        for table in tables:
            live.update(table, refresh=True)
    return 0


def _lists(cluster: Cluster, all_namespaces: bool, watch: bool) -> Iterator[list[Json]]:
    yield cluster.list(all_namespaces)
    while watch:
        time.sleep(SECONDS_BETWEEN_LISTS)
        yield cluster.list(all_namespaces)
