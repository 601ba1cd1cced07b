"""Runs a whole cluster on one machine: control plane, a real node, S3 and Prometheus."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import chart, containers, images, network, ownership, preflight, storage
from .binaries import WHOLE_CLUSTER, binary, build, missing
from .chart import Target
from .containers import Containerd
from .control_plane import ControlPlane, Settings
from .monitoring import Prometheus
from .node import NODE, Node
from .problems import Unavailable
from .storage import StorageServer
from .toolchain import cache_folder

FOLDER = Path("/var/lib/scenewright-test-cluster")
STORAGE_PORT = 7070
PROMETHEUS_PORT = 9090
GPUS = 8


@dataclass(frozen=True)
class WholeCluster:
    """The parts of a running cluster."""

    control_plane: ControlPlane
    node: Node
    containerd: Containerd
    storage: StorageServer
    prometheus: Prometheus

    @property
    def target(self) -> Target:
        """The cluster as a target for the chart."""
        return Target(self.control_plane.kubeconfig, self.containerd)

    def install_chart(self, *arguments: str) -> None:
        """Builds the images, installs or upgrades the chart and lets Prometheus scrape it; see `chart.install`."""
        chart.install(self.target, values=arguments)
        self.prometheus.scrape({chart.metrics_address(self.target): {"service": chart.RELEASE}})


@contextlib.contextmanager
def running(folder: Path = FOLDER, report: Callable[[str], None] = print) -> Iterator[WholeCluster]:
    """A whole cluster until exit or death of this process; only one per machine.

    Raises:
        Unavailable: something is missing, or another cluster is running; the message says which.
        DidNotStart: a component did not start.
    """
    preflight.install(report)
    preflight.require(folder)
    build(WHOLE_CLUSTER, report)
    with ownership.claimed(folder):
        _clean(folder)
        pause = images.build_pause(report)
        images.build_base(report)
        containers.make_cgroups()
        settings = Settings(simulated_nodes=0, address=network.NODE_ADDRESS, kubelets=(NODE,))
        with contextlib.ExitStack() as stack:
            stack.callback(_clean, folder)
            stack.enter_context(network.bridge())
            started = ControlPlane.start(folder, settings, on_death=_cleaning_command(folder))
            cluster = _start_node(stack.enter_context(started), pause)
            (folder / "ready").touch()
            yield cluster


def is_ready(folder: Path) -> bool:
    """Whether a cluster is running and ready."""
    return ownership.owner(folder) is not None and (folder / "ready").exists()


def target(folder: Path) -> Target:
    """A cluster that another process runs, as a target for the chart."""
    return Target(folder / "kubeconfig", _containerd(folder))


def prometheus_in(folder: Path) -> Prometheus:
    """The cluster's Prometheus, started or not."""
    return Prometheus(folder / "prometheus", network.NODE_ADDRESS, PROMETHEUS_PORT)


def storage_server() -> StorageServer:
    """The S3 server of a cluster that another process runs."""
    return StorageServer(f"http://{network.NODE_ADDRESS}:{STORAGE_PORT}")


def clean(folder: Path) -> None:
    """Removes everything that a cluster left behind, in any state; does nothing if one is running."""

    with contextlib.suppress(Unavailable), ownership.claimed(folder):
        _clean(folder)


def _clean(folder: Path) -> None:
    containers.end_all_pods(folder)
    containers.remove_traces(folder)
    network.tear_down()
    if not missing("kube-proxy"):
        subprocess.run([binary("kube-proxy"), "--cleanup"], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _start_node(control_plane: ControlPlane, pause: str) -> WholeCluster:
    folder, group = control_plane.folder, control_plane.group
    containerd = _containerd(folder)
    containerd.start(group)
    images.move_to_node(pause, containerd)
    node = Node(control_plane, containerd, GPUS)
    node.start()
    store = storage.start(group, folder / "s3", network.NODE_ADDRESS, STORAGE_PORT)
    prometheus = prometheus_in(folder)
    prometheus.start(group)
    return WholeCluster(control_plane, node, containerd, store, prometheus)


def _containerd(folder: Path) -> Containerd:
    return Containerd(folder / "containerd", cache_folder().parent / "cluster" / "containerd", images.PAUSE)


def _cleaning_command(folder: Path) -> str:
    tool = Path(__file__).parent
    return shlex.join([sys.executable, str(tool), "clean", "--folder", str(folder)])
