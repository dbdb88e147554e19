"""CFS bandwidth control: how often a group runs out of quota, and for how long it stands still.

Source: Documentation/scheduler/sched-bwc.rst. cpu.stat's throttled time sums over the CPUs' run queues, and so does `threads` here count
threads that run at the same time: no more than there are CPUs. Measured on Linux 6.18, which throttles by task, over 1.5 s: a queue that
no other group disturbs is stopped the whole time in which its CPU does not run the group, n*P - Q to within 2 %. A queue whose threads
wait behind others has not asked for quota yet and is not stopped: beside others throttled time falls as far as to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from agent.model.components import THROTTLED_PERIODS, THROTTLED_TIME
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity
from agent.overhead.prediction import prediction, weaknesses
from agent.overhead.window import Window


def exhausted_after_seconds(quota: float, threads: float) -> float:
    """Wall time into a period at which `threads` that never sleep have used the quota up."""
    return quota / threads


def stopped_seconds(quota: float, period: float, threads: float) -> float:
    """Wall time of a period in which the group stands still; 0 when the quota covers the period."""
    return max(0.0, period - quota / threads)


def throttled_seconds(quota: float, period: float, threads: float) -> float:
    """What cpu.stat's throttled time grows by in a period: each of the run queues stands still."""
    return max(0.0, threads * period - quota)


def throttled_seconds_beside(quota: float, period: float, threads: float, others: float) -> float:
    """The least of it when other groups run on these CPUs for `others` seconds a second: all of that may be waiting instead."""
    return max(0.0, throttled_seconds(quota, period, threads) - others * period)


def throttled_share_beside(quota: float, period: float, threads: float, others: float) -> float:
    """The least share of periods with throttling: to spare the group one, others must run for all of n*P - Q in it."""
    spared = others * period
    stopped = throttled_seconds(quota, period, threads)
    return 0.0 if spared >= stopped else 1 - spared / stopped


def request_seconds(
    cpu_seconds: float, threads: float, quota: float, period: float, burst: float = 0.0, refill_after: float | None = None
) -> float:
    """Wall time of one request that meets a fresh quota, and all of its burst saved up.

    `refill_after`: wall time until the first refill, a whole period by default. The kernel's timer goes on in its own rhythm after the
    group slept (start_cfs_bandwidth() forwards it by whole periods), so that a request meets it anywhere within a period.
    """
    if threads * period <= quota:
        return cpu_seconds / threads
    wall, bucket, remaining = 0.0, quota + burst, cpu_seconds
    length = period if refill_after is None else min(period, refill_after)
    # With a burst left over, or its first period cut short, a period is not like the next one.
    while bucket > quota or length < period:
        usable = min(bucket, threads * length)
        if remaining <= usable:
            return wall + remaining / threads
        remaining, wall, bucket, length = remaining - usable, wall + length, min(bucket - usable + quota, quota + burst), period
    if remaining <= quota:
        return wall + remaining / threads
    full = -(-remaining // quota)
    return wall + (full - 1) * period + (remaining - (full - 1) * quota) / threads


def held_threads(throttled: float, threads: float, cpus: float) -> float:
    """Threads that a stopped group keeps waiting, on average, of `throttled` run queues standing still (cpu.stat, seconds a second).

    Each run queue holds its share of the runnable threads, and all that time is in the threads' run delay.
    """
    return min(threads, throttled * max(1.0, threads / cpus))


def throttled_periods_share(mean_demand: float, variation: float, quota: float, period: float, threads: float, burst: float = 0.0) -> float:
    """Share of periods with throttling when demand by period is gamma distributed.

    What the bucket (quota + burst) lacks at the end of a period is a random walk W' = max(0, W + demand - quota), and the group was
    throttled iff W' > burst. Without burst Spitzer's identity gives the stationary share exactly, but for the gamma tails (Wilson and
    Hilferty) and the grouping of far terms: within 2.2 % of a simulation of 400,000 periods where the share is above 0.03, within 4 %
    above 0.002 (5.4 % of one of 20,000 above 0.03, whose own noise that is). The tail beyond a burst is Lundberg's, `_beyond`.
    """
    if mean_demand <= 0 or quota >= threads * period:
        return 0.0
    load = mean_demand / quota
    if load >= 1:
        return 1.0
    shape = 1 / variation**2
    some = 1 - math.exp(-_tabulated(shape, load))
    return some if burst <= 0 or some < 1e-9 else min(some, _beyond(burst / quota, some, shape, load))


def _beyond(burst: float, some: float, shape: float, load: float) -> float:
    """P(W > burst), in units of the quota: exp(-decay * burst) with Lundberg's decay and constant, both exact for large bursts.

    How P(W > 0) passes over into that is fitted. Against 400,000 simulated periods, loads from 0.6 and shares from 0.02 on: within 6.1 %
    where variation is 0.5 or more, 19 % at 0.2. Rarer throttling, and loads below 0.5, are overstated by up to 60 %.
    """
    # Of s = exp(-(1 - s)/load) the root below 1; the walk with drift load/s - 1 is the one that exceeds any bound.
    low, high = 0.0, 1 + load * math.log(load)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if middle < math.exp(-(1 - middle) / load) else (low, middle)
    decay = shape * (1 - high) / load
    constant = (1 - some) * math.exp(-_spitzer(shape, load / high, above=False)) / (decay * (load / high - 1))
    return math.exp(-decay * burst) * (constant - (constant - some) * math.exp(-shape / load * burst / 2))


def _tabulated(shape: float, load: float) -> float:
    """The sum for periods above, between entries of a table that is as dense as the sum is steep: within 0.1 % of it."""
    place = -math.log1p(-load) * _DENSE
    before = int(place)
    part, low, high = place - before, _entry(shape, before), _entry(shape, before + 1)
    return low ** (1 - part) * high**part if low > 0 else high * part


_DENSE = 64
_WHOLE = 0.1
_SHORTEST_STOP = 0.05
_UNEVEN = 1.25
"""Others are on the CPUs of a group's threads so much more often than on all CPUs that it may use."""


@lru_cache(1 << 13)
def _entry(shape: float, place: int) -> float:
    return _spitzer(shape, 1 - math.exp(-place / _DENSE), above=True) if place else 0.0


def _spitzer(shape: float, load: float, above: bool) -> float:
    """Sum of P(demand of n periods > n quotas)/n over n; of P(<=)/n if not `above`."""
    erfc, sqrt = math.erfc, math.sqrt
    past, ninth, total, n = load ** (-1 / 3) - 1, 1 / (9 * shape), 0.0, 1
    scale = sqrt(4.5 * shape) if above else -sqrt(4.5 * shape)
    while n < 1 << 20:
        # Beyond 16 terms a few neighbours are near enough to equal.
        step = 1 + n // 16
        mean = n + (step - 1) / 2
        term = erfc(scale * sqrt(mean) * (past + ninth / mean)) / 2 * step / mean
        total += term
        if term < 1e-9:
            break
        n += step
    return total


def throttled(workload: Workload, window: Window, activity: Activity) -> Iterable[Prediction | None]:
    """Share of periods with throttling, and throttled time, of a group with a quota of its own."""
    cpu, cpus = workload.cpu, workload.placement.allowed_cpus
    if cpu.quota_usec is None or cpu.quota_usec.unlimited or not cpu.period_usec or not cpus:
        return
    usage, runnable, periods = activity.usage_seconds, activity.runnable_threads, activity.periods
    quota, period = cpu.quota_usec * 1e-6, cpu.period_usec * 1e-6
    if usage is None or runnable is None or periods is None or quota <= 0 or period <= 0:
        return
    threads = min(runnable, float(len(cpus)))
    flags = weaknesses(activity, window)
    inputs = {"quota_seconds": quota, "period_seconds": period, "runnable_threads": runnable, "cpus": float(len(cpus)), "periods": periods}
    # Without an active period nothing was measured: no share of none.
    share = None if not periods or activity.throttled_periods is None else activity.throttled_periods / periods
    time = None if activity.throttled_seconds is None else activity.throttled_seconds / activity.group_seconds
    edge = edge_share(periods)
    mean = usage / max(1, periods)
    reach = min(max(threads, 1.0, math.ceil(min(usage / activity.group_seconds, len(cpus)))), float(len(cpus)))
    overrun = parameters.SLICE_RETURN.hi * min(len(cpus), math.ceil(max(threads, 1.0)))
    # Demand beyond the quota cannot be seen in the usage; that the threads never sleep, and use it up, can.
    bound = threads * period > quota and mean >= 0.95 * (1 - edge) * quota
    others = 0.0
    if bound:
        busy = window.busy_cpus(cpus)
        beside = None if busy is None else window.others(busy, activity, usage, activity.group_seconds)
        if beside is None:
            return
        # They spare it where they keep its threads waiting, which have the CPUs to choose from.
        others = min(beside, _UNEVEN * min(threads, len(cpus)) * beside / len(cpus))
        inputs |= {"other_busy_cpus": beside}
        shares = (1.0, max(0.0, throttled_share_beside(quota, period, threads, others) - overrun / quota - edge), 1.0)
        formula = "1: threads that never sleep and may use more than the quota in a period are stopped in each"
    else:
        shares = _shares(mean, cpu.burst_usec or 0, quota, period, reach, overrun, edge)
        inputs |= {"mean_demand_seconds": mean, "variation": parameters.BURSTINESS.mode}
        formula = "token bucket of quota + burst, demand by period gamma distributed with the measured mean"
    weak = flags if bound else [*flags, "prior_only"]
    yield prediction(workload, THROTTLED_PERIODS, shares, formula=formula, inputs=inputs, flags=weak, measured=share)
    if bound:
        # An average of readings that are some moments apart: what is all but whole is whole.
        fewest, most = max(quota / period, math.floor(threads + _WHOLE)), min(float(len(cpus)), math.ceil(threads - _WHOLE))
        point = throttled_seconds(quota, period, threads) / period
        low = throttled_seconds_beside(quota + overrun, period, fewest, others) / period * (1 - edge)
        # What it was kept from using, by others or by a late timer, it may have stood still for.
        high = throttled_seconds(min(quota, mean), period, most) / period * (1 + edge)
        interval = (point, min(low, point), max(high, point))
        formula = "(n*P - Q)/P: each of n run queues stands still while its CPU does not run the group"
    else:
        interval = stopped_in_some(shares, threads, reach, quota / period)
        formula = "share of periods * n * (1 - Q/(n*P)) * part: it runs out anywhere in what its quota leaves of a period"
    yield prediction(workload, THROTTLED_TIME, interval, formula=formula, inputs=inputs, flags=weak, measured=time)


def stopped_in_some(shares: tuple[float, float, float], threads: float, reach: float, quota: float) -> tuple[float, float, float]:
    """Throttled time of a group that runs out of its quota (CPUs) in a share of the periods: half of what that leaves of them.

    `threads` run or wait on average, `reach` at a time. Measured: 0.05 to 0.75 of the share for one thread, 1.4 for two queues.
    """
    stopped = max(0.0, 1 - quota / reach)
    point = shares[0] * min(threads, reach) * stopped / 2
    return point, shares[1] * min(threads, 1.0) * stopped * _SHORTEST_STOP, max(point, shares[2] * reach * stopped)


def edge_share(periods: int) -> float:
    """The periods at both ends of the window are seen in part, and a share of few periods is a coarse number."""
    return min(1.0, 1.5 / max(1, periods))


def _shares(
    mean: float, burst_usec: int, quota: float, period: float, threads: float, overrun: float, edge: float
) -> tuple[float, float, float]:
    """Point and interval over the variation of demand and the quota that CPUs overrun, or keep from one another."""

    def share(variation: float, served: float) -> float:
        return throttled_periods_share(mean, variation, served, period, threads, burst_usec * 1e-6) if served > 0 else 1.0

    wide = parameters.BURSTINESS
    if mean <= 0:
        return 0.0, 0.0, 0.0
    if quota >= threads * period:
        point = low = 0.0
    else:
        point, low = share(wide.mode, quota), min(share(wide.lo, quota + overrun), share(wide.hi, quota + overrun))
    high = max(share(wide.lo, quota - overrun), share(wide.hi, quota - overrun))
    return point, max(0.0, min(low, point) - edge), min(1.0, max(high, point) + edge)
