"""Run-queue delay: how long runnable threads wait for a CPU.

Unsaturated CPUs: an M/M/m queue (Erlang C) is the best a balancer can do, a queue for each CPU the worst. Saturated CPUs: a fair
share. Source: kernel/sched/fair.c for the slice; Erlang's delay formula.
"""

from __future__ import annotations

import math
from functools import lru_cache

from msgspec.structs import replace

from agent.model.components import RUN_QUEUE_DELAY
from agent.model.facts.cgroup import WorkloadCpu
from agent.model.snapshot import ByContention, Param, Prediction
from agent.model.workload import VCpu, Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity, Hungry, scheduled
from agent.overhead.habits import waiting
from agent.overhead.parameter_set import DEFAULTS, Parameters
from agent.overhead.prediction import HABIT, UNSCORED, prediction, weaknesses
from agent.overhead.throttling import edge_share, held_threads
from agent.overhead.window import Window

_LEAST_ELIGIBLE = 1e-9
"""Who is held back for longer is held back for all of the time."""

SATURATED = 0.95
"""Busy share of the allowed CPUs above which no queue formula holds."""

EDGE_WAITS, EDGE_SHARE = 1.5, 0.01
"""At the ends of a window a wait counts when it is over: so many waits of a thread; and its readings are so much apart."""

BY_HABIT = "sum over its threads of 1 - run - switches * what they slept a switch in the windows before"

_STEEP = 4
_NO_CPUS = 1e-6
_HARDLY_CPUS = 0.02
_SEEN_SHARE = 0.8
"""A fork-heavy group was seen to lose 91 % of its delay with its children."""


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


def run_queue_delay(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """Seconds of delay in a second, summed over the workload's threads (of a machine: its vCPUs'; the host level of two).

    By habit where the windows before have shown how each of its threads sleeps: what it neither ran nor slept, it waited. Else threads that
    never slept waited when they did not run, and the others wait by what competes with them; that figure stands beside the other one, too.
    The kernel counts the time in which a group's quota holds its runnable threads back as their run delay, on 6.18, too, which dequeues
    them.

    Absent where threads that have gone ran for a good part of the time: their delay went with them.
    """
    cpus, run = workload.placement.allowed_cpus, activity.run_seconds
    busy = window.busy_cpus(cpus) if cpus else None
    if not cpus or busy is None or run is None or _ran_in_ended_processes(workload, activity, run):
        return None
    own, others = run / activity.seconds, window.others(busy, activity, run, activity.seconds)
    if others is None:
        return None
    counted = float(len(scheduled(workload)))
    inputs = {"cpus": float(len(cpus)), "threads": counted, "own_busy_cpus": own, "other_busy_cpus": others}
    flags = _flags(workload, window, activity)
    modelled = _by_contention(workload, window, activity, inputs, flags)
    interval = waiting(activity.threads, window.habits, window.given[parameters.SLEEP])
    if interval is not None:
        formula, flags = BY_HABIT, [*weaknesses(activity, window), *[UNSCORED] * bool(activity.impossible_delays), HABIT]
    elif modelled is not None:
        interval, formula = modelled
    else:
        return None
    other = None if modelled is None or HABIT not in flags else ByContention(*modelled[0], modelled[1])
    measured = None if activity.delay_seconds is None else activity.delay_seconds / activity.seconds
    return prediction(
        workload, RUN_QUEUE_DELAY, interval, formula=formula, inputs=inputs, flags=flags, measured=measured, by_contention=other
    )


def with_ended_processes(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """The delay of a group as if its present threads had run all that it used: its pressure outlives processes that have ended."""
    if activity.usage_seconds is None or activity.run_seconds is None or activity.active_threads is None:
        return None
    ended = max(0.0, activity.usage_seconds / activity.group_seconds - activity.run_seconds / activity.seconds)
    threads = activity.active_threads + math.ceil(ended)
    run = activity.run_seconds + ended * activity.seconds
    return run_queue_delay(workload, window, replace(activity, run_seconds=run, active_threads=threads, threads=None))


def _by_contention(
    workload: Workload, window: Window, activity: Activity, inputs: dict[str, float], flags: list[str]
) -> tuple[tuple[float, float, float], str] | None:
    """Figures and formula of what competes with it. A group waits while its quota stops it, and in the rest, `eligible`, for a CPU.

    `inputs` and `flags` gain what this takes.
    """
    cpus, run, hungry, stopped = inputs["cpus"], activity.run_seconds, activity.hungry, stopped_queues(workload, window, activity)
    if run is None or hungry is None or stopped is None or (stopped and activity.periods is None):
        return None
    own, others = inputs["own_busy_cpus"], inputs["other_busy_cpus"]
    certain = max(0.0, hungry.threads - hungry.run_seconds / activity.seconds)
    rest = max(0.0, own - hungry.run_seconds / activity.seconds)
    threads = max(hungry.threads + rest, own + stopped)
    inputs["held_threads"] = held = held_threads(stopped, threads, cpus)
    if hungry.threads:
        inputs |= {"hungry_threads": float(hungry.threads), "hungry_waiting": certain}
        flags.append("accounting")
    # How long the current wait is at each end of the window is not known.
    edge = hungry.threads * (EDGE_WAITS * certain / max(1, hungry.timeslices) + EDGE_SHARE)
    interval = certain, max(0.0, certain - edge), min(float(hungry.threads), certain + edge)
    formula = "n - run of threads that never slept"
    if hungry.threads and rest <= _NO_CPUS:
        return interval, formula
    held_here = held * (1 - hungry.threads / threads) if threads > hungry.threads else 0.0
    contended = _contended(workload, window, activity, hungry, rest, others, held_here, inputs)
    if contended is None:
        return None
    figures, formula_of_rest, is_saturated = contended
    flags += ["saturated", "prior_only"] if is_saturated else []
    both = interval[0] + figures[0], interval[1] + figures[1], interval[2] + figures[2]
    return both, f"{formula} + {formula_of_rest}" if hungry.threads else formula_of_rest


def _ran_in_ended_processes(workload: Workload, activity: Activity, run: float) -> bool:
    """Whether a group used more than its threads ran, by more than readings at different moments can be apart."""
    usage = activity.usage_seconds
    if workload.paradigm == "virtualization" or usage is None:
        return False
    usage_share, run_share = usage / activity.group_seconds, run / activity.seconds
    return usage_share - run_share > max(_HARDLY_CPUS, (1 - _SEEN_SHARE) * usage_share)


def _flags(workload: Workload, window: Window, activity: Activity) -> list[str]:
    flags = weaknesses(activity, window) + [UNSCORED] * bool(activity.impossible_delays)
    limit = workload.cpu.limit_cpus
    unseen = (
        limit is not None and not limit.unlimited and (activity.throttled_seconds is None or workload.cpu.limited_by != workload.cgroup)
    )
    if unseen or workload.cpu.weight not in (None, 100) or workload.cpu.shares not in (None, 1024):
        # What a group above holds back is not in this one's counters, and threads count as equals.
        flags.append("extrapolated")
    return flags


def _contended(
    workload: Workload,
    window: Window,
    activity: Activity,
    hungry: Hungry,
    rest: float,
    others: float,
    held: float,
    inputs: dict[str, float],
) -> tuple[tuple[float, float, float], str, bool] | None:
    """What threads that sleep at times wait, which run on `rest` CPUs: figures, formula, and whether their CPUs are saturated.

    `held` of them stand still with their group, `others` CPUs are busy with other workloads.
    """
    cpus, slices, active = workload.placement.allowed_cpus, activity.timeslices, activity.active_threads
    virtual, online = window.after.identity.virtualization, len(window.after.physical.cpus.online)
    if not cpus or slices is None or active is None or virtual is None or not online:
        return None
    rate = max(0, slices - hungry.timeslices) / activity.seconds
    if not rate or not rest:
        return (held, held, held), "held", False
    many, sleepers = len(cpus), max(1, active - hungry.threads)
    waiters = min(sleepers, held + rest)
    eligible = min(1.0, max(1 - held / waiters, rest / many, _LEAST_ELIGIBLE)) if held else 1.0
    demand, beside = rest / eligible, others + hungry.run_seconds / activity.seconds
    wake = window.given[parameters.WAKE_GUEST if virtual.kind == "guest" else parameters.WAKE]
    is_saturated = (demand + beside) / many >= SATURATED
    if is_saturated:
        fair = window.competition.fair_cpus(workload, cpus, others)
        waiting = window.competition.others_waiting(workload, cpus)
        if fair is None or waiting is None:
            return None
        crowd = others + waiting + hungry.threads
        inputs |= {"own_running": rest, "fair_cpus": fair, "other_runnable_tasks": crowd, "timeslices_per_second": rate}
        own = demand + hungry.run_seconds / activity.seconds
        greed = own / fair if fair and not hungry.threads else 1.0
        interval = _beside_a_crowd(rest, greed, crowd / many, sleepers, rate, online, wake, window.given)
        formula = "held + eligible*((n - r) * what it ran over what it would get + slices of who runs when others wake)"
    else:
        # To one thread its siblings are others, too.
        utilisation = min(SATURATED, (beside + demand * (1 - 1 / sleepers)) / many)
        inputs |= {
            "timeslices_per_second": rate,
            "utilisation_by_others": utilisation,
            "mean_burst_seconds": min(rest / rate, _slices(online, window.given)[1]),
            "queued_share": window.given[parameters.QUEUED].mode,
            "wake_up_seconds": wake.mode,
        }
        # It counts timeslices, all of which are in the eligible time.
        point, low, high = unsaturated_delay(rate, rest / rate, utilisation, many, online, wake, window.given)
        interval = point / eligible, low / eligible, high / eligible
        formula = "held + timeslices/s * (phi*W + wake-up); W between Erlang C over m CPUs and rho/(1-rho), times the mean burst"
    # Both counters, of the delay and of the stop, grow when the wait is over: what is cut off at the ends of the window differs.
    cut = held * edge_share(activity.periods or 0) if held else 0.0
    return _with_held(interval, held, eligible, cut, (waiters, rest, max(0.0, sleepers - rest))), formula, is_saturated


def _with_held(
    interval: tuple[float, float, float], held: float, eligible: float, cut: float, bounds: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Waiting for CPUs while eligible, and for the quota else. `bounds`: who may wait, what they run, and the most that all can wait."""
    waiters, run, most = bounds
    point, low, high = (min(most, held + eligible * figure) for figure in interval)
    low, high = max(0.0, low - cut), min(most, high + cut)
    if held:
        # Beside others a thread of a group out of quota may wait without being stopped, but no longer than it does not run.
        high = max(high, min(most, waiters - run + cut))
    return point, low, max(point, high)


def _beside_a_crowd(
    run: float, greed: float, crowd: float, threads: int, rate: float, online: int, wake: Param, given: Parameters
) -> tuple[float, float, float]:
    """Delay of `threads` that sleep at times and run on `run` CPUs, beside a `crowd` a CPU: point and interval.

    `greed`: what their group ran over what it would get if it asked. Who runs less gets it when it wakes, but for slices of who runs. Whose
    group runs that much may ask for any more: each of its threads that does not run may sleep or wait.
    """
    queued, spread, pressed = given[parameters.QUEUED], given[parameters.CONTENTION], min(1.0, crowd)
    _, usual, long = _slices(online, given)
    idle = max(0.0, threads - run)
    starved = min(1.0, greed) ** _STEEP
    woken = rate * (queued.mode * pressed * usual + wake.mode)
    point = woken + (idle - woken) * starved / 2 if woken < idle else idle
    high = max(spread.hi * point, rate * (pressed * long + wake.hi), idle * min(1.0, 2 * starved))
    return point, spread.lo * point, min(high, idle)


def stopped_queues(workload: Workload, window: Window, activity: Activity) -> float | None:
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
