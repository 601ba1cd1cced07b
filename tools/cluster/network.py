"""The node's network: a bridge of its own, whose address is the node's, so that nothing listens on the machine's own.

Pods hang on the bridge by CNI's standard plugins; the API server, DNS, S3 and Prometheus listen on its address.
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
    """The bridge with its address and the way outward, until the exit."""
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
    """Removes the bridge and the rules, those too that kube-proxy's own cleaning leaves; safe to repeat."""
    commands = [["ip", "link", "delete", BRIDGE], ["iptables", "-t", "nat", "-D", *_OUTWARD]]
    commands += [["iptables", "-D", chain, "-j", "KUBE-FIREWALL"] for chain in ("INPUT", "OUTPUT")]
    commands += [["iptables", flag, "KUBE-FIREWALL"] for flag in ("-F", "-X")]
    for command in commands:
        subprocess.run(command, capture_output=True, check=False)


def write_plugin_configuration(folder: Path, state: Path) -> None:
    """CNI's configuration of the Pods' network."""
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
