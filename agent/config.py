"""The configuration of one run. No other module reads the environment, and none but the command line the arguments."""

from __future__ import annotations

import os

from agent.model.values import Fact


class Config(Fact, frozen=True, kw_only=True):
    """What the command line chose.

    `only` are the sources to ask; none: all of them. `docker` and `libvirt` are URLs and URIs of engines; none: the sockets below the root.
    Of containers' labels only `labels` are read. `interval_seconds` lie between the two passes of a document; 0: one pass. `calibration` is
    a file; None: the host's own, if there is one and the root is the host's.
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
    """The path of this host's calibration: in $STATE_DIRECTORY (systemd.exec(5)), or where the unit's StateDirectory= would be."""
    return os.path.join(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/stratascope", "calibration.json")
