"""CFS bandwidth control: how often a group runs out of quota, and for how long it stands still.

Source: Documentation/scheduler/sched-bwc.rst. cpu.stat's throttled time sums over the CPUs' run queues, and so does `threads` here count
threads that run at the same time: no more than there are CPUs. Measured on Linux 6.18, which throttles by task, over 1.5 s: a queue that
no other group disturbs is stopped the whole time in which its CPU does not run the group, n*P - Q to within 2 %. A queue whose threads
wait behind others has not asked for quota yet and is not stopped: beside others throttled time falls as far as to nothing.
"""

from __future__ import annotations

import math


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


def request_seconds(cpu_seconds: float, threads: float, quota: float, period: float) -> float:
    """Wall time of one request that meets a fresh quota."""
    if threads * period <= quota or cpu_seconds <= quota:
        return cpu_seconds / threads
    full = -(-cpu_seconds // quota)
    return (full - 1) * period + (cpu_seconds - (full - 1) * quota) / threads


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
    some = 1 - math.exp(-_spitzer(shape, load, above=True))
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


def _spitzer(shape: float, load: float, above: bool) -> float:
    """Sum of P(demand of n periods > n quotas)/n over n; of P(<=)/n if not `above`."""
    root, sign, total, n = load ** (-1 / 3), 1.0 if above else -1.0, 0.0, 1
    while n < 1 << 20:
        # Beyond 16 terms a few neighbours are near enough to equal.
        step = 1 + n // 16
        mean = n + (step - 1) / 2
        nine = 9 * mean * shape
        term = math.erfc(sign * math.sqrt(nine / 2) * (root - 1 + 1 / nine)) / 2 * step / mean
        total += term
        if term < 1e-9:
            break
        n += step
    return total
