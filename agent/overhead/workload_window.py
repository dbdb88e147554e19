"""One workload in one window, as rules about what goes wrong ask for it: what grew, by how much, in which time."""

from __future__ import annotations

from collections.abc import Callable

from agent.model.values import Fact
from agent.model.workload import Workload
from agent.overhead.activity import Activity, counter_increase
from agent.overhead.window import Window

_CUT_SECONDS = 0.02
"""Starts of processes are cut to 1/100 s, and so is the uptime."""


class WorkloadWindow(Fact, frozen=True, kw_only=True):
    """`was` is the same workload as the window began; None where it was not there.

    `seconds` passed between two readings of its group's files; None where there were not two. `version` is that of control groups.
    """

    window: Window
    workload: Workload
    was: Workload | None
    activity: Activity | None
    seconds: float | None
    version: str | None

    @property
    def is_born_within(self) -> bool:
        """Whether all that it counts is of this window."""
        before, started = self.window.before, self.workload.started_seconds
        began = None if before is None else before.identity.uptime_seconds
        return self.was is None and began is not None and started is not None and started >= began - _CUT_SECONDS

    def grown(self, counter: Callable[[Workload], int | None]) -> float | None:
        """What a counter grew by within the window; None where that is not known."""
        if self.was is not None:
            return counter_increase(counter(self.was), counter(self.workload))
        return counter(self.workload) if self.is_born_within else None

    def rate(self, counter: Callable[[Workload], int | None]) -> float | None:
        """What a counter grew by in a second."""
        seconds = self.seconds
        grown = self.grown(counter) if seconds else None
        return None if grown is None or not seconds else grown / seconds


def each_of(window: Window) -> list[WorkloadWindow]:
    """Every workload that runs on this host."""
    earlier = {(was.id, was.identity): was for was in window.before.workloads} if window.before else {}
    cgroup = window.after.identity.cgroup
    version, cases = cgroup.version if cgroup else None, []
    for workload in window.after.workloads:
        if workload.guest is not None and workload.guest.elsewhere:
            continue
        was, activity = earlier.get((workload.id, workload.identity)), window.activity(workload)
        seconds = None if was is None or activity is None else activity.group_seconds
        cases.append(WorkloadWindow(window=window, workload=workload, was=was, activity=activity, seconds=seconds, version=version))
    return cases
