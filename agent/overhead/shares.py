"""CPU time by weight: weighted max-min shares, level by level (cgroup v2 cpu.weight, v1 cpu.shares).

Source: Documentation/admin-guide/cgroup-v2.rst, "Weights": a parent's time is divided among its *active* children by the ratio of
their weights; kernel/sched/fair.c keeps work conserving, so that what one leaves is divided again. Defined where the CPUs are
saturated; elsewhere everyone gets what it asks for, which the same formula says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.model.components import CPU_SHARE
from agent.model.snapshot import Prediction
from agent.model.values import Fact
from agent.model.workload import Workload
from agent.overhead.activity import Activity
from agent.overhead.prediction import prediction, weaknesses
from agent.overhead.window import Window

DEFAULT_WEIGHT = 100.0
DEFAULT_SHARES = 1024.0


class Entity(Fact, frozen=True):
    """A group with children, or what competes on its own: `demand_cpus` is what it would use alone, `cap_cpus` a quota or cpuset."""

    weight: float
    demand_cpus: float = 0.0
    cap_cpus: float = float("inf")
    children: tuple[Entity, ...] = ()

    def wanted_cpus(self) -> float:
        own = sum(child.wanted_cpus() for child in self.children) if self.children else self.demand_cpus
        return min(own, self.cap_cpus)


def water_fill(capacity_cpus: float, wanted: Sequence[tuple[float, float]]) -> list[float]:
    """CPUs for each (weight, demand): in proportion to the weights, none more than its demand, and nothing left that somebody wants."""
    granted = [0.0] * len(wanted)
    unclaimed, waiting = max(0.0, capacity_cpus), [index for index, (weight, demand) in enumerate(wanted) if demand > 0 and weight > 0]
    # Whoever asks least for its weight is served first: what it leaves raises the level for the rest.
    waiting.sort(key=lambda index: wanted[index][1] / wanted[index][0])
    total = sum(wanted[index][0] for index in waiting)
    for index in waiting:
        weight, demand = wanted[index]
        granted[index] = min(demand, unclaimed * weight / total)
        unclaimed -= granted[index]
        total -= weight
    return granted


def share_beside(capacity_cpus: float, weight: float, wanted: float, other_weight: float, other_wanted: float) -> float:
    """The same for one beside one other."""
    if wanted * other_weight <= other_wanted * weight:
        return min(wanted, capacity_cpus * weight / (weight + other_weight))
    unclaimed = capacity_cpus - min(other_wanted, capacity_cpus * other_weight / (weight + other_weight))
    return min(wanted, unclaimed)


def shares(capacity_cpus: float, top: Entity) -> list[float]:
    """CPUs of every leaf below `top`, in the order in which they stand there."""
    if not top.children:
        return [min(top.wanted_cpus(), capacity_cpus)]
    level = water_fill(min(capacity_cpus, top.cap_cpus), [(child.weight, child.wanted_cpus()) for child in top.children])
    return [cpus for child, part in zip(top.children, level, strict=True) for cpus in shares(part, child)]


def lag_seconds(levels: int, slice_seconds: float, cpus: int = 1) -> float:
    """How far the time that somebody got may be from its share, whatever the window: a slice on each level of groups and on each CPU.

    Source: kernel/sched/fair.c: EEVDF keeps the lag of an entity in its queue within its slice, and a tick.
    """
    return levels * slice_seconds * cpus


def cpu_share(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """CPUs that its weight gives it, when its threads and all others on its CPUs want to run.

    How the others are grouped is not looked up: at best they are one group of default weight, at worst a group for each task. Of a group
    that is in another one, whose weight counts against theirs, no more can be said than that it runs no more than it wants.
    """
    cpus, weight = workload.placement.allowed_cpus, workload.cpu.weight
    relative = weight / DEFAULT_WEIGHT if weight is not None else None
    if relative is None and workload.cpu.shares is not None:
        relative = workload.cpu.shares / DEFAULT_SHARES
    busy = window.busy_cpus(cpus) if cpus else None
    run, delay, tasks = activity.run_seconds, activity.delay_seconds, window.runnable_tasks
    cap = workload.cpu.limit_cpus
    if not cpus or relative is None or cap is None or busy is None or run is None or delay is None or tasks is None:
        return None
    # Who waits wants to run.
    own, wanted = run / activity.seconds, (run + delay) / activity.seconds
    others = window.others(busy, activity, run, activity.seconds)
    if others is None:
        return None
    groups = max(1.0, tasks - wanted)

    count = float(len(cpus))
    point, few, many = (share_beside(count, relative, wanted, weight, others) for weight in (math.sqrt(groups), 1.0, groups))
    least, most = min(few, many, point), max(few, many, point)
    nested = workload.cgroup is not None and "/" in workload.cgroup.strip("/")
    if nested:
        least, most = 0.0, min(wanted, count)
    interval = (min(cap, point), min(cap, least), min(cap, max(most, point)))
    inputs = {"relative_weight": relative, "wanted_cpus": wanted, "other_busy_cpus": others, "cpus": count}
    formula = "weighted max-min share of what it ran and waited for, beside one group of default weight, or one for each other task"
    flags = weaknesses(activity, window) + (["extrapolated"] if nested else [])
    return prediction(workload, CPU_SHARE, interval, formula=formula, inputs=inputs, flags=flags, measured=own)
