"""Counters -> what happened in a window. The window is between two hosts, or from a workload's birth where there is one host only.

A counter belongs to somebody: a container's group by path and inode, a domain by uuid and id, a thread by tid and start. What was
born within the window counts whole; what went backwards, or whose owner changed, has no difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

from agent.model.host import Host
from agent.model.logical import CpuTime
from agent.model.values import CpuSet, Fact
from agent.model.workload import Thread, Workload

USER_HZ = 100
"""Unit of `Thread.start_ticks`."""


class Activity(Fact, frozen=True):
    """What one workload did in `seconds`. None where a counter is not there or was reset."""

    seconds: float
    since_start: bool
    run_seconds: float | None = None
    delay_seconds: float | None = None
    timeslices: int | None = None
    runnable_threads: float | None = None
    active_threads: int | None = None
    usage_seconds: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_seconds: float | None = None


class Window(Fact, frozen=True, dict=True):
    """`seconds` between `before` and `after`; without a `before`, each workload's life, and the CPUs' since boot."""

    after: Host
    before: Host | None = None
    seconds: float | None = None

    def activity(self, workload: Workload) -> Activity | None:
        """None where no time has passed, or it is not known how much."""
        old = self._earlier.get((workload.id, workload.identity))
        seconds = self.seconds if old is not None else _age(workload, self.after)
        if seconds is None or not 0 < seconds < math.inf:
            return None
        return _activity(old, workload, seconds, None if self.before is None else self.before.identity.uptime_seconds)

    @property
    def cpu_seconds(self) -> float | None:
        """What `busy_cpus` is an average over."""
        return self.seconds if self.before is not None else self.after.identity.uptime_seconds

    def busy_cpus(self, cpus: CpuSet) -> float | None:
        """How many of `cpus` were busy on average; None when one of them has no counters."""
        shares = [self._busy.get(cpu) for cpu in cpus]
        known = [share for share in shares if share is not None]
        return sum(known) if known and len(known) == len(shares) else None

    @cached_property
    def _earlier(self) -> dict[tuple[str, str], Workload]:
        return {(workload.id, workload.identity): workload for workload in self.before.workloads} if self.before else {}

    @cached_property
    def _busy(self) -> dict[int, float | None]:
        seconds = self.cpu_seconds
        if seconds is None or not 0 < seconds < math.inf:
            return {}
        now = self.after.logical.cpu.times
        if self.before is None:
            return {time.cpu: min(1.0, time.busy_seconds / seconds) for time in now}
        # Idle time and not the sum of the modes: the modes are sampled at ticks, and what a quota stops and starts at its own rhythm
        # is caught twice as often as it runs, or never. A tickless kernel measures idle time.
        # A CPU that came online within the window was there before: the kernel keeps its counters while it is offline.
        then = {time.cpu: _idle(time) for time in self.before.logical.cpu.times}
        idle = {time.cpu: difference(then.get(time.cpu), _idle(time)) for time in now}
        return {cpu: None if spent is None else min(1.0, max(0.0, 1 - spent / seconds)) for cpu, spent in idle.items()}

    @property
    def runnable_tasks(self) -> float | None:
        """Tasks that ran or waited, the agent's own reading not counted, averaged over the ends of the window."""
        counts = [host.logical.cpu.runnable_tasks for host in (self.before, self.after) if host is not None]
        known = [max(0, count - 1) for count in counts if count is not None]
        return sum(known) / len(known) if known else None


def difference(before: float | None, after: float | None) -> float | None:
    """None when either is absent, or the counter went back: a reset is not a rate."""
    if before is None or after is None or after < before:
        return None
    return after - before


def _idle(time: CpuTime) -> float:
    return time.idle_seconds + (time.iowait_seconds or 0.0)


def _age(workload: Workload, host: Host) -> float | None:
    uptime = host.identity.uptime_seconds
    return None if uptime is None or workload.started_seconds is None else uptime - workload.started_seconds


def _activity(old: Workload | None, new: Workload, seconds: float, began: float | None) -> Activity:
    threads = scheduled(new)
    known = {(thread.tid, thread.start_ticks): thread for thread in scheduled(old)} if old else {}
    pairs = [(known.get((thread.tid, thread.start_ticks)), thread) for thread in threads]
    # A thread that is older than the window and was not here joined from another group: what it did there is not the workload's.
    joined = old is not None and any(_joined(thread, was, began) for was, thread in pairs)

    def by_thread(name: str) -> list[float | None]:
        return [
            None if joined else _since(None if was is None else getattr(was, name), getattr(now, name), was is None) for was, now in pairs
        ]

    slices = by_thread("timeslices")
    states = [thread.state for host in ([old, new] if old else [new]) for thread in scheduled(host)]
    cpu, was = new.cpu, old.cpu if old else None

    def counted(name: str) -> float | None:
        value = getattr(cpu, name)
        return value if was is None else difference(getattr(was, name), value)

    periods, throttled = counted("periods"), counted("throttled_periods")
    return Activity(
        seconds,
        since_start=old is None,
        run_seconds=_scaled(by_thread("run_ns"), 1e-9),
        delay_seconds=_scaled(by_thread("delay_ns"), 1e-9),
        timeslices=None if (total := _scaled(slices, 1)) is None else int(total),
        # A throttled thread is runnable, too: it waits for its group, not for an event.
        runnable_threads=sum(1 for state in states if state == "R") / (2 if old else 1) if None not in states and states else None,
        active_threads=None if None in slices else sum(1 for count in slices if count),
        usage_seconds=_scaled([counted("usage_usec")], 1e-6),
        periods=None if periods is None else int(periods),
        throttled_periods=None if throttled is None else int(throttled),
        throttled_seconds=_scaled([counted("throttled_usec")], 1e-6),
    )


def scheduled(workload: Workload) -> tuple[Thread, ...]:
    """The threads that do the workload's work: of a machine, its vCPUs'."""
    if workload.paradigm == "virtualization":
        threads = tuple(vcpu.thread for vcpu in workload.vcpus if vcpu.thread is not None)
        return threads if len(threads) == len(workload.vcpus) else ()
    return workload.threads


def _joined(thread: Thread, was: Thread | None, began: float | None) -> bool:
    """Starts are cut to 1/100 s, and so is the uptime. A thread of unknown start has no identity."""
    if thread.start_ticks is None:
        return True
    return was is None and began is not None and thread.start_ticks / USER_HZ < began - 0.02


def _since(before: int | None, after: int | None, born: bool) -> float | None:
    return after if born else difference(before, after)


def _scaled(values: Sequence[float | None], scale: float) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) * scale if known and len(known) == len(values) else None
