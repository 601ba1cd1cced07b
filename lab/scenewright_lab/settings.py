"""What `scenewright serve` was asked to serve, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from scenewright.planning.problems import Problem, SpecError, suggestion

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """How to serve the page.

    Attributes:
        target: folder or ``s3://`` URI with results; empty for a cluster.
        cluster: serve the objects of a cluster.
        context: of the kubeconfig.
        namespaces: to watch; empty for all.
        host, port: to listen on.
        hosts: further names under which the page may be called.
        token_headers: headers with the person's own token; empty: the page serves one person with the credentials of
            this process.
        outputs: prefixes that this page may read for the objects of a namespace; ``*`` stands for all others.
        uploads: prefix for uploaded pictures; ``{namespace}`` is filled in.
        spec: fields that every object started here gets, such as ``{"storage": {"secretName": "lab-s3"}}``.
        grafana: address of the dashboards.
        read_only: nothing can be started or changed.
    """

    target: str = ""
    cluster: bool = False
    context: str = ""
    namespaces: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8088
    hosts: tuple[str, ...] = ()
    token_headers: tuple[str, ...] = ()
    outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    uploads: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    grafana: str = ""
    read_only: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """From named values, as command line and chart give them.

        Raises:
            SpecError: there is no such setting.
        """
        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise SpecError([Problem(unknown[0], given[unknown[0]], suggestion(unknown[0], sorted(known)))])
        values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in given.items()}
        values["outputs"] = {name: tuple(each) for name, each in (given.get("outputs") or {}).items()}
        return cls(**values)

    @property
    def folder(self) -> Path | None:
        """The served folder of this machine, if it is one."""
        return Path(self.target).absolute() if not self.cluster and not self.target.startswith("s3://") else None

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Names under which the page may be called; empty for any, which needs a proxy that checks them."""
        return (*LOOPBACK, self.host, *self.hosts) if self.is_local or self.hosts else ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        return self.host in LOOPBACK

    @property
    def may_act(self) -> bool:
        """Whether actions are offered: to the person at this machine, or to people with tokens of their own."""
        return not self.read_only and (self.is_local or bool(self.token_headers))
