"""Requests from the local executor to the fork server: environment and file descriptors of one worker."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

FORK_SERVER_MODULE = "scenewright_stages.worker.forking"
SOCKET_ENVIRONMENT = "SCENEWRIGHT_FORK_SOCKET"
LIVENESS_PIPE_ENVIRONMENT = "SCENEWRIGHT_PARENT_FD"
"""Variable of a worker: a readable descriptor that closes when the executor is gone."""
UNEXPECTED = 1
"""Exit code of a worker that ended in an exception of its own."""
_LENGTH = struct.Struct("!Q")
_LARGEST_READ = 1 << 16


@dataclass(frozen=True)
class Request:
    """One worker to start.

    Attributes:
        worker: module whose ``main`` it runs.
        environment: all of its variables.
        log: descriptor that its standard output and standard error go to.
        liveness_pipe: read end of a pipe that closes when the executor dies.
        status: pipe that gets a line with the worker's process id and, when it ends, a line with its exit code.
    """

    worker: str
    environment: Mapping[str, str]
    log: int
    liveness_pipe: int
    status: int

    def send(self, connection: socket.socket) -> None:
        """Sends the request and its descriptors to the server; raises OSError if the server is gone."""
        content = json.dumps([self.worker, dict(self.environment)]).encode()
        socket.send_fds(connection, [_LENGTH.pack(len(content))], [self.log, self.liveness_pipe, self.status])
        connection.sendall(content)

    @classmethod
    def receive(cls, connection: socket.socket) -> Request | None:
        """The next request; None when the other end closes, even in the middle of a request."""
        header, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, 3)
        if len(header) < _LENGTH.size:
            return None
        missing: int = _LENGTH.unpack(header)[0]
        content = bytearray()
        while missing > 0:
            # Read no byte beyond this request: a plain read into the next one would drop its descriptors.
            part = connection.recv(min(missing, _LARGEST_READ))
            if not part:
                for descriptor in descriptors:
                    os.close(descriptor)
                return None
            content += part
            missing -= len(part)
        worker, environment = json.loads(content)
        return cls(worker, environment, *descriptors)

    def close(self) -> None:
        """Closes the descriptors."""
        for descriptor in (self.log, self.liveness_pipe, self.status):
            os.close(descriptor)
