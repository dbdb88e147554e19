"""Counters -> what happened in a window. The window is between two hosts, or from a workload's birth where there is one host only.

A counter belongs to somebody: a container's group by path and inode, a domain by uuid and id, a thread by tid and start. What was
born within the window counts whole; what went backwards, or whose owner changed, has no difference.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.model.host import Host
from agent.model.logical import CpuTime
from agent.model.values import CpuSet, Fact
from agent.model.workload import Thread, Workload


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


class Window(Fact, frozen=True):
    """`seconds` between `before` and `after`; without a `before`, each workload's life, and the CPUs' since boot."""

    after: Host
    before: Host | None = None
    seconds: float | None = None

    def activity(self, workload: Workload) -> Activity | None:
        """None where no time has passed, or it is not known how much."""
        old = None
        if self.before is not None:
            old = next((w for w in self.before.workloads if w.id == workload.id and w.identity == workload.identity), None)
        seconds = self.seconds if old is not None else _age(workload, self.after)
        if seconds is None or seconds <= 0:
            return None
        return _activity(old, workload, seconds)

    def busy_cpus(self, cpus: CpuSet) -> float | None:
        """How many of `cpus` were busy on average; None when one of them has no counters."""
        now = {time.cpu: time for time in self.after.logical.cpu.times}
        then = {time.cpu: time for time in self.before.logical.cpu.times} if self.before else {}
        seconds = self.seconds if self.before else self.after.identity.uptime_seconds
        if not seconds or seconds <= 0 or not cpus or any(cpu not in now for cpu in cpus):
            return None
        shares = [_busy(then.get(cpu), now[cpu], seconds) for cpu in cpus]
        return None if None in shares else sum(share for share in shares if share is not None)

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


def _age(workload: Workload, host: Host) -> float | None:
    uptime = host.identity.uptime_seconds
    return None if uptime is None or workload.started_seconds is None else uptime - workload.started_seconds


def _activity(old: Workload | None, new: Workload, seconds: float) -> Activity:
    threads = scheduled(new)
    known = {(thread.tid, thread.start_ticks): thread for thread in scheduled(old)} if old else {}
    pairs = [(known.get((thread.tid, thread.start_ticks)), thread) for thread in threads]
    slices = [_since(was.timeslices if was else None, now.timeslices, was is None) for was, now in pairs]
    states = [thread.state for host in ([old, new] if old else [new]) for thread in scheduled(host)]
    cpu, was = new.cpu, old.cpu if old else None

    def counted(name: str) -> float | None:
        value = getattr(cpu, name)
        return value if was is None else difference(getattr(was, name), value)

    periods, throttled = counted("periods"), counted("throttled_periods")
    return Activity(
        seconds,
        since_start=old is None,
        run_seconds=_scaled([_since(was.run_ns if was else None, now.run_ns, was is None) for was, now in pairs], 1e-9),
        delay_seconds=_scaled([_since(was.delay_ns if was else None, now.delay_ns, was is None) for was, now in pairs], 1e-9),
        timeslices=None if (total := _scaled(slices, 1)) is None else int(total),
        # A throttled thread is runnable, too: it waits for its group, not for an event.
        runnable_threads=sum(1 for state in states if state == "R") / (2 if old else 1) if None not in states and states else None,
        active_threads=sum(1 for count in slices if count) if None not in slices else None,
        usage_seconds=_scaled([counted("usage_usec")], 1e-6),
        periods=None if periods is None else int(periods),
        throttled_periods=None if throttled is None else int(throttled),
        throttled_seconds=_scaled([counted("throttled_usec")], 1e-6),
    )


def scheduled(workload: Workload) -> tuple[Thread, ...]:
    """The threads that do the workload's work: of a machine, its vCPUs'."""
    if workload.paradigm == "virtualization":
        return tuple(vcpu.thread for vcpu in workload.vcpus if vcpu.thread is not None)
    return workload.threads


def _since(before: int | None, after: int | None, born: bool) -> float | None:
    return after if born else difference(before, after)


def _scaled(values: Sequence[float | None], scale: float) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) * scale if known and len(known) == len(values) else None


def _busy(before: CpuTime | None, after: CpuTime, seconds: float) -> float | None:
    spent = difference(before.busy_seconds if before else 0.0, after.busy_seconds)
    return None if spent is None else min(1.0, spent / seconds)
