"""How a change divides the CPUs anew: running, waiting and standing still of a workload and of its neighbours, now and then.

Now is what was measured. Then is that and what the model's two answers differ by, one with the configuration as it is and one as it would
be: what the model is off by stays on both sides. Who competes with the workload neither before nor after is left aside.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from msgspec.structs import replace

from agent.model.values import CpuSet, Fact
from agent.model.workload import Workload
from agent.overhead.contest import Contestant, Fit, Outcome, crowded, crowds_of, fitted, outcomes, shares_now
from agent.overhead.contestants import Demand, contestant, demand, earlier_threads, outside, strangers
from agent.overhead.window import Window

_MOVED_SHARE, _LEAST_SHARE = 0.5, 0.12
"""How far off a predicted difference may be, as a part of it, and any figure of another window, as a part of that."""
_FLOOR_CPUS = 0.01
_BURST_VARIATION = 1.0
_MOST_NEIGHBOURS = 32


class Moved(Fact, frozen=True, kw_only=True):
    """CPUs' worth: measured `now`, predicted `then`, within the interval."""

    now: float
    then: float
    lo: float
    hi: float


class Reallotted(Fact, frozen=True, kw_only=True):
    """One workload under the change: running, waiting in all, and of that standing still for its quota."""

    workload: Workload
    run: Moved
    wait: Moved
    held: Moved
    free_run: Moved
    """What it would run without its quota."""
    ended: float
    """What of its running was in processes that have ended, whose waiting nobody counts."""


class Reallocation(Fact, frozen=True, kw_only=True):
    """`configured` is the workload as it is now."""

    configured: Workload
    own: Reallotted
    neighbours: tuple[Reallotted, ...]
    busy: dict[int, float]
    """By CPU, as it would be."""


def reallocated(window: Window, workload: Workload, then: Workload, gone: Sequence[Workload]) -> Reallocation | str:
    """Or why it cannot be predicted."""
    leaving = {other.id for other in gone}
    demands = _demands(window, workload, leaving)
    if isinstance(demands, str):
        return demands
    is_elsewhere = then.placement.allowed_cpus != workload.placement.allowed_cpus
    if is_elsewhere and any(worker.run and worker.last_cpu is None for worker in demands[0].workers if worker.tid >= 0):
        return "where its threads ran is not known"
    by_cpu = outside(window, demands)
    if by_cpu is None:
        return "how busy each CPU is is not known"
    unknown = leaving - {demanded.workload.id for demanded in demands}
    if unknown:
        return "what a neighbour that would leave asked for is not known"
    now: list[Contestant | None] = []
    after: list[Contestant | None] = []
    for demanded in demands:
        is_own = demanded.workload.id == workload.id
        before = contestant(demanded, demanded.workload)
        later = contestant(demanded, then) if is_own else None if demanded.workload.id in leaving else before
        now.append(before)
        after.append(later)
    others = strangers(by_cpu)
    model = _Model.of(now, others, demands)
    old, new = model.outcomes(now, now), model.outcomes(after, now)
    parts = [
        _part(demanded, then if demanded.workload.id == workload.id else demanded.workload, (before, later))
        for demanded, before, later in zip(demands, old, new, strict=True)
        if demanded.workload.id not in leaving
    ]
    own, neighbours = parts[0], tuple(parts[1:])
    busy = _busy(window, demands, parts, leaving)
    return Reallocation(configured=workload, own=own, neighbours=neighbours, busy=busy)


def _demands(window: Window, workload: Workload, leaving: Collection[str]) -> list[Demand] | str:
    """Of the workload itself first, and of those that ask for most: the rest is outside of all workloads, as is who is not known.

    A thread in several workloads is that of the workload itself, else of the one with the fewest threads: what runs in another one.
    """
    earlier = earlier_threads(window)
    own = demand(window, workload, earlier, frozenset())
    if isinstance(own, str):
        return own
    taken = {worker.tid for worker in own.workers}
    others = []
    for other in sorted(window.after.workloads, key=lambda other: len(other.threads) + len(other.vcpus)):
        if other.id != workload.id:
            demanded = demand(window, other, earlier, frozenset(taken))
            if isinstance(demanded, Demand):
                others.append(demanded)
                taken |= {worker.tid for worker in demanded.workers}
    others.sort(key=lambda demanded: (demanded.workload.id not in leaving, -demanded.run - demanded.wait))
    return [own, *others[: max(_MOST_NEIGHBOURS, len(leaving))]]


_Side = tuple[Contestant, Outcome]


class _Model(Fact, frozen=True, kw_only=True):
    """Fitted to what was measured; `others` are what is outside of workloads."""

    fits: dict[str, Fit]
    others: tuple[Contestant, ...]

    @classmethod
    def of(cls, now: Sequence[Contestant | None], others: Sequence[Contestant], demands: Sequence[Demand]) -> _Model:
        """Of what is outside, how much it asks for follows from what it gets beside the workloads."""
        workloads = [competing for competing in now if competing is not None]
        settled = tuple(others)
        for _ in range(2):
            shares = shares_now((*workloads, *settled))[len(workloads) :]
            settled = tuple(_asking(other, share) for other, share in zip(others, shares, strict=True))
        likely = [demanded.likely_odds for demanded, competing in zip(demands, now, strict=True) if competing is not None]
        every = (*workloads, *settled)
        fits = fitted(every, likely + [1.0] * len(settled))[: len(workloads)]
        return cls(fits={competing.key: fit for competing, fit in zip(workloads, fits, strict=True)}, others=settled)

    def outcomes(self, workloads: Sequence[Contestant | None], now: Sequence[Contestant | None]) -> list[_Side | None]:
        """In the order of the workloads, of which the first is changed: to the others its change does not make their CPUs more crowded."""
        present = [competing for competing in workloads if competing is not None]
        as_now = [before for before, competing in zip(now, workloads, strict=True) if before is not None and competing is not None]
        every = (*present, *self.others)
        crowds = crowds_of((*as_now, *self.others))
        if workloads[0] is not None:
            crowds[0] = crowds_of(every)[0]
        fits = [crowded(self.fits.get(competing.key, Fit()), crowd) for competing, crowd in zip(every, crowds, strict=True)]
        made = outcomes(every, fits)
        sides = {competing.key: (competing, outcome) for competing, outcome in zip(every, made, strict=True)}
        return [None if competing is None else sides[competing.key] for competing in workloads]


def _asking(other: Contestant, share: float) -> Contestant:
    """Nobody counts how long it waited: as long as who gets such a share of a CPU."""
    asks = tuple(min(1.0, duty / share) for duty in other.asks)
    duties = tuple(min(1.0, run / max(run, 1 - asked + run)) for run, asked in zip(other.asks, asks, strict=True))
    return replace(other, asks=asks, duties=duties)


def _part(demanded: Demand, workload: Workload, sides: tuple[_Side | None, _Side | None]) -> Reallotted:
    run, wait = demanded.run, demanded.wait
    (earlier, before), (later, after) = (side or (None, None) for side in sides)
    if earlier is None or before is None or later is None or after is None:
        return Reallotted(
            workload=workload,
            run=_certain(run),
            wait=_certain(wait),
            held=_certain(demanded.held),
            free_run=_certain(run),
            ended=demanded.ended,
        )
    # Counters that disagree with a quota do so under another one, too.
    most = min(later.most, later.quota * max(1.0, run / earlier.quota))
    ran = min(most, max(0.0, run + _rounded(after.run - before.run)))
    waited = min(max(0.0, wait + _rounded(after.wait - before.wait)), max(0.0, len(later.duties) - ran))
    stood = min(max(0.0, demanded.held + after.held - before.held), waited) if later.is_limited else 0.0
    noise = _BURST_VARIATION / math.sqrt(max(1.0, demanded.bursts * demanded.seconds)) if demanded.burst_seconds else 0.0
    free_now, free_then = (
        min(later.most, max(least, run + free - before.run)) for least, free in ((run, before.free_run), (ran, after.free_run))
    )
    ran_figure, waits = _figure(run, ran, noise, most), _figure(wait, waited, noise, float(len(later.duties)))
    if min(later.duties) >= 1:
        # Who never sleeps waits while it does not run: one is off by what the other is.
        waits = replace(waits, lo=max(0.0, waited - ran_figure.hi + ran), hi=waited + ran - ran_figure.lo)
    return Reallotted(
        workload=workload,
        run=ran_figure,
        wait=waits,
        held=_figure(demanded.held, stood, noise, waited),
        free_run=_figure(free_now, free_then, noise, later.most),
        ended=demanded.ended,
    )


def _rounded(cpus: float) -> float:
    """Less is what the arithmetic leaves, not a difference."""
    return round(cpus, 5)


def _certain(value: float) -> Moved:
    return Moved(now=value, then=value, lo=value, hi=value)


def _figure(now: float, then: float, noise: float, most: float) -> Moved:
    off = _FLOOR_CPUS + max(_MOVED_SHARE * abs(then - now), (_LEAST_SHARE + noise) * max(now, then))
    return Moved(now=now, then=then, lo=max(0.0, then - off), hi=max(then, min(most, then + off)))


def _busy(window: Window, demands: Sequence[Demand], parts: Sequence[Reallotted], leaving: set[str]) -> dict[int, float]:
    """Who runs elsewhere, or not at all, leaves the CPUs where it ran last as far as they were so busy; what is more is spread evenly."""
    online = window.after.physical.cpus.online
    busy = {cpu: window.busy_cpus(CpuSet((cpu,))) or 0.0 for cpu in online}
    then = {part.workload.id: part for part in parts}
    for demanded in demands:
        part = then.get(demanded.workload.id)
        was, allowed = demanded.workload.placement.allowed_cpus or online, None if part is None else part.workload.placement.allowed_cpus
        change = -demanded.run if part is None else part.run.then - demanded.run
        if part is not None and (allowed is None or allowed == was):
            _spread(busy, was & online, change)
        else:
            for worker in demanded.workers:
                _leave(busy, worker.run, worker.last_cpu, CpuSet.of_mask(worker.mask) & online)
            if part is not None and allowed:
                _spread(busy, allowed & online, part.run.then)
    return busy


def _leave(busy: dict[int, float], run: float, last: int | None, cpus: CpuSet) -> None:
    if last is not None and last in busy:
        here = min(run, busy[last])
        busy[last] -= here
        run -= here
    for cpu in sorted(cpus, key=lambda cpu: -busy[cpu]):
        here = min(run, busy[cpu])
        busy[cpu] -= here
        run -= here


def _spread(busy: dict[int, float], cpus: CpuSet, change: float) -> None:
    for cpu in cpus:
        busy[cpu] = min(1.0, max(0.0, busy[cpu] + change / len(cpus)))
