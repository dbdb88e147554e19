"""A core shared by its hardware threads, a last-level cache shared by its cores.

Source: Hartstein et al., "On the nature of cache miss behavior" (CF 2006): misses go with capacity to the power of -0.3 to -0.7.
"""

from __future__ import annotations

import math
from functools import lru_cache

from agent.model.components import SHARED_CACHE, SHARED_CORE
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity
from agent.overhead.bands import band
from agent.overhead.paradigms import used_memory
from agent.overhead.prediction import prediction, weaknesses
from agent.overhead.window import Window

_HARDLY_CPUS = 0.01


def sibling_speed(sibling_busy: float, gain: float) -> float:
    """Speed of a thread whose sibling is busy for a share of the time; two threads together do (1 + gain) of one's work."""
    return 1 - sibling_busy * (1 - (1 + gain) / 2)


def cache_share(own_rate: float, all_rates: float) -> float:
    """A shared cache fills by who misses most."""
    return own_rate / all_rates


def cache_overhead(stalled_share: float, share: float, exponent: float) -> float:
    """Extra time of a workload that has `share` of the cache; exponent 0 where the working set fits all the same."""
    return float(stalled_share * (share**-exponent - 1))


def all_misses(stalled_share: float, cache_seconds: float, memory_seconds: float) -> float:
    """The most extra time there is: all that the cache answered comes from memory."""
    return stalled_share * max(0.0, memory_seconds / cache_seconds - 1) if cache_seconds > 0 else math.inf


def shared_cache(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """Extra time by the part of the last-level cache that others fill, in proportion to the time that they ran beside it.

    Nothing where the working set fits into its part; absent where the cache, or what runs beside it, is not known, and for who hardly
    runs: what others fill while it sleeps it reads once when it wakes, and its part of the time says nothing of that.
    """
    cpus, run, used = workload.placement.last_cpus, activity.run_seconds, used_memory(workload)[0]
    first = cpus.first if cpus is not None else None
    cache = None if first is None else window.machine.last_level.get(first)
    if cache is None or run is None or used is None or used <= 0:
        return None
    (around, capacity), own = cache, run / activity.seconds
    busy = window.busy_cpus(around)
    others = None if busy is None else window.others(busy, activity, run, activity.seconds)
    if others is None or own < _HARDLY_CPUS:
        return None
    share = cache_share(own, own + others)

    def extra_time_ratio(stalled: float, exponent: float, working: float, near: float, far: float) -> float:
        # What fits stays: the overhead begins at nothing where the working set outgrows its part.
        most = min(cache_overhead(stalled, share, exponent), all_misses(stalled, near, far))
        return most * max(0.0, 1 - share * capacity / (used * working))

    stall, exponent, working = parameters.MEMORY_STALL, parameters.MISS_EXPONENT, parameters.WORKING_SET_SHARE
    near, far = window.given[parameters.L3_SECONDS], window.given[parameters.DRAM_SECONDS]
    # It grows with each of them but the cache's latency: the ends are where all are lowest, and highest.
    interval = (
        extra_time_ratio(stall.mode, exponent.mode, working.mode, near.mode, far.mode),
        extra_time_ratio(stall.lo, exponent.lo, working.lo, near.hi, far.lo),
        extra_time_ratio(stall.hi, exponent.hi, working.hi, near.lo, far.hi),
    )
    inputs = {"cache_bytes": float(capacity), "cache_share": share, "used_bytes": float(used)}
    formula = (
        "stalled share * min(share^-a - 1, memory's latency/the cache's - 1) * what of the working set does not fit into its share of the "
        "cache; share by time run"
    )
    flags = [*weaknesses(activity, window), "prior_only", "no_counterpart"]
    return prediction(workload, SHARED_CACHE, interval, formula=formula, inputs=inputs, flags=flags)


@lru_cache(256)
def _lost(busy: tuple[float, ...]) -> tuple[float, float, float]:
    """Extra time, averaged over CPUs whose siblings are so busy. Many workloads share the CPUs of one window."""
    return band(lambda gain: sum(1 / sibling_speed(share, gain) - 1 for share in busy) / len(busy), parameters.SIBLING_GAIN)


def siblings(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """Time that is lost to the other threads of the cores where it last ran, whoever runs there; absent without SMT."""
    cpus = workload.placement.last_cpus
    busy = window.busy_mates(cpus) if cpus else None
    if busy is None:
        return None
    interval = _lost(busy)
    inputs = {"sibling_busy_share": sum(busy) / len(busy), "cpus": float(len(busy))}
    formula = "1/(1 - u*(1 - (1 + g)/2)) - 1: u the busy share of the sibling thread, g what two threads gain over one"
    flags = [*weaknesses(activity, window), "no_counterpart"]
    return prediction(workload, SHARED_CORE, interval, formula=formula, inputs=inputs, flags=flags)
