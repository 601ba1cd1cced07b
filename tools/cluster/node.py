"""Runs a real node: kubelet, kube-proxy and the cluster's DNS. Its GPUs exist only for the scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import network
from .api import ApiError
from .binaries import binaries
from .containers import CGROUP, Containerd
from .control_plane import ControlPlane
from .processes import Component, accepts_connections

NODE = "scenewright-test"
START_SECONDS = 60.0
DNS_PORT = 1053


class Node:
    """The cluster's only real node."""

    def __init__(self, cluster: ControlPlane, containerd: Containerd, gpus: int) -> None:
        self._cluster = cluster
        self._containerd = containerd
        self._gpus = gpus
        self._folder = cluster.folder / "node"
        self._paths = binaries("kubelet", "kube-proxy", "coredns")
        self.kubelet: Component

    def start(self) -> None:
        """Starts everything and waits until the node is Ready; adds the GPUs."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._start_dns()
        self._start_proxy()
        self._start_kubelet()
        self.kubelet.wait_until(self._is_ready, START_SECONDS)
        self.add_gpus()

    def restart_kubelet(self) -> None:
        """Starts a stopped kubelet and waits until the node is Ready; adds the GPUs again."""
        self.kubelet.start()
        self.kubelet.wait_until(self._is_ready, START_SECONDS)
        self.add_gpus()

    def add_gpus(self) -> None:
        """Adds GPUs as extended resources. The kubelet keeps them; Pods that request them run without a real GPU."""
        resources = {"nvidia.com/gpu": str(self._gpus)}
        status = {"status": {"capacity": resources, "allocatable": resources}}
        self._cluster.api.merge(f"/api/v1/nodes/{NODE}/status", status)

    def _is_ready(self) -> bool:
        try:
            node = self._cluster.api.get(f"/api/v1/nodes/{NODE}")
        except ApiError:
            return False
        conditions = node["status"].get("conditions", [])
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    def _start_kubelet(self) -> None:
        kubeconfig = self._cluster.kubeconfig_of(NODE, self._folder / "kubelet.kubeconfig")
        configuration = self._write("kubelet.json", kubelet_configuration(self._folder, self._containerd.socket))
        command: list[str | Path] = [self._paths["kubelet"], f"--config={configuration}", f"--kubeconfig={kubeconfig}"]
        command += [f"--root-dir={self._folder / 'kubelet'}", f"--cert-dir={self._folder / 'certificates'}"]
        command += [f"--hostname-override={NODE}", f"--node-ip={network.NODE_ADDRESS}"]
        self.kubelet = self._cluster.group.start("kubelet", command)

    def _start_proxy(self) -> None:
        kubeconfig = self._cluster.kubeconfig_of("kube-proxy", self._folder / "kube-proxy.kubeconfig")
        configuration = self._write("kube-proxy.json", proxy_configuration(kubeconfig))
        command: list[str | Path] = [self._paths["kube-proxy"], f"--config={configuration}"]
        self._cluster.group.start("kube-proxy", [*command, f"--hostname-override={NODE}"])

    def _start_dns(self) -> None:
        kubeconfig = self._cluster.kubeconfig_of("coredns", self._folder / "coredns.kubeconfig")
        file = self._folder / "Corefile"
        file.write_text(dns_configuration(kubeconfig))
        for path, manifest in dns_service().items():
            self._cluster.api.apply(path, manifest)
        dns = self._cluster.group.start("coredns", [self._paths["coredns"], "-conf", file])
        dns.wait_until(lambda: accepts_connections(network.NODE_ADDRESS, DNS_PORT), START_SECONDS)

    def _write(self, name: str, document: dict[str, Any]) -> Path:
        path = self._folder / name
        path.write_text(json.dumps(document, indent=1))
        return path


def kubelet_configuration(folder: Path, socket: Path) -> dict[str, Any]:
    """The kubelet's configuration, for machines with cgroup v1 or v2, with swap, or inside a container."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.NODE_ADDRESS,
        "containerRuntimeEndpoint": f"unix://{socket}",
        "podLogsDir": str(folder / "logs"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "resolvConf": "",
        "clusterDNS": [network.DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        # `kubectl logs` reaches the kubelet with the API server's certificate, which no authority here has signed.
        "authorization": {"mode": "AlwaysAllow"},
        # When the disk is nearly full, the kubelet removes the pause image, which cannot be pulled again.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        # Images come from archives: once garbage-collected, they cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "2s",
        "nodeLeaseDurationSeconds": 12,
        "shutdownGracePeriod": "0s",
        "serializeImagePulls": False,
        "maxPods": 250,
        "makeIPTablesUtilChains": False,
    }


def proxy_configuration(kubeconfig: Path) -> dict[str, Any]:
    """kube-proxy's configuration. It masquerades everything, so that bridged packets need not pass iptables."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "bindAddress": network.NODE_ADDRESS,
        "healthzBindAddress": "",
        "metricsBindAddress": f"{network.NODE_ADDRESS}:10249",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": network.POD_RANGE,
        "iptables": {"masqueradeAll": True},
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def dns_configuration(kubeconfig: Path) -> str:
    """CoreDNS's configuration: cluster names from the API server, all others from the machine's resolver."""
    cluster = f"kubernetes cluster.local in-addr.arpa {{ \n kubeconfig {kubeconfig} \n fallthrough in-addr.arpa \n }}"
    lines = [f"bind {network.NODE_ADDRESS}", "errors", cluster, "forward . /etc/resolv.conf", "cache 5"]
    return "\n".join([f".:{DNS_PORT} {{", *lines, "}", ""])


def dns_service() -> dict[str, dict[str, Any]]:
    """The Service ``kube-dns`` whose endpoint is this host, by API path."""
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    protocols = {"dns": "UDP", "dns-tcp": "TCP"}
    ports = [
        {"name": name, "protocol": protocol, "port": 53, "targetPort": DNS_PORT} for name, protocol in protocols.items()
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"clusterIP": network.DNS_ADDRESS, "ports": ports},
    }
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [network.NODE_ADDRESS], "conditions": {"ready": True}}],
        "ports": [{"name": name, "protocol": protocol, "port": DNS_PORT} for name, protocol in protocols.items()],
    }
    return {
        "/api/v1/namespaces/kube-system/services/kube-dns": service,
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns": slice_,
    }
