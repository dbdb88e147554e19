"""CFS bandwidth control: how often a group runs out of quota, and for how long it stands still.

Source: Documentation/scheduler/sched-bwc.rst. cpu.stat's throttled time sums over the CPUs' run queues.
"""

from __future__ import annotations

import random


def exhausted_after_seconds(quota: float, threads: float) -> float:
    """Wall time into a period at which `threads` that never sleep have used the quota up."""
    return quota / threads


def stopped_seconds(quota: float, period: float, threads: float) -> float:
    """Wall time of a period in which the group stands still; 0 when the quota covers the period."""
    return max(0.0, period - quota / threads)


def throttled_seconds(quota: float, period: float, threads: float) -> float:
    """What cpu.stat's throttled time grows by in a period: each of the run queues stands still."""
    return max(0.0, threads * period - quota)


def request_seconds(cpu_seconds: float, threads: float, quota: float, period: float) -> float:
    """Wall time of one request that meets a fresh quota."""
    if threads * period <= quota or cpu_seconds <= quota:
        return cpu_seconds / threads
    full = -(-cpu_seconds // quota)
    return (full - 1) * period + (cpu_seconds - (full - 1) * quota) / threads


def throttled_periods_share(
    mean_demand: float, variation: float, quota: float, period: float, threads: float, burst: float = 0.0, periods: int = 4000
) -> float:
    """Share of periods with throttling when demand by period is gamma distributed: a token bucket, simulated with a fixed seed."""
    if mean_demand <= 0 or quota >= threads * period:
        return 0.0
    # The sequence must repeat, not be hard to guess.
    draw = random.Random(20261122)  # noqa: S311
    shape = 1 / variation**2
    scale = mean_demand / shape
    bucket, backlog, hit = quota, 0.0, 0
    for _ in range(periods):
        wanted = backlog + draw.gammavariate(shape, scale)
        served = min(wanted, bucket, threads * period)
        hit += wanted > bucket
        backlog = wanted - served
        bucket = min(bucket - served + quota, quota + burst)
    return hit / periods
