"""Run delay that can be: what the kernel counts as a thread's waiting for a CPU, held to the time that passed and to pressure.

Since Linux 6.12 a counter may lie. A sleeper whose dequeue is delayed (EEVDF) stays in its queue, and load balancing that moves it there
starts the clock of its wait: when it wakes, its whole sleep becomes run delay (sched_info in kernel/sched/stats.h). Nothing of the thread
tells such a gain from waiting, but that it slept when the window began and gained more than can be.

What can be: a thread does not wait while it runs, and a wait that began before the window is counted in it when it ends, of which only
what lies within is the window's. Nor does it wait for longer than pressure says: where it waits on a CPU for a share d of the time,
someone does, and the kernel's share s of such time is the average over m CPUs weighted by their non-idle time, which is d or more on that
CPU and at most 1 on the others: s >= d * d / m (collect_percpu_times() in kernel/sched/psi.c).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.model.values import Fact

EDGE_SHARE = 0.05
"""Counters and the clock are read at different moments, of a window this share."""

ASLEEP = frozenset("SDI")


class Waits(Fact, frozen=True):
    """Run delay of each thread in nanoseconds, None where it is not known; `left_out`: how many gained what cannot be and slept."""

    delays_ns: tuple[int | None, ...]
    left_out: int = 0


def pressed_share(pressures: Sequence[float | None], cpus: int) -> float:
    """The largest share of a window that one thread can have waited on a host of so many CPUs; 1 where no pressure is known, or no CPU.

    `pressures`: shares of the window in which some task waited, of the host and of a group that the thread is in.
    """
    return min([1.0, *(math.sqrt(share * cpus) for share in pressures if share is not None and cpus)])


def possible_waits(
    run_ns: Sequence[int | None],
    delays_ns: Sequence[int | None],
    asleep: Sequence[bool],
    *,
    seconds: float,
    pressed: float,
    period_seconds: float,
) -> Waits:
    """The delays, each at most the time that it did not run and an edge: that of the readings, and the period of a quota, in which a thread
    stands still.

    The delay of a thread that slept as the window began, and gained more than that or than pressure says, is its sleep: it is nothing, and
    counted. Of who did not sleep pressure changes nothing.
    """
    window_ns, edge_ns = seconds * 1e9, (EDGE_SHARE * seconds + period_seconds) * 1e9
    most = pressed * window_ns
    waits, left_out = [], 0
    for run, delay, slept in zip(run_ns, delays_ns, asleep, strict=True):
        bound = max(0.0, window_ns - (run or 0))
        if delay is not None and delay > (min(most, bound) if slept else bound) + edge_ns:
            delay = 0 if slept else int(bound + edge_ns)
            left_out += slept
        waits.append(delay)
    return Waits(tuple(waits), left_out)
