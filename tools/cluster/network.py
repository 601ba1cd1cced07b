"""The node's network: a bridge with the node's address, so that nothing listens on the machine's own addresses.

CNI's standard plugins attach Pods to the bridge; the API server, DNS, S3 and Prometheus listen on its address.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

NAME = "scenewright"
BRIDGE = "scenewright0"
NODE_ADDRESS = "10.244.0.1"
POD_RANGE = "10.244.0.0/24"
DNS_ADDRESS = "10.96.0.10"
_OUTWARD = ["POSTROUTING", "-s", POD_RANGE, "!", "-d", POD_RANGE, "-j", "MASQUERADE"]


@contextlib.contextmanager
def bridge() -> Iterator[None]:
    """Creates the bridge with its address and outbound NAT; removes both at exit."""
    tear_down()
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    _run("iptables", "-t", "nat", "-A", *_OUTWARD)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    try:
        yield
    finally:
        tear_down()


def tear_down() -> None:
    """Removes the bridge and the iptables rules, also those that kube-proxy's cleanup leaves; safe to repeat."""
    commands = [["ip", "link", "delete", BRIDGE], ["iptables", "-t", "nat", "-D", *_OUTWARD]]
    commands += [["iptables", "-D", chain, "-j", "KUBE-FIREWALL"] for chain in ("INPUT", "OUTPUT")]
    commands += [["iptables", flag, "KUBE-FIREWALL"] for flag in ("-F", "-X")]
    for command in commands:
        subprocess.run(command, capture_output=True, check=False)


def write_plugin_configuration(folder: Path, state: Path) -> None:
    """Writes the CNI configuration for the Pods."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(state),
    }
    plugin = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    document = {"cniVersion": "0.4.0", "name": NAME, "plugins": [plugin, {"type": "loopback"}]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "10-scenewright.conflist").write_text(json.dumps(document, indent=1))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
