"""CPU time by weight: weighted max-min shares, level by level (cgroup v2 cpu.weight, v1 cpu.shares).

Source: Documentation/admin-guide/cgroup-v2.rst, "Weights": a parent's time is divided among its *active* children by the ratio of
their weights; kernel/sched/fair.c keeps work conserving, so that what one leaves is divided again. Defined where the CPUs are
saturated; elsewhere everyone gets what it asks for, which the same formula says.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.model.components import CPU_SHARE
from agent.model.snapshot import Prediction
from agent.model.values import Fact
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity, scheduled
from agent.overhead.competition import most_cpus, relative_weight
from agent.overhead.lost import IDLE_CPUS
from agent.overhead.prediction import NOT_ASKED, prediction, weaknesses
from agent.overhead.window import Window

_NESTED = 1.7
"""What groups around a group make of its share: measured 0.6 to 2.1 times the formula, where they did not weigh the same."""


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
    """CPUs that a workload would get if all of its threads wanted to run, beside what the others asked for in the window.

    Who did not ask for all is not judged by what it ran. Of a group that is in another one, whose weight counts against theirs, no more can
    be said than that it runs no more than that.
    """
    cpus, cap, run, hungry = workload.placement.allowed_cpus, most_cpus(workload), activity.run_seconds, activity.hungry
    busy = window.busy_cpus(cpus) if cpus else None
    threads = len(scheduled(workload))
    if not cpus or relative_weight(workload) is None or cap is None or busy is None or run is None or hungry is None or not threads:
        return None
    own, others = run / activity.seconds, window.others(busy, activity, run, activity.seconds)
    if own < IDLE_CPUS:
        return None
    fair = None if others is None else window.competition.fair_cpus(workload, cpus, others)
    if fair is None or others is None:
        return None
    spread = window.given[parameters.FAIR]
    most = min(cap, float(min(len(cpus), threads)))
    nested = workload.cgroup is not None and "/" in workload.cgroup.strip("/")
    # Groups around it divide among themselves first.
    wider = _NESTED if nested else 1.0
    interval = min(most, fair), min(most, fair * spread.lo / wider), min(most, fair * spread.hi * wider)
    inputs = {"fair_cpus": fair, "other_busy_cpus": others, "cpus": float(len(cpus)), "threads": float(threads), "most_cpus": most}
    formula = "weighted max-min share beside what the others ran and waited for; at most its threads, its quota"
    # Whether a quota of a vCPU stopped it is not counted with the machine.
    has_quotas = any(vcpu.quota_usec is not None and not vcpu.quota_usec.unlimited for vcpu in workload.vcpus)
    asked = hungry.threads >= min(threads, len(cpus)) and not activity.throttled_seconds and not has_quotas
    flags = [*weaknesses(activity, window), "prior_only"] + ["extrapolated"] * nested + [NOT_ASKED] * (not asked)
    return prediction(workload, CPU_SHARE, interval, formula=formula, inputs=inputs, flags=flags, measured=own)
