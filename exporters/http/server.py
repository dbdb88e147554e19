"""Sockets, and the server on them (uvicorn)."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import uvicorn
from starlette.applications import Starlette

# A pass over a slow host can take so long. The unit gives the daemon ten seconds to end (TimeoutStopSec).
_SHUTDOWN_SECONDS = 8


def listen(addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    """Bound sockets. Raises OSError with the address that cannot be bound."""
    sockets = []
    for host, port in addresses:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            sockets.append(socket.create_server((host, port), family=family, backlog=128))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from None
    return sockets


def serve(app: Starlette, sockets: list[socket.socket]) -> None:
    """Serves until SIGTERM or SIGINT. Requests in flight may then be finished, for at most eight seconds."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        limit_concurrency=64,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=sockets)
