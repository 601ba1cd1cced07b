"""The fork server: starts worker processes as forks of itself, so that they need not import its modules again.

The local executor runs it as ``python -m scenewright_stages.worker.forking``; ``contract/forks.py`` defines its
requests.

A run has one process per stage, and starting one with PyTorch takes five seconds. The server therefore imports a
stage's module before it forks. It starts no threads and no kernels, so forking is safe. Workers import modules of other
packages themselves, because these may start threads.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import NoReturn

from scenewright_stages.contract.forks import LIVENESS_PIPE_ENVIRONMENT, SOCKET_ENVIRONMENT, UNEXPECTED, Request
from scenewright_stages.contract.task import Task, task_in
from scenewright_stages.worker.chain import RESERVED_STAGE_NAMES, resolve_chain

_PACKAGE = str(__package__).partition(".")[0]


def main() -> None:
    """Serves until the executor closes its end of the socket."""
    connection = socket.socket(fileno=int(os.environ.pop(SOCKET_ENVIRONMENT)))
    signal.signal(signal.SIGCHLD, _reap_supervisors)
    while (request := Request.receive(connection)) is not None:
        _import_stage(request.environment)
        if not os.fork():
            connection.close()
            _supervise(request)
        request.close()
    # Wait for all keepers, so that the workers' CPU time counts for the command.
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _reap_supervisors(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _import_stage(environment: Mapping[str, str]) -> None:
    """Imports the module of the task's stage, if this package contains it."""
    try:
        task = Task.model_validate_json(task_in(environment) or "")
        if task.step in RESERVED_STAGE_NAMES:
            return
        module = resolve_chain(task).stage(task.step).implementation.partition(":")[0]
        if module.startswith(f"{_PACKAGE}."):
            importlib.import_module(module)
    except Exception:
        # The worker will hit the same error and report it.
        return


def _supervise(request: Request) -> NoReturn:
    """Starts the worker and reports its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker = os.fork()
    if not worker:
        _become(request)
    os.write(request.status, f"{worker}\n".encode())
    os.close(request.liveness_pipe)
    _, status = os.waitpid(worker, 0)
    os.write(request.status, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: Request) -> NoReturn:
    """Turns this fork into the worker, with its own session, environment and log."""
    os.setsid()
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(request.log, descriptor)
    os.close(request.log)
    os.close(request.status)
    os.environ.clear()
    os.environ.update(request.environment, **{LIVENESS_PIPE_ENVIRONMENT: str(request.liveness_pipe)})
    os._exit(_run(request.worker))


def _run(worker: str) -> int:
    try:
        return int(importlib.import_module(worker).main() or 0)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else UNEXPECTED
    except BaseException:
        # Never let the fork return into the server's loop.
        traceback.print_exc()
        return UNEXPECTED


if __name__ == "__main__":
    main()
