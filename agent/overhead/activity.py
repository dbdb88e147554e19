"""Counters -> what one workload did in a window, or in its life.

A counter belongs to somebody: a container's group by path and inode, a domain by uuid and id, a thread by tid and start. What was
born within the window counts whole; what went backwards, or whose owner changed, has no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar, cast

from agent.model.facts.cgroup import WorkloadCpu
from agent.model.facts.proc_task import Thread
from agent.model.values import USER_HZ, Fact
from agent.model.workload import Workload
from agent.overhead.delay import ASLEEP, possible_waits, pressed_share

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


class ThreadTimes(NamedTuple):
    """Of one thread (`key`: number and start) the shares of a window that it ran and waited, and its voluntary switches a second."""

    key: tuple[int, int]
    run: float
    wait: float
    switches: float


class Hungry(Fact, frozen=True, kw_only=True):
    """Threads that slept at no time of a window: of those the kernel counts no voluntary switch, and they were no sleepers before.

    What such a thread did not run, it waited: 1 = run + wait + sleep.
    """

    threads: int = 0
    run_seconds: float = 0.0
    timeslices: int = 0


class Activity(Fact, frozen=True, kw_only=True):
    """What one workload did. None where a counter is not there or was reset.

    `seconds` passed between the readings of its threads, `group_seconds` between those of its group's files.
    """

    seconds: float
    group_seconds: float
    since_start: bool
    run_seconds: float | None = None
    delay_seconds: float | None = None
    impossible_delays: int = 0
    """Threads whose delay was left out: each slept as the window began, and gained more than it can have waited."""
    timeslices: int | None = None
    switches: int | None = None
    """Voluntary and involuntary ones."""
    sleeps: int | None = None
    """Voluntary ones."""
    runnable_threads: float | None = None
    """Threads that ran or waited, on average: their times over the window's (Little's law)."""
    hungry: Hungry | None = None
    threads: tuple[ThreadTimes, ...] | None = None
    """Of those that were there for the whole window; None where a counter of one is missing."""
    asked: tuple[float, float] | None = None
    """What it ran and what it waited for, in CPUs, whatever thread did: of a machine the emulator's, too."""
    active_threads: int | None = None
    usage_seconds: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_seconds: float | None = None
    pressure_seconds: float | None = None
    """Some thread of the group waited for a CPU."""
    kvm: dict[str, float] = {}
    """Those of KVM's counters that formulas ask for: a second, summed over the vCPUs."""


def activity_of(
    old: Workload | None,
    new: Workload,
    seconds: float,
    group_seconds: float,
    began: float | None,
    host_pressed: float | None,
    cpus: int,
) -> Activity:
    """`host_pressed`: the share of the window in which some task of a host of so many CPUs waited for one."""
    threads = scheduled(new)
    pairs = _pairs(scheduled(old) if old else (), threads)
    # A thread that is older than the window and was not here joined from another group: what it did there is not the workload's.
    joined = old is not None and any(_joined(thread, was, began) for was, thread in pairs)
    nothing: Counts = (None,) * len(_OF_A_THREAD)
    counts = [nothing if joined else _since(was, thread, _of_a_thread) for was, thread in pairs]
    run, delay, slices, voluntary, involuntary = zip(*counts, strict=True) if counts else ((),) * len(_OF_A_THREAD)
    usage, periods, throttled, stopped, pressure = _since(old.cpu if old else None, new.cpu, _of_a_group)
    pressed = pressed_share((host_pressed, None if pressure is None else pressure * 1e-6 / group_seconds), cpus)
    asleep = [was is not None and was.state in ASLEEP for was, _ in pairs]
    waits = possible_waits(run, delay, asleep, seconds=seconds, pressed=pressed, period_seconds=(new.cpu.period_usec or 0) * 1e-6)
    ran, waited = _seconds(_total(run), 1e-9), _seconds(_total(waits.delays_ns), 1e-9)
    if new.paradigm == "virtualization":
        every = _of_its_process(new)
        # Where what is read of the process itself is missing, so is its first thread.
        is_complete = any(thread.tid == new.pid for thread in every)
        asked = _asked(_pairs(_of_its_process(old) if old else (), every), seconds) if is_complete else None
    else:
        asked = None if ran is None or waited is None else (ran / seconds, waited / seconds)
    return Activity(
        seconds=seconds,
        group_seconds=group_seconds,
        since_start=old is None,
        run_seconds=ran,
        delay_seconds=waited,
        impossible_delays=waits.left_out,
        timeslices=_total(slices),
        switches=_total(voluntary + involuntary),
        sleeps=_total(voluntary),
        # A throttled thread is runnable, too: the kernel counts its waiting for its group as run delay.
        runnable_threads=None if ran is None or waited is None else min((ran + waited) / seconds, float(len(threads))),
        hungry=_hungry(pairs, counts, ran),
        threads=_times(pairs, counts, waits.delays_ns, seconds),
        asked=asked,
        active_threads=None if None in slices else sum(1 for count in slices if count),
        usage_seconds=_seconds(usage, 1e-6),
        periods=periods,
        throttled_periods=throttled,
        throttled_seconds=_seconds(stopped, 1e-6),
        pressure_seconds=_seconds(pressure, 1e-6),
        kvm=_kvm(old, new, seconds) if new.vcpus else {},
    )


def _pairs(before: Sequence[Thread], threads: Sequence[Thread]) -> list[tuple[Thread | None, Thread]]:
    """Each thread as it was: the same by number and start."""
    old_threads = {(thread.tid, thread.start_ticks): thread for thread in before}
    return [(old_threads.get((thread.tid, thread.start_ticks)), thread) for thread in threads]


def every_thread(workload: Workload) -> tuple[Thread, ...]:
    """All of its threads, each once; of a machine its vCPUs', too."""
    if not workload.vcpus:
        return workload.threads
    vcpus = [vcpu.thread for vcpu in workload.vcpus if vcpu.thread is not None]
    tids = {thread.tid for thread in vcpus}
    return (*vcpus, *(thread for thread in workload.threads if thread.tid not in tids))


def _of_its_process(workload: Workload) -> tuple[Thread, ...]:
    """The kernel's threads that serve a machine are found by their names, or not: they are left out."""
    return tuple(thread for thread in every_thread(workload) if thread.role not in ("vhost", "kvm"))


def _asked(pairs: Sequence[tuple[Thread | None, Thread]], seconds: float) -> tuple[float, float] | None:
    """CPUs that threads ran on, and that they waited for: no thread waits for longer than it does not run."""
    ran, waited = 0.0, 0.0
    for was, thread in pairs:
        run, delay = _since(was, thread, _of_a_thread)[:2]
        if run is None or delay is None:
            return None
        share = min(1.0, run * 1e-9 / seconds)
        ran, waited = ran + share, waited + min(1.0 - share, delay * 1e-9 / seconds)
    return ran, waited


def _hungry(pairs: Sequence[tuple[Thread | None, Thread]], counts: Sequence[Counts], ran: float | None) -> Hungry | None:
    """None where a counter of a thread that may be one is missing.

    A thread that was born within the window, or a workload of which there is one look only, did not have all of it.
    """
    if ran == 0:
        return Hungry()
    threads, run_ns, timeslices = 0, 0, 0
    for (was, _), (run, _, slices, voluntary, _) in zip(pairs, counts, strict=True):
        if run is None or slices is None or voluntary is None or (was is not None and was.state is None):
            return None
        if was is not None and not voluntary and run and slices and was.state not in ASLEEP:
            threads, run_ns, timeslices = threads + 1, run_ns + run, timeslices + slices
    return None if ran is None else Hungry(threads=threads, run_seconds=run_ns * 1e-9, timeslices=timeslices)


def _times(
    pairs: Sequence[tuple[Thread | None, Thread]], counts: Sequence[Counts], delays_ns: Sequence[int | None], seconds: float
) -> tuple[ThreadTimes, ...] | None:
    times = []
    for (was, thread), (run, _, _, voluntary, _), delay in zip(pairs, counts, delays_ns, strict=True):
        if was is None:
            continue
        if run is None or delay is None or voluntary is None or thread.start_ticks is None:
            return None
        share = min(1.0, run * 1e-9 / seconds)
        key = thread.tid, thread.start_ticks
        times.append(ThreadTimes(key, share, min(1.0 - share, delay * 1e-9 / seconds), voluntary / seconds))
    return tuple(times)


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


def counter_increase(before: float | None, after: float | None) -> float | None:
    """None when either is absent, or the counter went back: a reset is not a rate."""
    if before is None or after is None or after < before:
        return None
    return after - before


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
