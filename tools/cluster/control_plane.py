"""A real control plane without nodes: etcd, API server, controllers, scheduler, and kwok for simulated nodes and Pods.

Needs no root. Everything listens on free ports of this host only and keeps its data in one folder.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import simulation
from .api import Api, ApiError
from .audit import AuditLog
from .binaries import CONTROL_PLANE, binaries
from .credentials import control_plane_users, write_kubeconfig, write_service_account_key, write_token_file
from .fault_proxy import FaultProxy, Faults
from .processes import Component, ProcessGroup, accepts_connections, free_ports
from .simulation import Behaviour

START_SECONDS = 60.0
SERVICE_RANGE = "10.96.0.0/16"
ISSUER = "https://kubernetes.default.svc.cluster.local"
LESS_COLLECTION = {"GOGC": "400", "GOMEMLIMIT": "8GiB"}
"""Collect garbage less often: it took an eighth of all CPU time, and test machines have more memory than cores. Without
the limit the API server would take 14 GB with thousands of objects."""


@dataclass(frozen=True)
class Settings:
    """How a control plane is set up.

    Attributes:
        simulated_nodes: number of nodes that kwok simulates; with 0 kwok is not started.
        gpus: ``nvidia.com/gpu`` of each simulated node.
        node_grace_seconds: a node with an older lease is not Ready.
        eviction_seconds: Pods on a node that is not Ready are evicted after this time.
        address: where the API server listens; an address other than loopback is advertised to Pods.
        kubelets: names of real nodes, each with its own user.
    """

    simulated_nodes: int = 4
    gpus: int = 1000
    node_grace_seconds: int = 20
    eviction_seconds: int = 10
    address: str = "127.0.0.1"
    kubelets: tuple[str, ...] = ()


class ControlPlane:
    """A running control plane; created by :meth:`start`.

    Attributes:
        folder: data, logs, credentials and audit log.
        url: of the API server.
        kubeconfig: of an administrator.
        certificate_authority: file with the API server's certificate.
        audit: requests to the API server.
        api: a minimal client with the administrator's rights.
    """

    def __init__(self, folder: Path, settings: Settings, on_death: str = "") -> None:
        self.folder = folder.absolute()
        self.settings = settings
        self._paths = binaries(*CONTROL_PLANE)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.group = ProcessGroup(self.folder, on_death)
        self.users = control_plane_users(settings.kubelets)
        self._etcd_port, self._etcd_peer_port = free_ports(2)
        (self._port,) = free_ports(1, settings.address)
        self.url = f"https://{settings.address}:{self._port}"
        self.certificate_authority = self.folder / "certificates" / "apiserver.crt"
        self.kubeconfig = self.kubeconfig_of("admin", self.folder / "kubeconfig")
        self.audit = AuditLog(self.folder / "audit.log")
        self.api = Api(self.url, self.users["admin"].token, self.certificate_authority)

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path, settings: Settings | None = None, on_death: str = "") -> Iterator[ControlPlane]:
        """A control plane that is ready for use. It ends at exit, or when this process is killed.

        Args:
            folder: empty or missing.
            on_death: shell command to run after all processes have ended because this process was killed.

        Raises:
            Unavailable: a binary is missing and cannot be built.
            DidNotStart: a component did not start; the message has the end of its log.
        """
        cluster = cls(folder, settings or Settings(), on_death)
        try:
            cluster._start()
            yield cluster
        finally:
            cluster.group.stop()

    @property
    def etcd(self) -> Component:
        """etcd."""
        return self._component("etcd")

    @property
    def api_server(self) -> Component:
        """kube-apiserver."""
        return self._component("kube-apiserver")

    @property
    def controllers(self) -> Component:
        """kube-controller-manager."""
        return self._component("kube-controller-manager")

    @property
    def kubectl(self) -> Path:
        """A kubectl of the same version."""
        return self._paths["kubectl"]

    def simulate(self, namespace: str, behaviours: Mapping[str, Behaviour]) -> None:
        """Sets the behaviour of Pods in a namespace that are created after this call.

        The first existing key wins: ``<object>.<step>.<index>``, ``<object>.<step>``, ``<step>.<index>``, ``<step>``,
        ``default``. Without any, a Pod runs for a second and succeeds.
        """
        mark = simulation.order_behaviours(self.api, namespace, behaviours)
        self.api_server.wait_until(lambda: self._is_effective(namespace, mark), START_SECONDS)

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        """Creates a namespace and waits for its default service account, without which no Pod can be created."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.controllers.wait_until(lambda: self._has_service_account(name), START_SECONDS)
        return name

    def service_account_kubeconfig(self, namespace: str, name: str, proxy: FaultProxy | None = None) -> Path:
        """A kubeconfig of a service account, with a token for one day.

        Args:
            proxy: to connect to instead of the API server.
        """
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 24 * 3600},
        }
        token = self.api.create(path, request)["status"]["token"]
        if proxy is not None:
            return write_kubeconfig(self.folder / f"{namespace}-{name}-proxy.kubeconfig", proxy.url, token)
        file = self.folder / f"{namespace}-{name}.kubeconfig"
        return write_kubeconfig(file, self.url, token, self.certificate_authority)

    def fault_proxy(self, seed: int, faults: Faults | None = None) -> contextlib.AbstractContextManager[FaultProxy]:
        """A fault proxy for this API server; pass it to :func:`service_account_kubeconfig`."""
        return FaultProxy.start(self.url, self.certificate_authority, seed, faults)

    def kubeconfig_of(self, user: str, path: Path) -> Path:
        """Writes the kubeconfig of one of :attr:`users`; returns its path."""
        return write_kubeconfig(path, self.url, self.users[user].token, self.certificate_authority)

    def restart_api_server(self, down_seconds: float = 0.0) -> None:
        """Kills the API server and waits until a new one is ready on the same address."""
        self.api_server.kill()
        time.sleep(down_seconds)
        self.api_server.start()
        self.api_server.wait_until(self.api.is_ready, START_SECONDS)
        self._resume_simulation()

    def stop_etcd(self, seconds: float) -> None:
        """Kills etcd, restarts it after that many seconds, and waits until the API server is ready again."""
        self.etcd.kill()
        time.sleep(seconds)
        self.etcd.start()
        self.api_server.wait_until(self.api.is_ready, START_SECONDS)
        self._resume_simulation()

    def lose_node(self, name: str) -> None:
        """Stops simulating the node's kubelet: its lease expires, and its Pods no longer change."""
        self._label_node(name, None)

    def recover_node(self, name: str) -> None:
        """Simulates the node's kubelet again."""
        self._label_node(name, "true")

    def node_names(self) -> list[str]:
        """Names of the simulated nodes."""
        return [f"simulated-{index}" for index in range(self.settings.simulated_nodes)]

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far of each running component."""
        return {part.name: _cpu_seconds(part.pid) for part in self.group.components() if part.pid is not None}

    def _start(self) -> None:
        self._write_credentials()
        self._start_etcd()
        self._start_api_server()
        self._start_controllers()
        if self.settings.simulated_nodes:
            self._start_simulation()

    def _write_credentials(self) -> None:
        write_token_file(self.folder / "tokens.csv", self.users)
        write_service_account_key(self.folder / "service-account.key")

    def _start_etcd(self) -> None:
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._etcd_peer_port}"
        command: list[str | Path] = [self._paths["etcd"], f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync"]
        command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        command += [f"--initial-cluster=default={peer}", "--quota-backend-bytes=4294967296", "--log-level=warn"]
        etcd = self.group.start("etcd", command, LESS_COLLECTION)
        etcd.wait_until(lambda: accepts_connections("127.0.0.1", self._etcd_port), START_SECONDS)

    def _start_api_server(self) -> None:
        command: list[str | Path] = [self._paths["kube-apiserver"], *self._api_server_flags()]
        server = self.group.start("kube-apiserver", command, LESS_COLLECTION)
        server.wait_until(self.api.is_ready, START_SECONDS)

    def _api_server_flags(self) -> list[str]:
        key = self.folder / "service-account.key"
        eviction = self.settings.eviction_seconds
        flags = {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": self.settings.address,
            "secure-port": self._port,
            "cert-dir": self.certificate_authority.parent,
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "Node,RBAC",
            "service-account-issuer": ISSUER,
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            "service-cluster-ip-range": SERVICE_RANGE,
            "enable-admission-plugins": "NodeRestriction",
            "feature-gates": "MutatingAdmissionPolicy=true",
            "runtime-config": "admissionregistration.k8s.io/v1beta1=true",
            "allow-privileged": "true",
            "kubelet-preferred-address-types": "InternalIP",
            "endpoint-reconciler-type": "lease" if self.settings.kubelets else "none",
            "default-not-ready-toleration-seconds": eviction,
            "default-unreachable-toleration-seconds": eviction,
            "audit-policy-file": simulation.MANIFESTS / "audit-policy.yaml",
            "audit-log-path": self.audit.path,
            # One file without rotation: requests are counted from a mark to the end.
            "audit-log-maxsize": 100_000,
            "profiling": "false",
        }
        return [f"--{name}={value}" for name, value in flags.items()]

    def _start_controllers(self) -> None:
        flags = {
            "service-account-private-key-file": self.folder / "service-account.key",
            "root-ca-file": self.certificate_authority,
            "node-monitor-period": "1s",
            "node-monitor-grace-period": f"{self.settings.node_grace_seconds}s",
            # The default of 20 requests per second would limit Jobs to about five per second.
            "kube-api-qps": 1000,
            "kube-api-burst": 2000,
            "concurrent-job-syncs": 20,
        }
        self._start_client("kube-controller-manager", flags)
        self._start_client("kube-scheduler", {"kube-api-qps": 1000, "kube-api-burst": 2000})

    def _start_client(self, name: str, flags: Mapping[str, object]) -> None:
        kubeconfig = self.kubeconfig_of(name, self.folder / f"{name}.kubeconfig")
        common = {"kubeconfig": kubeconfig, "leader-elect": "false", "secure-port": 0, "profiling": "false"}
        command: list[str | Path] = [self._paths[name]]
        command += [f"--{key}={value}" for key, value in {**common, **flags}.items()]
        self.group.start(name, command, LESS_COLLECTION)

    def _start_simulation(self) -> None:
        for document in yaml.safe_load_all(simulation.POLICY.read_text()):
            collection = "mutatingadmissionpolic" + ("ybindings" if document["kind"].endswith("Binding") else "ies")
            name = document["metadata"]["name"]
            self.api.apply(f"/apis/admissionregistration.k8s.io/v1beta1/{collection}/{name}", document)
        for name in self.node_names():
            self.api.create("/api/v1/nodes", simulation.node_manifest(name, self.settings.gpus))
        self._start_kwok()
        self.controllers.wait_until(self._nodes_are_ready, START_SECONDS)
        self.simulate("default", {})

    def _start_kwok(self) -> None:
        kubeconfig = self.kubeconfig_of("kwok", self.folder / "kwok.kubeconfig")
        command: list[str | Path] = [self._paths["kwok"], f"--kubeconfig={kubeconfig}", f"--config={simulation.STAGES}"]
        command += [f"--manage-nodes-with-label-selector={simulation.MANAGED_LABEL}=true", "--server-address="]
        command += ["--node-ip=127.0.0.1", f"--node-lease-duration-seconds={self.settings.node_grace_seconds * 2 // 3}"]
        self.group.start("kwok", command, LESS_COLLECTION)

    def _resume_simulation(self) -> None:
        # The API server reports ready before all its connections to etcd are.
        if self.settings.simulated_nodes:
            self.api_server.wait_until(lambda: simulation.remind(self.api), START_SECONDS)

    def _nodes_are_ready(self) -> bool:
        nodes = self.api.get("/api/v1/nodes")["items"]
        return self._has_service_account("default") and all(_is_ready(node) for node in nodes)

    def _is_effective(self, namespace: str, mark: str) -> bool:
        # Right after a restart the API server refuses Pods until its admission plugins are ready.
        with contextlib.suppress(ApiError):
            return simulation.is_effective(self.api, namespace, mark)
        return False

    def _has_service_account(self, namespace: str) -> bool:
        with contextlib.suppress(ApiError):
            self.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
            return True
        return False

    def _label_node(self, name: str, value: str | None) -> None:
        self.api.merge(f"/api/v1/nodes/{name}", {"metadata": {"labels": {simulation.MANAGED_LABEL: value}}})

    def _component(self, name: str) -> Component:
        return next(part for part in self.group.components() if part.name == name)


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _cpu_seconds(pid: int) -> float:
    # Fields 14 and 15 of proc(5) stat, counted from after the command's name, which may contain spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
