"""Counters -> what happened in a window. The window is between two hosts, or from a workload's birth where there is one host only.

A counter belongs to somebody: a container's group by path and inode, a domain by uuid and id, a thread by tid and start. What was
born within the window counts whole; what went backwards, or whose owner changed, has no difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import TypeVar, cast

from agent.model.facts.cgroup import WorkloadCpu
from agent.model.facts.proc_stat import CpuTime
from agent.model.facts.proc_task import Thread
from agent.model.host import Host
from agent.model.values import STAT, UPTIME, USER_HZ, CpuSet, Fact, ReadTimes, all_or_none, sum_if_known
from agent.model.workload import Workload
from agent.overhead.machine import MachineIndex
from agent.overhead.parameter_set import DEFAULTS, Parameters

_ANSWERS_APART_SECONDS = 0.5
"""Two answers of a monitor that are closer are one, told twice."""

_COUNTED = (
    *("exits", "io_exits", "mmio_exits", "halt_attempted_poll", "halt_successful_poll"),
    *("halt_poll_success_ns", "halt_poll_fail_ns"),
)
"""Of KVM's forty counters of a vCPU those that a formula asks for."""

T = TypeVar("T")

Counts = tuple[int | None, ...]

_OF_A_THREAD = ("run_ns", "delay_ns", "timeslices", "voluntary_switches", "involuntary_switches")
_of_a_thread: Callable[[Thread], Counts] = attrgetter(*_OF_A_THREAD)
_of_a_group: Callable[[WorkloadCpu], Counts] = attrgetter(
    "usage_usec", "periods", "throttled_periods", "throttled_usec", "pressure_some_usec"
)


class Activity(Fact, frozen=True, kw_only=True):
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


class Window(Fact, frozen=True, dict=True, kw_only=True):
    """`seconds` between `before` and `after`; without a `before`, each workload's life, and the CPUs' since boot.

    `supposed` are busy shares by CPU that somebody would see, in the place of those that were: more than 1 is asked of a CPU.
    `given`: the parameters that the host has measured of itself, for the formulas.
    """

    after: Host
    before: Host | None = None
    seconds: float | None = None
    supposed: dict[int, float] | None = None
    given: Parameters = DEFAULTS
    read_at: ReadTimes = {}
    began_at: ReadTimes = {}

    @classmethod
    def between(cls, after: Host, read_at: ReadTimes, before: Host | None, began_at: ReadTimes, given: Parameters = DEFAULTS) -> Window:
        """Both ends as they were read, and when."""
        seconds = counter_increase(began_at.get(UPTIME), read_at.get(UPTIME))
        return cls(after=after, before=before, seconds=seconds, given=given, read_at=read_at, began_at=began_at)

    def activity(self, workload: Workload) -> Activity | None:
        """None where no time has passed, or it is not known how much."""
        cached = self._activities.get(id(workload))
        if cached is None or cached[0] is not workload:
            cached = self._activities[id(workload)] = workload, self._activity(workload)
        return cached[1]

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

    @cached_property
    def machine(self) -> MachineIndex:
        return MachineIndex(self.after.physical)

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
            self._busy_sums[mask] = sum_if_known(self._busy.get(cpu) for cpu in cpus)
        return self._busy_sums[mask]

    @cached_property
    def _busy_sums(self) -> dict[int, float | None]:
        """By mask: most workloads of a host share their CPUs with others."""
        return {}

    def wanted_by_vcpus(self, cpus: CpuSet) -> float | None:
        """CPUs that vCPUs want of `cpus`: what ran and what waited, each spread over the CPUs that it may use."""
        wanted, mask = self._wanted, cpus.mask
        if wanted is None:
            return None
        if mask not in self._wanted_sums:
            self._wanted_sums[mask] = sum([wanted.get(cpu, 0.0) for cpu in cpus])
        return self._wanted_sums[mask]

    @cached_property
    def _wanted_sums(self) -> dict[int, float]:
        return {}

    @cached_property
    def _wanted(self) -> dict[int, float] | None:
        """None where one machine's is not known: the rest is not all."""
        by_cpu: dict[int, float] = {}
        for workload in self.after.workloads:
            if workload.paradigm != "virtualization" or (workload.guest is not None and workload.guest.elsewhere):
                continue
            activity, cpus = self.activity(workload), workload.placement.allowed_cpus
            if activity is None or activity.run_seconds is None or activity.delay_seconds is None or not cpus:
                return None
            each = (activity.run_seconds + activity.delay_seconds) / activity.seconds / len(cpus)
            for cpu in cpus:
                by_cpu[cpu] = by_cpu.get(cpu, 0.0) + each
        return by_cpu

    def busy_mates(self, cpus: CpuSet) -> tuple[float, ...] | None:
        """How busy the other threads of each CPU's core were; None without such, or where one is not known."""
        mask = cpus.mask
        if mask not in self._busy_mates:
            self._busy_mates[mask] = self._of_mates([self.machine.siblings.get(cpu) for cpu in cpus])
        return self._busy_mates[mask]

    def _of_mates(self, sets: Sequence[CpuSet | None]) -> tuple[float, ...] | None:
        if not any(sets):
            return None
        shares = [None if mates is None else self.busy_cpus(mates) if mates else 0.0 for mates in sets]
        present = all_or_none(shares)
        return None if present is None else tuple(min(1.0, share) for share in present)

    @cached_property
    def _busy_mates(self) -> dict[int, tuple[float, ...] | None]:
        return {}

    @cached_property
    def weaknesses(self) -> tuple[str, ...]:
        """What weakens all that is said of contention: its own steal makes whoever waits wait longer, and is no delay of who runs."""
        virtual = self.after.identity.virtualization
        return ("host_is_guest",) if virtual is not None and virtual.kind == "guest" else ()

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
            return {time.cpu: _busy_since_boot(time, seconds) for time in now}
        # Idle time and not the sum of the modes: the modes are sampled at ticks, and what a quota stops and starts at its own rhythm
        # is caught twice as often as it runs, or never. A tickless kernel measures idle time.
        # A CPU that came online within the window was there before: the kernel keeps its counters while it is offline.
        then = {time.cpu: time for time in self.before.logical.cpu.times}
        return {time.cpu: _busy_between(then.get(time.cpu), time, seconds) for time in now}

    @property
    def runnable_tasks(self) -> float | None:
        """Tasks that ran or waited, the agent's own reading not counted, averaged over the ends of the window."""
        counts = [host.logical.cpu.runnable_tasks for host in (self.before, self.after) if host is not None]
        others = [max(0, count - 1) for count in counts if count is not None]
        return sum(others) / len(others) if others else None


def counter_increase(before: float | None, after: float | None) -> float | None:
    """None when either is absent, or the counter went back: a reset is not a rate."""
    if before is None or after is None or after < before:
        return None
    return after - before


def _busy_since_boot(time: CpuTime, seconds: float) -> float | None:
    """The busy share of a CPU; None where nobody counts: a CPU that was there for any time was idle in some of it, or busy."""
    busy = time.busy_seconds
    return None if busy is None or not any(time.modes) else min(1.0, busy / seconds)


def _busy_between(before: CpuTime | None, after: CpuTime, seconds: float) -> float | None:
    """The busy share of a CPU; None where every mode stands still, as in gVisor: nobody counts there."""
    if before is None or before == after:
        return None
    idle = counter_increase(before.unused_seconds, after.unused_seconds)
    return None if idle is None else min(1.0, max(0.0, 1 - idle / seconds))


def _age(workload: Workload, host: Host) -> float | None:
    uptime = host.identity.uptime_seconds
    return None if uptime is None or workload.started_seconds is None else uptime - workload.started_seconds


def _activity(old: Workload | None, new: Workload, seconds: float, group_seconds: float, began: float | None) -> Activity:
    threads, before = scheduled(new), scheduled(old) if old else ()
    old_threads = {(thread.tid, thread.start_ticks): thread for thread in before}
    pairs = [(old_threads.get((thread.tid, thread.start_ticks)), thread) for thread in threads]
    # A thread that is older than the window and was not here joined from another group: what it did there is not the workload's.
    joined = old is not None and any(_joined(thread, was, began) for was, thread in pairs)
    nothing: Counts = (None,) * len(_OF_A_THREAD)
    counts = [nothing if joined else _since(was, thread, _of_a_thread) for was, thread in pairs]
    run, delay, slices, voluntary, involuntary = zip(*counts, strict=True) if counts else ((),) * len(_OF_A_THREAD)
    states = [thread.state for thread in (*before, *threads)]
    usage, periods, throttled, stopped, pressure = _since(old.cpu if old else None, new.cpu, _of_a_group)
    return Activity(
        seconds=seconds,
        group_seconds=group_seconds,
        since_start=old is None,
        run_seconds=_seconds(_total(run), 1e-9),
        delay_seconds=_seconds(_total(delay), 1e-9),
        timeslices=_total(slices),
        switches=_total(voluntary + involuntary),
        # A throttled thread is runnable, too: it waits for its group, not for an event.
        runnable_threads=states.count("R") / (2 if old else 1) if None not in states and states else None,
        active_threads=None if None in slices else sum(1 for count in slices if count),
        usage_seconds=_seconds(usage, 1e-6),
        periods=periods,
        throttled_periods=throttled,
        throttled_seconds=_seconds(stopped, 1e-6),
        pressure_seconds=_seconds(pressure, 1e-6),
        kvm=_kvm(old, new, seconds) if new.vcpus else {},
    )


def _kvm(old: Workload | None, new: Workload, seconds: float) -> dict[str, float]:
    """Counters that every vCPU has, a second. Monitors are asked every few seconds only, and their answers say how old they are: where both
    ends of the window have the same one, nothing is known of the window."""
    now, then = (
        workload.guest.stats_seconds_ago if workload is not None and workload.guest is not None else None for workload in (new, old)
    )
    if now is None:
        return {}
    earlier = {vcpu.number: vcpu.kvm for vcpu in old.vcpus} if old is not None else {}
    spent = seconds - now if then is None else seconds + then - now
    if spent <= 0 or (old is not None and spent < _ANSWERS_APART_SECONDS):
        return {}
    rates = {}
    for name in _COUNTED:
        total = 0.0
        for vcpu in new.vcpus:
            count = vcpu.kvm.get(name)
            was = 0 if old is None else earlier.get(vcpu.number, {}).get(name)
            if count is None or was is None or count < was:
                break
            total += count - was
        else:
            rates[name] = total / spent
    return rates


def scheduled(workload: Workload) -> tuple[Thread, ...]:
    """The threads that do the workload's work: of a machine, its vCPUs'."""
    if workload.paradigm == "virtualization":
        threads = tuple(vcpu.thread for vcpu in workload.vcpus if vcpu.thread is not None)
        return threads if len(threads) == len(workload.vcpus) else ()
    return workload.threads


def _since(was: T | None, now: T, counts: Callable[[T], Counts]) -> Counts:
    """No counter of the kernel's is below nothing, not even one that was never seen before; a reset is not a rate."""
    if was is None:
        return tuple([None if count is None or count < 0 else count for count in counts(now)])
    both = zip(counts(was), counts(now), strict=True)
    return tuple([None if before is None or count is None or count < before else count - before for before, count in both])


def _joined(thread: Thread, was: Thread | None, began: float | None) -> bool:
    """Starts are cut to 1/100 s, and so is the uptime. A thread of unknown start has no identity."""
    if thread.start_ticks is None:
        return True
    return was is None and began is not None and thread.start_ticks / USER_HZ < began - 0.02


def _total(counts: Counts) -> int | None:
    """None where one is not known, or there is none."""
    return None if not counts or None in counts else sum(cast("tuple[int, ...]", counts))


def _seconds(count: int | None, unit: float) -> float | None:
    return None if count is None else count * unit
