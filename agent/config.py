"""What one run was told. Nobody else reads the environment or the arguments."""

from __future__ import annotations

from agent.model.values import Fact


class Config(Fact, frozen=True):
    """`docker` and `libvirt` name engines by URL or URI; none: the sockets below the root."""

    root: str = "/"
    only: tuple[str, ...] = ()
    docker: tuple[str, ...] = ()
    libvirt: tuple[str, ...] = ()
    interval_seconds: float = 1.0
    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 19150),)
