"""Overcommit by virtual machines: vCPUs per CPU of the host, of a node, of a last-level cache and of a core; and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from agent.model.device import CpuOvercommit, MemoryOvercommit
from agent.model.physical import Physical
from agent.model.values import CpuSet
from agent.model.workload import Workload


def overcommits(workloads: Iterable[Workload], hardware: Physical, all_caches: bool) -> tuple[CpuOvercommit, ...]:
    """Each vCPU counts in equal parts on the CPUs that it may use. Empty without vCPUs, or where the CPUs of one are not known."""
    online = hardware.cpus.online
    sets = Counter(
        vcpu.affinity if vcpu.affinity is not None else vcpu.thread.allowed_cpus if vcpu.thread else None
        for workload in workloads
        for vcpu in workload.vcpus
    )
    parts: dict[int, float] = {}
    for cpus, count in sets.items():
        usable = cpus & online if cpus is not None else CpuSet()
        if not usable:
            return ()
        for cpu in usable:
            parts[cpu] = parts.get(cpu, 0.0) + count / len(usable)
    if not parts:
        return ()
    ratios = []
    # Firmware may give two nodes the same CPUs, which are one scope.
    for scope, cpus in dict.fromkeys(_scopes(hardware, all_caches)):
        vcpus = round(sum(parts.get(cpu, 0.0) for cpu in cpus), 6)
        ratios.append(CpuOvercommit(name=f"{scope} {cpus}", scope=scope, cpus=cpus, vcpus=vcpus, ratio=round(vcpus / len(cpus), 6)))
    return tuple(ratios)


def _scopes(hardware: Physical, all_caches: bool) -> Iterator[tuple[str, CpuSet]]:
    online = hardware.cpus.online
    yield "host", online
    yield from (("node", cpus) for node in hardware.nodes if node.cpus and (cpus := node.cpus & online))
    top = max((cache.level for cache in hardware.caches), default=None)
    if all_caches:
        yield from (("llc", cache.cpus) for cache in hardware.caches if cache.level == top and cache.type != "Instruction" and cache.cpus)
    yield from (("core", core.cpus) for core in hardware.cores if core.cpus)


_BINDING = ("strict", "interleave", "restrictive")
"""Modes of <numatune> that keep memory on their nodes; "preferred" does not."""


def memory_overcommits(workloads: Iterable[Workload], hardware: Physical) -> tuple[MemoryOvercommit, ...]:
    """Memory of machines on the host and each node; empty without machines, or where the size of one is not known.

    Nodes are left out where the nodes of one machine are not known."""
    guests = [workload for workload in workloads if workload.paradigm == "virtualization"]
    sizes = [(guest.memory.allotted_bytes, guest.memory.allotted_max_bytes) for guest in guests]
    current = [allotted for allotted, _ in sizes if allotted is not None]
    maximum = [limit if limit is not None else allotted for allotted, limit in sizes if allotted is not None]
    if not guests or len(current) != len(guests):
        return ()
    total, ratios = hardware.memory.total_bytes, []
    if total:
        ratios.append(
            MemoryOvercommit(
                name="host",
                scope="host",
                memory_bytes=total,
                machines_bytes=sum(current),
                machines_max_bytes=sum(maximum),
                ratio=round(sum(current) / total, 6),
            )
        )
    nodes = {node.os_index: node.memory_bytes for node in hardware.nodes}
    places = [_nodes(guest) & CpuSet(node for node, size in nodes.items() if size != 0) for guest in guests]
    if not all(places) or None in nodes.values():
        return tuple(ratios)
    for node, size in nodes.items():
        if size:
            parts = [1 / len(place) if node in place else 0.0 for place in places]
            allotted, limit = (sum(part * bytes_ for part, bytes_ in zip(parts, each, strict=True)) for each in (current, maximum))
            ratios.append(
                MemoryOvercommit(
                    name=f"node {node}",
                    scope="node",
                    memory_bytes=size,
                    machines_bytes=allotted,
                    machines_max_bytes=limit,
                    ratio=round(allotted / size, 6),
                    node=node,
                )
            )
    return tuple(ratios)


def _nodes(workload: Workload) -> CpuSet:
    """The nodes that its definition binds it to, else those that its process may use; empty where neither is known."""
    guest = workload.guest
    if guest and guest.numatune_nodes and guest.numatune_mode in _BINDING and not guest.cell_memories:
        return guest.numatune_nodes
    return workload.placement.allowed_nodes or CpuSet()
