"""Where on its stack the costs of a workload arise, which of them matter, who its neighbours are, and the change that would pay most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from agent.model.change import Answer, Change, Cost, Explanation, Level, Lost
from agent.model.components import COMPONENTS
from agent.model.names import index
from agent.model.runtimes import Paradigm
from agent.model.snapshot import Prediction
from agent.model.values import UNLIMITED, CpuSet, Fact
from agent.model.workload import Layer, LayerName, Workload
from agent.overhead.activity import scheduled
from agent.overhead.lost import is_idle, measured_lost, missing_parts, parts, total
from agent.overhead.neighbours import neighbours
from agent.overhead.residuals import History, Key, scores
from agent.overhead.what_if import what_if
from agent.overhead.window import Window

WORTH = 0.01
"""Of each second that it wants to run: what pays less is not advised."""
FEW = 8
"""So many nodes are tried one by one."""
KEY_FIGURES = 5
"""So many figures are shown first."""
NONE: Mapping[Key, History] = {}


def explain(window: Window, workload: Workload, predictions: Sequence[Prediction], histories: Mapping[Key, History] = NONE) -> Explanation:
    """`predictions` are the snapshot's; those of other workloads are left aside. `histories` are a daemon's."""
    own = [prediction for prediction in predictions if prediction.workload == workload.id]
    all_lost, lost = total(own), parts(own)
    counted = [seconds for prediction in own if (seconds := measured_lost(prediction)) is not None]
    all_measured = sum(counted) if counted else None
    most = _Most.of(window, workload)
    costs = [_cost(prediction, lost.get(prediction.component), all_lost, all_measured, most) for prediction in own]
    considered = tuple(_candidates(window, workload)) if all_lost else ()
    return Explanation(
        workload=workload.id,
        name=workload.name,
        word=index(window.after.workloads).word_for(workload),
        paradigm=workload.paradigm,
        runtime=workload.runtime,
        execution_mode=workload.execution_mode,
        memory_mode=workload.memory_mode,
        cpu=tuple(_levels(workload.stack.cpu, _by_layer(workload.paradigm, "cpu", costs))),
        memory=tuple(_levels(workload.stack.memory, _by_layer(workload.paradigm, "memory", costs))),
        lost=all_lost,
        idle=is_idle(own),
        lost_parts_unknown=() if all_lost is None else missing_parts(own, window, workload),
        measured_lost=all_measured,
        key_figures=_key_figures(costs),
        scores=scores({key: history for key, history in histories.items() if key[:2] == (workload.id, workload.identity)}),
        neighbours=neighbours(window, workload),
        findings=tuple(finding for finding in window.after.findings if finding.workload == workload.id),
        advice=_best(window, workload, considered),
        considered=considered,
    )


class _Most(Fact, frozen=True, kw_only=True):
    """The most that a workload can have: CPUs, under its quota, too, and bytes of memory. None where no such limit is known."""

    allowed_cpus: int | None
    cpus: float | None
    memory_bytes: float | None

    @classmethod
    def of(cls, window: Window, workload: Workload) -> _Most:
        allowed, quota, limit = workload.placement.allowed_cpus, workload.cpu.limit_cpus, workload.memory.limit_bytes
        cpus = min(len(allowed), math.inf if quota is None else quota) if allowed else None
        is_limited = limit is not None and not limit.unlimited
        memory_bytes = limit if is_limited else window.after.physical.memory.total_bytes
        return cls(allowed_cpus=len(allowed) if allowed else None, cpus=cpus, memory_bytes=memory_bytes)


def _cost(prediction: Prediction, part: float | None, all_lost: Lost | None, all_measured: float | None, most: _Most) -> Cost:
    measured = measured_lost(prediction)
    return Cost(
        prediction=prediction,
        lost=part,
        share=part / all_lost.value if part is not None and all_lost and all_lost.value > 0 else None,
        measured_lost=measured,
        measured_share=measured / all_measured if measured is not None and all_measured else None,
        weight=_weight(prediction, 0.0 if part is None and all_lost is not None else part, measured, most),
    )


def _weight(prediction: Prediction, part: float | None, measured: float | None, most: _Most) -> float | None:
    """Of lost time its part of the time that the workload wants to run, if that is known, else a part of the most that can be."""
    component = COMPONENTS[prediction.component]
    if component.lost_time is not None and (part is not None or measured is not None):
        return max(part or 0.0, measured or 0.0)
    value, bound = max(prediction.value, prediction.measured or 0.0), None
    match component.unit:
        case _ if component.kind == "intrinsic" and not component.measured_by and component.lost_time is None:
            return None
        case "ratio":
            # Of extra time without a bound, the part that it is of the time with it.
            bound = component.most or 1 + value
        case "seconds/second":
            bound = component.most or most.allowed_cpus
        case "CPUs":
            # Of a share that it would get if it asked, what counts is how much of it is in use.
            value, bound = value if prediction.measured is None else prediction.measured, most.cpus
        case "bytes":
            bound = most.memory_bytes
    return min(1.0, value / bound) if bound else None


def _key_figures(costs: Sequence[Cost]) -> tuple[str, ...]:
    order = list(COMPONENTS)
    weighed = [
        (-cost.weight, order.index(cost.prediction.component))
        for cost in costs
        if cost.weight or (cost.weight is not None and cost.prediction.measured is not None)
    ]
    return tuple(order[place] for _, place in sorted(weighed)[:KEY_FIGURES])


def _by_layer(paradigm: Paradigm, resource: Literal["cpu", "memory"], costs: Sequence[Cost]) -> dict[LayerName, list[Cost]]:
    by_layer: dict[LayerName, list[Cost]] = {}
    for cost in costs:
        component = COMPONENTS[cost.prediction.component]
        if component.resource == resource:
            by_layer.setdefault(component.layers[paradigm], []).append(cost)
    return by_layer


def _levels(layers: Sequence[Layer], costs: dict[LayerName, list[Cost]]) -> Iterator[Level]:
    """A cost whose layer is not drawn is on the last one that is; without any, layers are the costs' own."""
    layers = layers or [Layer(name, ()) for name in costs]
    names = {layer.name for layer in layers}
    for layer in layers:
        drawn = [
            cost for name, listed in costs.items() for cost in listed if name == layer.name or (name not in names and layer is layers[-1])
        ]
        yield Level(layer.name, layer.elements, tuple(drawn))


def _candidates(window: Window, workload: Workload) -> Iterator[Change]:
    """Changes that the host's operator can make while it runs. Another paradigm is not one of them, nor what has no price in time."""
    physical, allowed = window.after.physical, workload.placement.allowed_cpus
    quota = workload.cpu.quota_usec
    if quota is not None and not quota.unlimited:
        yield Change(cpus=UNLIMITED)
    free = physical.cpus.online - (physical.cpus.isolated or CpuSet())
    sets = [free, _quietest(window, workload, free)] if free else []
    nodes = [node for node in physical.nodes if node.cpus]
    if 1 < len(nodes) <= FEW:
        sets += [node.cpus & free for node in nodes if node.cpus]
    yield from (Change(pin=cpus) for cpus in dict.fromkeys(sets) if cpus and cpus != allowed)
    if 1 < len(physical.nodes) <= FEW and workload.placement.memory_by_node:
        held = set(workload.placement.memory_by_node)
        yield from (Change(node=node.os_index) for node in physical.nodes if node.memory_bytes != 0 and held != {node.os_index})


def _quietest(window: Window, workload: Workload, free: CpuSet) -> CpuSet:
    """As many CPUs as its threads can run on at a time, those that others use least."""
    activity, cpus = window.activity(workload), [cpu for cpu in free if window.busy_cpus(CpuSet((cpu,))) is not None]
    if activity is None or activity.run_seconds is None:
        return CpuSet()
    own = activity.run_seconds / activity.seconds
    ran = {thread.last_cpu for thread in scheduled(workload)}
    # What it used itself where it runs now is no reason to leave.
    used = {cpu: (window.busy_cpus(CpuSet((cpu,))) or 0.0) - (own / len(ran) if cpu in ran else 0.0) for cpu in cpus}
    count = max(1, math.ceil(own), math.ceil(activity.runnable_threads or 0.0))
    return CpuSet(sorted(cpus, key=lambda cpu: (used[cpu], cpu))[:count])


def _best(window: Window, workload: Workload, considered: Sequence[Change]) -> Answer | None:
    answers = [what_if(window, workload, change) for change in considered]
    paying = [(answer.lost.value, answer) for answer in answers if answer.lost and answer.lost.value <= -WORTH]
    return min(paying, key=lambda pair: pair[0])[1] if paying else None
