"""Commands of ``python tools/cluster``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from .binaries import CONTROL_PLANE, WHOLE_CLUSTER, build
from .control_plane import ControlPlane, Settings
from .problems import DidNotStart, Unavailable


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(options.command(options))
    except (Unavailable, DidNotStart) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tools/cluster", description="Test environments for Scenewright.")
    commands = parser.add_subparsers(required=True, metavar="command")

    plane = commands.add_parser("control-plane", help="a control plane with simulated nodes, in the foreground")
    plane.add_argument("--folder", type=Path, required=True, help="data, logs and kubeconfig; empty or new")
    plane.add_argument("--nodes", type=int, default=Settings.simulated_nodes, help="simulated nodes")
    plane.set_defaults(command=_control_plane)

    built = commands.add_parser("binaries", help="build what is missing in the cache ahead of its use")
    built.add_argument("names", nargs="*", help="programs; all of them when none is named")
    built.set_defaults(command=_binaries)
    return parser


def _control_plane(options: argparse.Namespace) -> int:
    build(CONTROL_PLANE)
    with ControlPlane.start(options.folder, Settings(simulated_nodes=options.nodes)) as cluster:
        print(f"ready: export KUBECONFIG={cluster.kubeconfig}\nCtrl-C ends it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("ending")
    return 0


def _binaries(options: argparse.Namespace) -> int:
    build(options.names or sorted({*CONTROL_PLANE, *WHOLE_CLUSTER}))
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
