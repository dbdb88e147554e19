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
from agent.model.values import STAT, UPTIME, USER_HZ, CpuSet, Dates, Fact
from agent.model.workload import Thread, Workload
from agent.overhead.parameters import DEFAULTS, Parameters

_ANSWERS_APART_SECONDS = 0.5
"""Two answers of a monitor that are closer are one, told twice."""

_COUNTED = (
    *("exits", "io_exits", "mmio_exits", "halt_attempted_poll", "halt_successful_poll"),
    *("halt_poll_success_ns", "halt_poll_fail_ns"),
)
"""Of KVM's forty counters of a vCPU those that a formula asks for."""

_SHARED_LEVEL = 3


class Activity(Fact, frozen=True):
    """What one workload did. None where a counter is not there or was reset.

    `seconds` passed between the readings of its threads, `group_seconds` between those of its group's files.
    """

    seconds: float
    group_seconds: float
    since_start: bool
    run_seconds: float | None = None
    delay_seconds: float | None = None
    timeslices: int | None = None
    switches: int | None = None
    """Voluntary and involuntary ones."""
    runnable_threads: float | None = None
    active_threads: int | None = None
    usage_seconds: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_seconds: float | None = None
    pressure_seconds: float | None = None
    """Some thread of the group waited for a CPU."""
    kvm: dict[str, float] = {}
    """Those of KVM's counters that formulas ask for: a second, summed over the vCPUs."""


class Window(Fact, frozen=True, dict=True):
    """`seconds` between `before` and `after`; without a `before`, each workload's life, and the CPUs' since boot.

    `supposed` are busy shares by CPU that somebody would see, in the place of those that were: more than 1 is asked of a CPU.
    `given`: the parameters that the host has measured of itself, for the formulas.
    """

    after: Host
    before: Host | None = None
    seconds: float | None = None
    supposed: dict[int, float] | None = None
    given: Parameters = DEFAULTS
    read_at: Dates = {}
    began_at: Dates = {}

    @classmethod
    def between(cls, after: Host, read_at: Dates, before: Host | None, began_at: Dates, given: Parameters = DEFAULTS) -> Window:
        """Both ends as they were read, and when."""
        return cls(after, before, difference(began_at.get(UPTIME), read_at.get(UPTIME)), given=given, read_at=read_at, began_at=began_at)

    def activity(self, workload: Workload) -> Activity | None:
        """None where no time has passed, or it is not known how much."""
        known = self._activities.get(id(workload))
        if known is None or known[0] is not workload:
            known = self._activities[id(workload)] = workload, self._activity(workload)
        return known[1]

    @cached_property
    def _activities(self) -> dict[int, tuple[Workload, Activity | None]]:
        return {}

    def _activity(self, workload: Workload) -> Activity | None:
        old = self._earlier.get((workload.id, workload.identity))
        if old is not None:
            seconds, group_seconds = self._passed(workload.pid, self.seconds), self._passed(workload.cgroup, self.seconds)
        else:
            seconds = group_seconds = _age(workload, self.after)
        if seconds is None or group_seconds is None or not 0 < seconds < math.inf or not 0 < group_seconds < math.inf:
            return None
        began = None if self.before is None else self.before.identity.uptime_seconds
        return _activity(old, workload, seconds, group_seconds, began)

    def _passed(self, key: str | int | None, otherwise: float | None) -> float | None:
        """Seconds between the two readings of a group, a process or a file; `otherwise` where they have no dates."""
        if key is None or key not in self.read_at or key not in self.began_at:
            return otherwise
        return self.read_at[key] - self.began_at[key]

    @property
    def cpu_seconds(self) -> float | None:
        """What `busy_cpus` is an average over."""
        return self._passed(STAT, self.seconds) if self.before is not None else self.after.identity.uptime_seconds

    def others(self, busy: float, activity: Activity, spent: float, seconds: float) -> float | None:
        """Of `busy` CPUs those that others kept busy while the workload spent CPU time in `seconds` of its own.

        Both are averages, each over its own time: a workload's life may be shorter than the CPUs'.
        """
        over = self.cpu_seconds if activity.since_start else seconds
        return max(0.0, busy - spent / over) if over else None

    def busy_cpus(self, cpus: CpuSet) -> float | None:
        """How many of `cpus` were busy on average; None when one of them has no counters."""
        mask = cpus.mask
        if mask not in self._busy_sums:
            shares = [self._busy.get(cpu) for cpu in cpus]
            known = [share for share in shares if share is not None]
            self._busy_sums[mask] = sum(known) if known and len(known) == len(shares) else None
        return self._busy_sums[mask]

    @cached_property
    def _busy_sums(self) -> dict[int, float | None]:
        """By mask: most workloads of a host share their CPUs with others."""
        return {}

    def wanted_by_vcpus(self, cpus: CpuSet) -> float | None:
        """CPUs that vCPUs want of `cpus`: what ran and what waited, each spread over the CPUs that it may use."""
        wanted = self._wanted
        return None if wanted is None else sum(wanted.get(cpu, 0.0) for cpu in cpus)

    @cached_property
    def _wanted(self) -> dict[int, float] | None:
        """None where one machine's is not known: the rest is not all."""
        found: dict[int, float] = {}
        for workload in self.after.workloads:
            if workload.paradigm != "virtualization" or (workload.guest is not None and workload.guest.elsewhere):
                continue
            activity, cpus = self.activity(workload), workload.placement.allowed_cpus
            if activity is None or activity.run_seconds is None or activity.delay_seconds is None or not cpus:
                return None
            each = (activity.run_seconds + activity.delay_seconds) / activity.seconds / len(cpus)
            for cpu in cpus:
                found[cpu] = found.get(cpu, 0.0) + each
        return found

    @cached_property
    def mates(self) -> dict[int, CpuSet]:
        """The other threads of each CPU's core."""
        return {cpu: core.cpus - CpuSet((cpu,)) for core in self.after.physical.cores for cpu in core.cpus}

    @cached_property
    def node_of(self) -> dict[int, int]:
        """The memory node of each CPU."""
        return {cpu: node.os_index for node in self.after.physical.nodes for cpu in node.cpus or ()}

    @cached_property
    def cache_bytes(self) -> dict[int, dict[int, int | None]]:
        """Sizes of the data caches of each CPU, by level."""
        found: dict[int, dict[int, int | None]] = {}
        for cache in self.after.physical.caches:
            if cache.type != "Instruction":
                for cpu in cache.cpus:
                    found.setdefault(cpu, {})[cache.level] = cache.size_bytes
        return found

    def last_level(self, cpu: int) -> tuple[CpuSet, int] | None:
        """The outermost cache of a CPU, of level 3 at least: whose it is, and how many bytes."""
        return self._last_levels.get(cpu)

    @cached_property
    def _last_levels(self) -> dict[int, tuple[CpuSet, int]]:
        found: dict[int, tuple[CpuSet, int]] = {}
        for cache in sorted(self.after.physical.caches, key=lambda cache: cache.level):
            for cpu in cache.cpus if cache.level >= _SHARED_LEVEL else ():
                if cache.size_bytes:
                    found[cpu] = cache.cpus, cache.size_bytes
                else:
                    found.pop(cpu, None)
        return found

    @cached_property
    def _earlier(self) -> dict[tuple[str, str], Workload]:
        return {(workload.id, workload.identity): workload for workload in self.before.workloads} if self.before else {}

    @cached_property
    def _busy(self) -> dict[int, float | None]:
        if self.supposed is not None:
            return {**self.supposed}
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


def _activity(old: Workload | None, new: Workload, seconds: float, group_seconds: float, began: float | None) -> Activity:
    threads = scheduled(new)
    known = {(thread.tid, thread.start_ticks): thread for thread in scheduled(old)} if old else {}
    pairs = [(known.get((thread.tid, thread.start_ticks)), thread) for thread in threads]
    # A thread that is older than the window and was not here joined from another group: what it did there is not the workload's.
    joined = old is not None and any(_joined(thread, was, began) for was, thread in pairs)

    def by_thread(name: str) -> list[int | None]:
        found: list[int | None] = []
        for was, now in pairs:
            count: int | None = None if joined else getattr(now, name)
            if was is not None and count is not None:
                before = getattr(was, name)
                count = None if before is None or count < before else count - before
            # No counter of the kernel's is below nothing, not even one that was never seen before.
            found.append(None if count is not None and count < 0 else count)
        return found

    slices, switches = by_thread("timeslices"), by_thread("voluntary_switches") + by_thread("involuntary_switches")
    states = [thread.state for host in ([old, new] if old else [new]) for thread in scheduled(host)]
    cpu, was = new.cpu, old.cpu if old else None

    def counted(name: str) -> float | None:
        value = getattr(cpu, name)
        return difference(0 if was is None else getattr(was, name), value)

    periods, throttled = counted("periods"), counted("throttled_periods")
    return Activity(
        seconds,
        group_seconds,
        since_start=old is None,
        run_seconds=_scaled(by_thread("run_ns"), 1e-9),
        delay_seconds=_scaled(by_thread("delay_ns"), 1e-9),
        timeslices=_counted(slices),
        switches=_counted(switches),
        # A throttled thread is runnable, too: it waits for its group, not for an event.
        runnable_threads=sum(1 for state in states if state == "R") / (2 if old else 1) if None not in states and states else None,
        active_threads=None if None in slices else sum(1 for count in slices if count),
        usage_seconds=_scaled([counted("usage_usec")], 1e-6),
        periods=None if periods is None else int(periods),
        throttled_periods=None if throttled is None else int(throttled),
        throttled_seconds=_scaled([counted("throttled_usec")], 1e-6),
        pressure_seconds=_scaled([counted("pressure_some_usec")], 1e-6),
        kvm=_kvm(old, new, seconds) if new.vcpus else {},
    )


def _kvm(old: Workload | None, new: Workload, seconds: float) -> dict[str, float]:
    """Counters that every vCPU has, a second. Monitors are asked every few seconds only, and their answers say how old they are: where both
    ends of the window have the same one, nothing is known of the window."""
    now, then = (one.guest.told_seconds_ago if one is not None and one.guest is not None else None for one in (new, old))
    if now is None:
        return {}
    earlier = {vcpu.number: vcpu.kvm for vcpu in old.vcpus} if old is not None else {}
    spent = seconds - now if then is None else seconds + then - now
    if spent <= 0 or (old is not None and spent < _ANSWERS_APART_SECONDS):
        return {}
    found = {}
    for name in _COUNTED:
        total = 0.0
        for vcpu in new.vcpus:
            count = vcpu.kvm.get(name)
            was = 0 if old is None else earlier.get(vcpu.number, {}).get(name)
            if count is None or was is None or count < was:
                break
            total += count - was
        else:
            found[name] = total / spent
    return found


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


def _counted(values: Sequence[float | None]) -> int | None:
    total = _scaled(values, 1)
    return None if total is None else int(total)


def _scaled(values: Sequence[float | None], scale: float) -> float | None:
    """Their sum; None where one is not known, or there is none."""
    if not values or None in values:
        return None
    return sum(value for value in values if value is not None) * scale
