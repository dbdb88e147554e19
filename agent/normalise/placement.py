"""Workloads on the machine: what of it their allowed CPUs touch, and with whom they share it; then their stacks."""

from __future__ import annotations

from msgspec.structs import replace

from agent.model.logical import Logical
from agent.model.physical import Physical
from agent.model.values import CpuSet
from agent.model.workload import Placement, Workload
from agent.normalise.stacks import stack


def placed(
    workloads: tuple[Workload, ...], hardware: Physical, kernel: Logical, all_workloads: bool, all_caches: bool
) -> tuple[Workload, ...]:
    """Each workload with its footprint, its neighbours and its stack.

    Neighbours are counted only among `all_workloads`, last-level caches only of `all_caches`: a part of them is no count.
    """
    known = {workload.id: workload for workload in workloads}
    all_workloads = all_workloads and all(workload.placement.allowed_cpus is not None for workload in workloads)
    footprints = {workload.id: _whole_cores(workload.placement.allowed_cpus, hardware) for workload in workloads}
    # A thousand containers have few different footprints: neighbours are counted by footprint, not by pair.
    users: dict[CpuSet, list[str]] = {}
    for id_, footprint in footprints.items():
        if footprint:
            users.setdefault(footprint, []).append(id_)
    found = []
    for workload in workloads:
        family = _family(workload, known)
        mine = footprints[workload.id]
        shared, others = CpuSet(), 0
        for footprint, ids in users.items():
            strangers = len(ids) - sum(1 for id_ in ids if id_ in family)
            if strangers and mine and footprint & mine:
                shared |= footprint & mine
                others += strangers
        placement = _on(workload.placement, hardware, all_caches)
        if mine and all_workloads:
            placement = replace(placement, shared_cpus=shared & (placement.allowed_cpus or CpuSet()), sharing_workloads=others)
        found.append(replace(workload, placement=placement))
    return tuple(replace(workload, stack=stack(workload, hardware, kernel)) for workload in found)


def _nodes(cpus: CpuSet, hardware: Physical) -> CpuSet | None:
    """Nodes with one of `cpus`; None when a node does not say which CPUs it has."""
    if any(node.cpus is None for node in hardware.nodes) or not hardware.nodes:
        return None
    return CpuSet(node.os_index for node in hardware.nodes if node.cpus and node.cpus & cpus)


def _whole_cores(cpus: CpuSet | None, hardware: Physical) -> CpuSet:
    """The CPUs and their hardware siblings."""
    whole = CpuSet()
    for core in hardware.cores:
        if cpus and core.cpus & cpus:
            whole |= core.cpus
    return whole


def _family(workload: Workload, known: dict[str, Workload]) -> set[str]:
    """Itself, the workloads around it and those directly in it: they share by nature."""
    family = {workload.id} | {other.id for other in known.values() if other.parent == workload.id}
    parent = workload.parent
    while parent is not None and parent not in family:
        family.add(parent)
        parent = known[parent].parent if parent in known else None
    return family


def _on(placement: Placement, hardware: Physical, all_caches: bool) -> Placement:
    cpus = placement.allowed_cpus
    if cpus is None:
        return placement
    cpus = cpus & hardware.cpus.online if hardware.cpus.online else cpus
    top = max((cache.level for cache in hardware.caches), default=None)
    llcs = [cache for cache in hardware.caches if cache.level == top and cache.type != "Instruction"]
    return replace(
        placement,
        allowed_cpus=cpus,
        nodes_spanned=_nodes(cpus, hardware),
        packages=tuple(index for index, package in enumerate(hardware.packages) if package.cpus & cpus),
        llcs=tuple(index for index, cache in enumerate(llcs) if cache.cpus & cpus) if all_caches else (),
        cores=sum(1 for core in hardware.cores if core.cpus & cpus),
    )
