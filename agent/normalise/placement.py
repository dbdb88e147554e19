"""Workloads on the machine: nodes, packages, caches and cores of their allowed CPUs, who shares these, and their stacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from agent.model.logical import Logical
from agent.model.physical import Physical
from agent.model.values import CpuSet, Fact
from agent.model.workload import Placement, Workload
from agent.normalise.stacks import isolated, stack


def placed(
    workloads: tuple[Workload, ...], hardware: Physical, kernel: Logical, all_workloads: bool, all_caches: bool
) -> tuple[Workload, ...]:
    """Each workload with its place on the machine and its neighbours.

    Neighbours are counted only if all workloads are known (`all_workloads`), last-level caches only if all are (`all_caches`).
    """
    by_id = {workload.id: workload for workload in workloads}
    on_this_host = [workload for workload in workloads if not (workload.guest and workload.guest.elsewhere)]
    all_workloads = all_workloads and all(workload.placement.allowed_cpus is not None for workload in on_this_host)
    # A thousand containers have few different sets of CPUs: each set is looked up once, and neighbours are counted by set.
    touched = {cpus: _touched(cpus, hardware, all_caches) for cpus in {workload.placement.allowed_cpus for workload in workloads}}
    footprints = {workload.id: touched[workload.placement.allowed_cpus].whole_cores for workload in workloads}
    known_nodes = CpuSet(node.os_index for node in hardware.nodes)
    users = Counter(footprint for footprint in footprints.values() if footprint)
    children: dict[str, set[str]] = {}
    for workload in workloads:
        if workload.parent is not None:
            children.setdefault(workload.parent, set()).add(workload.id)

    def shared_with(parts: Touched, family: Iterable[str]) -> tuple[CpuSet | None, int | None]:
        """The CPUs that are shared with workloads outside the family, and the number of these."""
        if not parts.whole_cores or not all_workloads:
            return None, None
        relatives = Counter(footprints[id_] for id_ in family if id_ in footprints)
        shared, sharers = CpuSet(), 0
        for footprint, count in users.items():
            unrelated = count - relatives[footprint]
            if unrelated and footprint & parts.whole_cores:
                shared |= footprint & parts.whole_cores
                sharers += unrelated
        return shared & (parts.cpus or CpuSet()), sharers

    alone: dict[CpuSet | None, tuple[CpuSet | None, int | None]] = {}
    with_placement = []
    for workload in workloads:
        before, parts = workload.placement, touched[workload.placement.allowed_cpus]
        if workload.parent is not None or workload.id in children:
            shared, neighbours = shared_with(parts, _family(workload, by_id, children))
        else:
            # Most workloads have no relatives: then the answer depends on the CPUs alone.
            if before.allowed_cpus not in alone:
                alone[before.allowed_cpus] = shared_with(parts, (workload.id,))
            shared, neighbours = alone[before.allowed_cpus]
        placement = Placement(
            allowed_cpus=parts.cpus,
            allowed_nodes=before.allowed_nodes,
            last_cpus=before.last_cpus,
            nodes_spanned=parts.nodes,
            packages=parts.packages,
            llcs=parts.llcs,
            cores=parts.cores,
            shared_cpus=shared,
            sharing_workloads=neighbours,
            memory_by_node=before.memory_by_node,
            remote_memory_ratio=_remote(before.memory_by_node, parts.nodes, known_nodes),
        )
        with_placement.append(replace(workload, placement=placement))
    return tuple(with_placement)


def stacked(workloads: tuple[Workload, ...], hardware: Physical, kernel: Logical) -> tuple[Workload, ...]:
    """Each workload with its layers and their facts, and with what isolates it on this host, for documents."""
    return tuple(replace(workload, stack=stack(workload, hardware, kernel), isolation=isolated(workload, kernel)) for workload in workloads)


def _nodes(cpus: CpuSet, hardware: Physical) -> CpuSet | None:
    """Nodes with one of `cpus`; None when a node does not say which CPUs it has, or one of these is in no node that is shown."""
    if any(node.cpus is None for node in hardware.nodes) or not hardware.nodes:
        return None
    within = [(node.os_index, node.cpus & cpus) for node in hardware.nodes if node.cpus]
    if sum(len(part) for _, part in within) < len(cpus & hardware.cpus.online):
        return None
    return CpuSet(number for number, part in within if part)


def _whole_cores(cpus: CpuSet | None, hardware: Physical) -> CpuSet:
    """Those of the CPUs that are online, and their hardware siblings."""
    widened = cpus & hardware.cpus.online if cpus else CpuSet()
    for core in hardware.cores:
        if cpus and core.cpus & cpus:
            widened |= core.cpus
    return widened


class Touched(Fact, frozen=True, kw_only=True):
    """Parts of the machine that a set of CPUs is in. `cpus`: those online; `whole_cores`: the CPUs with their hardware siblings.

    Of CPUs none of which is online nothing is known but their numbers: no parts, which is not the same as none.
    """

    cpus: CpuSet | None
    whole_cores: CpuSet
    nodes: CpuSet | None = None
    packages: tuple[int, ...] = ()
    llcs: tuple[int, ...] = ()
    cores: int | None = None


def _touched(cpus: CpuSet | None, hardware: Physical, all_caches: bool) -> Touched:
    whole_cores = _whole_cores(cpus, hardware)
    if cpus is None:
        return Touched(cpus=None, whole_cores=whole_cores)
    if cpus and hardware.cpus.online:
        if not cpus & hardware.cpus.online:
            return Touched(cpus=cpus, whole_cores=whole_cores)
        cpus = cpus & hardware.cpus.online
    placed = CpuSet.union(core.cpus for core in hardware.cores)
    top = max((cache.level for cache in hardware.caches), default=None)
    llcs = [cache for cache in hardware.caches if cache.level == top and cache.type != "Instruction"]
    return Touched(
        cpus=cpus,
        whole_cores=whole_cores,
        nodes=_nodes(cpus, hardware),
        packages=tuple(index for index, package in enumerate(hardware.packages) if package.cpus & cpus),
        llcs=tuple(index for index, cache in enumerate(llcs) if cache.cpus & cpus) if all_caches else (),
        cores=sum(1 for core in hardware.cores if core.cpus & cpus) if cpus <= placed else None,
    )


def _remote(memory_by_node: dict[int, int], nodes: CpuSet | None, known_nodes: CpuSet) -> float | None:
    """Share of memory on nodes without one of the workload's CPUs; None without memory, or where a node is not in `known_nodes`."""
    total = sum(memory_by_node.values())
    if nodes is None or not total or not CpuSet(memory_by_node) <= known_nodes:
        return None
    return sum(size for node, size in memory_by_node.items() if node not in nodes) / total


def _family(workload: Workload, by_id: dict[str, Workload], children: dict[str, set[str]]) -> set[str]:
    """The ids of a workload, its ancestors and its direct children, which always share CPUs."""
    family = {workload.id} | children.get(workload.id, set())
    parent = workload.parent
    while parent is not None and parent not in family:
        family.add(parent)
        parent = by_id[parent].parent if parent in by_id else None
    return family
