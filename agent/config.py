"""What one run was told. Nobody else reads the environment or the arguments."""

from __future__ import annotations

import os

from agent.model.values import Fact


class Config(Fact, frozen=True, kw_only=True):
    """`docker` and `libvirt` name engines by URL or URI; none: the sockets below the root. Of containers' labels only `labels` are read.

    `calibration` is a file. None: the host's own, where there is one and the root is the host's; no other tree is measured by it.
    """

    root: str = "/"
    only: tuple[str, ...] = ()
    docker: tuple[str, ...] = ()
    libvirt: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    interval_seconds: float = 1.0
    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 19150),)
    calibration: str | None = None


def calibration_file() -> str:
    """Where this host's calibration lies: in the unit's StateDirectory=, as systemd.exec(5) hands it down, or where that would be."""
    return os.path.join(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/stratascope", "calibration.json")
