"""Contention under a change: the reallocation's running and waiting as figures of the components, from what is measured of each now."""

from __future__ import annotations

import math

from agent.model.components import CPU_PRESSURE, RUN_QUEUE_DELAY, STEAL, THROTTLED_PERIODS, THROTTLED_TIME, Component
from agent.model.facts.cgroup import WorkloadCpu
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity
from agent.overhead.prediction import prediction
from agent.overhead.pressure import some_share
from agent.overhead.reallocation import Reallocation
from agent.overhead.throttling import throttled_periods_share
from agent.overhead.two_level import steal_share

_FORMULA = "what is measured now, and what weighted max-min shares of those who ask differ by, with the change and without it"
_STEADY_VARIATION = 0.05
"""Of demand by period of threads that never sleep."""


def contended(now: dict[str, Prediction], workload: Workload, moved: Reallocation, activity: Activity | None) -> dict[str, Prediction]:
    """By component, of those that there are figures of now."""
    own = moved.own
    made: list[Prediction | None] = []
    if activity is None:
        return {}
    own_cpus = {"own_busy_cpus": own.run.then, "held_threads": own.held.then, "other_busy_cpus": _others(workload, moved)}

    def figure(component: Component, interval: tuple[float, float, float]) -> None:
        if component.name in now:
            made.append(prediction(workload, component, interval, formula=_FORMULA, inputs=own_cpus, flags=_flags(now[component.name])))

    wait, run = own.wait, own.run
    figure(RUN_QUEUE_DELAY, (wait.then, wait.lo, wait.hi))
    figure(STEAL, _ordered(*(steal_share(*pair) or 0.0 for pair in ((wait.then, run.then), (wait.lo, run.hi), (wait.hi, run.lo)))))
    threads = float(max(1, activity.active_threads or 1))
    if CPU_PRESSURE.name in now:
        scale = _ratio(now[CPU_PRESSURE.name].value, some_share(wait.now, threads))
        figure(CPU_PRESSURE, _ordered(*(min(1.0, scale * some_share(waited, threads)) for waited in (wait.then, wait.lo, wait.hi))))
    for component, interval in _throttled(now, workload, moved):
        figure(component, interval)
    return {known.component: known for known in made if known is not None}


def _flags(now: Prediction) -> list[str]:
    return [flag for flag in now.validity if flag in ("since_start", "host_is_guest")]


def _ordered(point: float, lo: float, hi: float) -> tuple[float, float, float]:
    return point, min(point, lo), max(point, hi)


def _ratio(measured: float, modelled: float) -> float:
    """The part of the waiting in which it is alone; all of it where it did not wait."""
    return min(1.5, measured / modelled) if modelled > 0 else 1.0


def _others(workload: Workload, moved: Reallocation) -> float:
    return max(0.0, sum(moved.busy.get(cpu, 0.0) for cpu in workload.placement.allowed_cpus or ()) - moved.own.run.then)


def _throttled(now: dict[str, Prediction], workload: Workload, moved: Reallocation) -> list[tuple[Component, tuple[float, float, float]]]:
    cpu, allowed = workload.cpu, workload.placement.allowed_cpus
    if cpu.quota_usec is None or cpu.quota_usec.unlimited or not cpu.period_usec or not allowed:
        return []
    own = moved.own
    cpus = float(len(allowed))
    queues = max(1.0, (own.run.now + own.wait.now) / cpus)
    time = now.get(THROTTLED_TIME.name)
    scale = 1.0 if time is None or own.held.now <= 0 else min(2.0, time.value * queues / own.held.now)
    stands = [min(cpus, held * scale / queues) for held in (own.held.then, own.held.lo, own.held.hi)]
    known = now.get(THROTTLED_PERIODS.name)
    periods = (0.0, 0.0, 0.0) if known is None else _periods(known, workload, cpus, moved)
    return [(THROTTLED_PERIODS, periods), (THROTTLED_TIME, _ordered(*stands))]


def _periods(known: Prediction, workload: Workload, cpus: float, moved: Reallocation) -> tuple[float, float, float]:
    """The share of periods in which it asks for more than its quota: what is measured, and what the formula's two answers differ by."""
    own, old = moved.own, moved.configured
    wide = parameters.BURSTINESS

    def share(variation: float) -> float:
        sides = (
            (old, own.free_run.now, own.run.now + own.wait.now, own.held.now),
            (workload, own.free_run.then, own.run.then + own.wait.then, own.held.then),
        )
        was, then = (
            _short(configured.cpu, free, held / asks if asks > 0 else 0.0, variation, cpus) for configured, free, asks, held in sides
        )
        return min(1.0, max(0.0, known.value + then - was))

    return _ordered(*(share(variation) for variation in (wide.mode, wide.lo, wide.hi)))


def _short(cpu: WorkloadCpu, free: float, held_share: float, variation: float, cpus: float) -> float:
    """Demand by period is gamma distributed, and the steadier the more its threads are held: who sleeps is not."""
    if cpu.quota_usec is None or cpu.quota_usec.unlimited or not cpu.period_usec or cpu.quota_usec <= 0:
        return 0.0
    quota, period = cpu.quota_usec * 1e-6, cpu.period_usec * 1e-6
    steady = min(1.0, held_share) if free * period > quota else 0.0
    spread = variation * (1 - steady) + _STEADY_VARIATION * steady
    return throttled_periods_share(free * period, spread, quota, period, max(cpus, math.ceil(free)))
