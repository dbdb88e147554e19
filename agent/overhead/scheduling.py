"""Run-queue delay: how long runnable threads wait for a CPU.

Unsaturated CPUs: an M/M/m queue (Erlang C) is the best a balancer can do, a queue for each CPU the worst. Saturated CPUs: a fair
share. Source: kernel/sched/fair.c for the slice; Erlang's delay formula.
"""

from __future__ import annotations

import math


def base_slice_seconds(cpus: int, norm_seconds: float) -> float:
    """s_norm * (1 + log2(min(CPUs, 8))): sysctl_sched_tunable_scaling is logarithmic by default."""
    return norm_seconds * (1 + int(math.log2(min(max(cpus, 1), 8))))


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
