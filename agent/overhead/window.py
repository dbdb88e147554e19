"""What happened in a window: between two hosts, or from a workload's birth where there is one host only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

from agent.model.facts.proc_stat import CpuTime
from agent.model.host import Host
from agent.model.values import STAT, UPTIME, CpuSet, Fact, Gap, ReadTimes, all_or_none, sum_if_known
from agent.model.workload import Workload
from agent.overhead.activity import Activity, activity_of, counter_increase
from agent.overhead.competition import Competition
from agent.overhead.habits import NO_HABITS, Habit, Key
from agent.overhead.machine import MachineIndex
from agent.overhead.parameter_set import DEFAULTS, Parameters

_NAMES_SHOWN = 4
_REMEDY = "none here: Linux 6.12 and later may count the sleep of a thread as waiting, when it moves the thread to another CPU"


class Window(Fact, frozen=True, dict=True, kw_only=True):
    """`seconds` between `before` and `after`; without a `before`, each workload's life, and the CPUs' since boot.

    `supposed` are busy shares by CPU that somebody would see, in the place of those that were: more than 1 is asked of a CPU.
    `given`: the parameters that the host has measured of itself, for the formulas. `habits`: how its threads slept in the windows before.
    """

    after: Host
    before: Host | None = None
    seconds: float | None = None
    supposed: dict[int, float] | None = None
    given: Parameters = DEFAULTS
    read_at: ReadTimes = {}
    began_at: ReadTimes = {}
    habits: Mapping[Key, Habit] = NO_HABITS

    @classmethod
    def between(
        cls,
        after: Host,
        read_at: ReadTimes,
        before: Host | None,
        began_at: ReadTimes,
        *,
        given: Parameters = DEFAULTS,
        habits: Mapping[Key, Habit] = NO_HABITS,
    ) -> Window:
        """Both ends as they were read, and when."""
        seconds = counter_increase(began_at.get(UPTIME), read_at.get(UPTIME))
        return cls(after=after, before=before, seconds=seconds, given=given, read_at=read_at, began_at=began_at, habits=habits)

    def activity(self, workload: Workload) -> Activity | None:
        """None where no time has passed, or it is not known how much."""
        cached = self._activities.get(id(workload))
        if cached is None or cached[0] is not workload:
            cached = self._activities[id(workload)] = workload, self._activity(workload)
        return cached[1]

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What of the counters of its workloads cannot be."""
        activities = [(workload.name or workload.id, self.activity(workload)) for workload in self.after.workloads]
        left_out = [(name, activity.impossible_delays) for name, activity in activities if activity and activity.impossible_delays]
        if not left_out:
            return ()
        names, threads = ", ".join(name for name, _ in left_out[:_NAMES_SHOWN]), sum(threads for _, threads in left_out)
        more = f" and {len(left_out) - _NAMES_SHOWN} more" if len(left_out) > _NAMES_SHOWN else ""
        detail = (
            f"proc/PID/task/TID/schedstat, of {names}{more}: the run delay of {threads} thread{'s' if threads > 1 else ''} that slept as "
            "the window began grew by more than can be, and is left out"
        )
        return (Gap("proc_task", "failed", detail, _REMEDY),)

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
        pressed = None if old is None else self._pressed
        return activity_of(old, workload, seconds, group_seconds, began, pressed, len(self.after.physical.cpus.online))

    @cached_property
    def _pressed(self) -> float | None:
        """The share of the window in which some task of the host waited for a CPU (/proc/pressure/cpu)."""
        stalls = [host.logical.pressure and host.logical.pressure.cpu for host in (self.before, self.after) if host is not None]
        waited = counter_increase(*(stall.some_usec if stall else None for stall in stalls)) if len(stalls) == 2 else None
        return None if waited is None or not self.seconds else waited * 1e-6 / self.seconds

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

    @cached_property
    def competition(self) -> Competition:
        """Who asks for which CPUs."""
        return Competition([(workload, self.activity(workload)) for workload in self.after.workloads])

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
