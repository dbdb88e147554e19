"""What the agent itself costs, through psutil."""

from __future__ import annotations

from agent.model.values import Fact


class OwnCost(Fact, frozen=True):
    cpu_seconds: float
    resident_bytes: int
    open_fds: int
    started_at: float


def read() -> OwnCost:
    """CPU time of user and system, resident size, open descriptors, start as Unix time."""
    import psutil

    # The process table may have been pointed at another root; the agent lives in this one.
    psutil.PROCFS_PATH = "/proc"
    own = psutil.Process()
    with own.oneshot():
        times = own.cpu_times()
        return OwnCost(times.user + times.system, own.memory_info().rss, own.num_fds(), own.create_time())
