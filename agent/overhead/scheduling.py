"""Run-queue delay: how long runnable threads wait for a CPU.

Unsaturated CPUs: an M/M/m queue (Erlang C) is the best a balancer can do, a queue for each CPU the worst. Saturated CPUs: a fair
share. Source: kernel/sched/fair.c for the slice; Erlang's delay formula.
"""

from __future__ import annotations

import math
from functools import lru_cache

from agent.model.components import RUN_QUEUE_DELAY
from agent.model.facts.cgroup import WorkloadCpu
from agent.model.snapshot import Param, Prediction
from agent.model.workload import VCpu, Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity
from agent.overhead.parameter_set import DEFAULTS, Parameters
from agent.overhead.prediction import UNSCORED, prediction, weaknesses
from agent.overhead.throttling import edge_share, held_threads
from agent.overhead.window import Window

_LEAST_ELIGIBLE = 1e-9
"""Who is held back for longer is held back for all of the time."""

SATURATED = 0.95
"""Busy share of the allowed CPUs above which no queue formula holds."""


@lru_cache(64)
def base_slice_seconds(cpus: int, norm_seconds: float) -> float:
    """s_norm * (1 + log2(min(CPUs, 8))): sysctl_sched_tunable_scaling is logarithmic by default."""
    return norm_seconds * (1 + int(math.log2(min(max(cpus, 1), 8))))


@lru_cache(64)
def slice_seconds(base_seconds: float, tick_hz: float) -> float:
    """Without high-resolution preemption an equal is preempted at a tick only."""
    tick = 1 / tick_hz
    return math.ceil(round(base_seconds / tick, 9)) * tick


def erlang_c(servers: int, utilisation: float) -> float:
    """Probability of waiting in M/M/m at a utilisation per server in [0, 1)."""
    if utilisation <= 0:
        return 0.0
    load = servers * utilisation
    blocking = 1.0
    for k in range(1, servers + 1):
        blocking = load * blocking / (k + load * blocking)
    return blocking / (1 - utilisation * (1 - blocking))


def wait_balanced_seconds(cpus: int, utilisation: float, burst_seconds: float) -> float:
    """Mean wait with one queue for all CPUs."""
    return erlang_c(cpus, utilisation) / (cpus * (1 - utilisation)) * burst_seconds


def wait_alone_seconds(utilisation: float, burst_seconds: float) -> float:
    """Mean wait with a queue of one's own: pinned, or nobody balances."""
    return utilisation / (1 - utilisation) * burst_seconds


def saturated_delay(own_threads: float, other_threads: float, cpus: int) -> float:
    """Seconds of delay in a second, summed over the own runnable threads, when all threads of equal weight share the CPUs."""
    total = own_threads + other_threads
    if total <= cpus or own_threads <= 0:
        return 0.0
    return own_threads * (1 - cpus / total)


def run_queue_delay(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """Seconds of delay in a second, summed over the workload's threads (of a machine: its vCPUs'; the host level of two).

    The kernel counts the time in which a group's quota holds its runnable threads back as their run delay, on 6.18, too, which
    dequeues them. A group waits in that time for its quota and in the rest, `eligible`, for a CPU.
    """
    cpus = workload.placement.allowed_cpus
    busy = window.busy_cpus(cpus) if cpus else None
    run, runnable, stopped = activity.run_seconds, activity.runnable_threads, _stopped(workload, window, activity)
    if not cpus or busy is None or run is None or runnable is None or stopped is None:
        return None
    own, others = run / activity.seconds, window.others(busy, activity, run, activity.seconds)
    if others is None:
        return None
    # States are two moments only; what ran or was stopped was runnable.
    threads = max(runnable, own + stopped)
    if stopped and activity.periods is None:
        return None
    held = held_threads(stopped, threads, len(cpus))
    eligible = min(1.0, max(1 - held / threads, own / len(cpus), _LEAST_ELIGIBLE)) if held else 1.0
    demand = own / eligible
    flags = weaknesses(activity, window) + [UNSCORED] * bool(activity.impossible_delays)
    limit = workload.cpu.limit_cpus
    unseen = (
        limit is not None and not limit.unlimited and (activity.throttled_seconds is None or workload.cpu.limited_by != workload.cgroup)
    )
    if unseen or workload.cpu.weight not in (None, 100) or workload.cpu.shares not in (None, 1024):
        # What a group above holds back is not in this one's counters, and threads count as equals.
        flags.append("extrapolated")
    inputs = {"cpus": float(len(cpus)), "own_busy_cpus": own, "other_busy_cpus": others, "held_threads": held}
    if (demand + others) / len(cpus) >= SATURATED:
        tasks, elsewhere = window.runnable_tasks, window.busy_cpus(window.after.physical.cpus.online - cpus)
        if tasks is None or (elsewhere is None and not window.after.physical.cpus.online <= cpus):
            return None
        # The tasks of the host that are not ours, nor run on a CPU that we may not use: at most these compete.
        crowd = max(others, tasks - (threads - held) - (elsewhere or 0.0))
        low = saturated_delay(demand, others, len(cpus))
        point = saturated_delay(threads, math.sqrt(others * crowd), len(cpus))
        # A count of two moments tells halves: one that both missed may have been there.
        high = saturated_delay(threads, crowd + 0.5, len(cpus))
        interval = (point, min(low, point), max(high, point))
        inputs |= {"own_runnable_threads": threads, "other_runnable_tasks": crowd}
        formula = "held + eligible*n*(1 - m/(n + k)): n own and k other runnable threads of equal weight on m CPUs"
        flags.append("saturated")
    else:
        unsaturated = _unsaturated(window, activity, len(cpus), demand, others, inputs)
        if unsaturated is None:
            return None
        # It counts timeslices, all of which are in the eligible time.
        interval = (unsaturated[0] / eligible, unsaturated[1] / eligible, unsaturated[2] / eligible)
        formula = "held + timeslices/s * (phi*W + wake-up); W between Erlang C over m CPUs and rho/(1-rho), times the mean burst"
    # Both counters, of the delay and of the stop, grow when the wait is over: what is cut off at the ends of the window differs.
    cut = held * edge_share(activity.periods or 0) if held else 0.0
    point, low, high = (held + eligible * figure for figure in interval)
    low, high = max(0.0, low - cut), high + cut
    if held:
        # Beside others a thread of a group out of quota may wait without being stopped, but no longer than it does not run.
        high = max(high, threads - own + cut)
    measured = None if activity.delay_seconds is None else activity.delay_seconds / activity.seconds
    return prediction(workload, RUN_QUEUE_DELAY, (point, low, high), formula=formula, inputs=inputs, flags=flags, measured=measured)


def _stopped(workload: Workload, window: Window, activity: Activity) -> float | None:
    """Run queues of the group that stand still, on average; none without a quota of its own.

    Not known where a vCPU has a quota in a group of its own: how often that held it back is not in the machine's counters. Nor where a
    quota that there is, or may be, was not read.
    """
    if any(_may_have_quota(vcpu) for vcpu in workload.vcpus):
        return None
    if activity.throttled_seconds is not None:
        return activity.throttled_seconds / activity.group_seconds
    return None if window.after.identity.cgroup is None or _may_have_quota(workload.cpu) else 0.0


def _may_have_quota(group: WorkloadCpu | VCpu) -> bool:
    """Whether a control group has a quota, or shows others of the CPU controller's files and not that one."""
    if group.quota_usec is None:
        return group.period_usec is not None or group.shares is not None or group.weight is not None
    return not group.quota_usec.unlimited


def _unsaturated(
    window: Window, activity: Activity, cpus: int, own: float, others: float, inputs: dict[str, float]
) -> tuple[float, float, float] | None:
    slices, run, active = activity.timeslices, activity.run_seconds, activity.active_threads
    virtual, online = window.after.identity.virtualization, len(window.after.physical.cpus.online)
    if slices is None or run is None or active is None or virtual is None or not online:
        return None
    if not slices or not run:
        return 0.0, 0.0, 0.0
    wake = window.given[parameters.WAKE_GUEST if virtual.kind == "guest" else parameters.WAKE]
    # To one thread its siblings are others, too.
    utilisation = min(SATURATED, (others + own * (1 - 1 / max(1, active))) / cpus)
    rate = slices / activity.seconds
    inputs |= {
        "timeslices_per_second": rate,
        "utilisation_by_others": utilisation,
        "mean_burst_seconds": min(run / slices, _slices(online, window.given)[1]),
        "queued_share": window.given[parameters.QUEUED].mode,
        "wake_up_seconds": wake.mode,
    }
    return unsaturated_delay(rate, run / slices, utilisation, cpus, online, wake, window.given)


def unsaturated_delay(
    rate: float, burst_seconds: float, utilisation: float, cpus: int, online: int, wake: Param, given: Parameters = DEFAULTS
) -> tuple[float, float, float]:
    """Seconds of delay in a second of threads that start `rate` timeslices a second, beside others on `cpus`: point and interval."""
    queued = given[parameters.QUEUED]
    balanced, alone = wait_balanced_seconds(cpus, utilisation, 1.0), wait_alone_seconds(utilisation, 1.0)
    short, usual, long = _slices(online, given)
    return (
        rate * (queued.mode * math.sqrt(balanced * alone) * min(burst_seconds, usual) + wake.mode),
        rate * (queued.lo * balanced * min(burst_seconds, short) + wake.lo),
        rate * (queued.hi * alone * min(burst_seconds, long) + wake.hi),
    )


@lru_cache(16)
def _slices(online: int, given: Parameters) -> tuple[float, float, float]:
    """The shortest, the usual and the longest slice; the same for all workloads of a host."""
    # A stated tick is not asked for: few kernels show their configuration, and a figure must not depend on whether they do.
    norm, tick = given[parameters.SLICE_NORM], given[parameters.TICK_HZ]
    short, usual, long = (
        slice_seconds(base_slice_seconds(online, size), hertz)
        for size, hertz in ((norm.lo, tick.hi), (norm.mode, tick.mode), (norm.hi, tick.lo))
    )
    return short, usual, long
