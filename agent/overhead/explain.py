"""Where on its stack the costs of a workload arise, what was found of its placement, and the one change that is predicted to pay most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from agent.model.change import Answer, Change, Cost, Explanation, Level
from agent.model.snapshot import Prediction
from agent.model.values import UNLIMITED, CpuSet
from agent.model.workload import Layer, Paradigm, Workload
from agent.overhead.lost import lost, measured_lost, total
from agent.overhead.what_if import what_if
from agent.overhead.window import Window, scheduled

WORTH = 0.01
"""Seconds a second that it runs: what pays less is not advised."""
FEW = 8
"""So many nodes are tried one by one."""

_HOST: dict[Paradigm, str] = {"virtualization": "hypervisor"}
_OWN: dict[Paradigm, str] = {"virtualization": "guest OS", "containerization": "container", "sandbox": "runtime", "process": "application"}
_ABOVE = frozenset({"steal", "execution", "start_time"})
_HARDWARE = frozenset({"shared_core", "shared_cache", "remote_memory"})
_MEMORY = frozenset({"remote_memory", "shared_cache", "walk_references", "walk_cost", "memory_overhead"})


def explain(window: Window, workload: Workload, predictions: Sequence[Prediction]) -> Explanation:
    """`predictions` are the snapshot's; those of other workloads are left aside."""
    own = [one for one in predictions if one.workload == workload.id]
    whole = total(workload.paradigm, own)
    counted = [found for one in own if (found := measured_lost(one)) is not None]
    measured = sum(counted) if counted else None
    costs: dict[tuple[bool, str], list[Cost]] = {}
    for one in own:
        part, seen = lost(one), measured_lost(one)
        share = part.value / whole.value if part and whole and whole.value > 0 else None
        shown = Cost(
            prediction=one,
            lost=part,
            share=share,
            measured_lost=seen,
            measured_share=seen / measured if seen is not None and measured else None,
        )
        costs.setdefault((one.component in _MEMORY, _layer(workload.paradigm, one.component)), []).append(shown)
    considered = tuple(_candidates(window, workload)) if whole else ()
    return Explanation(
        workload=workload.id,
        name=workload.name,
        paradigm=workload.paradigm,
        runtime=workload.runtime,
        execution_mode=workload.execution_mode,
        memory_mode=workload.memory_mode,
        cpu=tuple(_levels(workload.stack.cpu, {name: found for (memory, name), found in costs.items() if not memory})),
        memory=tuple(_levels(workload.stack.memory, {name: found for (memory, name), found in costs.items() if memory})),
        lost=whole,
        measured_lost=measured,
        findings=tuple(one for one in window.after.findings if one.workload == workload.id),
        advice=_best(window, workload, considered),
        considered=considered,
    )


def _layer(paradigm: Paradigm, component: str) -> str:
    if component in _HARDWARE:
        return "hardware"
    if component in _ABOVE or (component == "memory_overhead" and paradigm == "sandbox"):
        return _OWN[paradigm]
    return _HOST.get(paradigm, "host OS")


def _levels(layers: Sequence[Layer], costs: dict[str, list[Cost]]) -> Iterator[Level]:
    """A cost whose layer is not drawn is on the last one that is; without any, layers are the costs' own."""
    layers = layers or [Layer(name, ()) for name in costs]
    names = {layer.name for layer in layers}
    for layer in layers:
        here = [
            cost for name, found in costs.items() for cost in found if name == layer.name or (name not in names and layer is layers[-1])
        ]
        yield Level(layer.name, layer.elements, tuple(here))


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
    return min(paying, key=lambda one: one[0])[1] if paying else None
