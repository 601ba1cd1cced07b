"""Commands of ``python tools/cluster``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from . import background, chart, lab_page, preflight, trial, whole_cluster
from .binaries import CONTROL_PLANE, WHOLE_CLUSTER, build
from .control_plane import ControlPlane, Settings
from .problems import DidNotStart, Unavailable

GROUPS = {"control-plane": CONTROL_PLANE, "whole-cluster": WHOLE_CLUSTER}
"""Programs by environment."""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        options.command(options)
    except (Unavailable, DidNotStart) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tools/cluster", description="Test environments for Scenewright.")
    commands = parser.add_subparsers(required=True, metavar="command")

    plane = commands.add_parser("control-plane", help="a control plane with simulated nodes, in the foreground")
    plane.add_argument("--folder", type=Path, required=True, help="data, logs and kubeconfig; empty or new")
    plane.add_argument("--nodes", type=int, default=Settings.simulated_nodes, help="simulated nodes")
    plane.set_defaults(command=_control_plane)

    for name, command, words in (
        ("up", _up, "a whole cluster in the background, with the chart installed"),
        ("down", _down, "end it and remove all that it left"),
        ("node", _node, "a whole cluster in the foreground, without the chart"),
        ("clean", _clean, "remove what a cluster that was killed has left"),
        ("check", _check, "say what this machine lacks for a whole cluster"),
    ):
        whole = commands.add_parser(name, help=words)
        whole.add_argument("--folder", type=Path, default=whole_cluster.FOLDER, help="data, logs and kubeconfig")
        whole.set_defaults(command=command)

    built = commands.add_parser("binaries", help="build what is missing in the cache ahead of its use")
    built.add_argument("names", nargs="*", help=f"programs, or {', '.join(GROUPS)}; all when none is named")
    built.set_defaults(command=_binaries)
    return parser


def _control_plane(options: argparse.Namespace) -> None:
    build(CONTROL_PLANE)
    with ControlPlane.start(options.folder, Settings(simulated_nodes=options.nodes)) as cluster:
        print(f"ready: export KUBECONFIG={cluster.kubeconfig}\nCtrl-C ends it.", flush=True)
        _wait()


def _up(options: argparse.Namespace) -> None:
    background.start(options.folder)
    target = whole_cluster.target(options.folder)
    chart.install(target)
    prometheus = whole_cluster.prometheus_in(options.folder)
    prometheus.scrape({chart.metrics_address(target): {"service": chart.RELEASE}})
    manifest = trial.prepare(target, whole_cluster.storage_server(), options.folder)
    page = lab_page.start(target.kubeconfig, whole_cluster.storage_server(), options.folder)
    print(
        f"\nA cluster with the operator, S3 and Prometheus runs. `make cluster-down` ends it.\n\n"
        f"  export KUBECONFIG={target.kubeconfig}\n"
        f"  kubectl apply --server-side -f {manifest}\n"
        f"  kubectl -n {trial.NAMESPACE} get scenejobs --watch\n\n"
        f"  Web page    {page or 'did not start: see lab.log beside the kubeconfig'}\n"
        f"  S3          {whole_cluster.storage_server().endpoint}\n"
        f"  Prometheus  {prometheus.url}"
    )


def _down(options: argparse.Namespace) -> None:
    lab_page.stop(options.folder)
    background.stop(options.folder)


def _node(options: argparse.Namespace) -> None:
    with whole_cluster.running(options.folder) as cluster:
        print(f"ready: export KUBECONFIG={cluster.control_plane.kubeconfig}", flush=True)
        _wait()


def _clean(options: argparse.Namespace) -> None:
    whole_cluster.clean(options.folder)


def _check(options: argparse.Namespace) -> None:
    preflight.require(options.folder)
    print("nothing is missing")


def _binaries(options: argparse.Namespace) -> None:
    names = options.names or [*GROUPS]
    build([program for name in names for program in GROUPS.get(name, (name,))])


def _wait() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("ending")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
