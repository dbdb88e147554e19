"""What this host shows for a cell on memory: nodes, guests' memory, limits in force, linear memories, page tables, modules."""

from __future__ import annotations

from collections.abc import Iterable

from agent.model.sandbox import LinearMemory
from agent.model.values import CpuSet
from agent.model.workload import Workload
from exporters.views.evidence import Scope, tally, total
from exporters.views.words import count, cpus, size


def guest_cells(scope: Scope) -> str | None:
    guests = [workload.guest for workload in scope.workloads if workload.guest]
    return tally(count(guest.numa_cells, "NUMA cell") for guest in guests if guest.numa_cells)


def guest_policy(scope: Scope) -> str | None:
    guests = [workload.guest for workload in scope.workloads if workload.guest]
    return tally(
        f"{guest.numatune_mode} on nodes {guest.numatune_nodes}"
        for guest in guests
        if guest.numatune_mode and guest.numatune_nodes is not None
    )


def nodes_used(scope: Scope) -> str | None:
    spanned = [workload.placement.nodes_spanned for workload in scope.workloads if workload.placement.nodes_spanned is not None]
    holding = CpuSet(node for workload in scope.workloads for node, used in workload.placement.memory_by_node.items() if used)
    shown = tally(cpus(nodes, "node") for nodes in spanned)
    memory = f"; memory on {cpus(holding, 'node')}" if holding else ""
    return f"CPUs on {shown}{memory}" if shown else None


def numa_host(scope: Scope) -> str | None:
    nodes, policy = scope.snapshot.physical.nodes, scope.snapshot.logical.memory.policy
    balancing = None if policy is None or policy.numa_balancing is None else f"balancing {'on' if policy.numa_balancing else 'off'}"
    return ", ".join(filter(None, (count(len(nodes), "node") if nodes else None, balancing))) or None


def zones(scope: Scope) -> str | None:
    present = list(dict.fromkeys(zone.name for zone in scope.snapshot.logical.memory.zones if zone.present_pages))
    return f"zones {', '.join(present)}" if present else None


def guest_memory(scope: Scope) -> str | None:
    allotted = total(workload.memory.allotted_bytes for workload in scope.workloads)
    resident = total(workload.memory.backing_bytes for workload in scope.workloads)
    return None if allotted is None else f"{size(allotted)} given{f', {size(resident)} resident' if resident is not None else ''}"


def memory_limits(scope: Scope) -> str | None:
    limits = [workload.memory.limit_bytes for workload in scope.workloads if workload.memory.limit_bytes is not None]
    shown = tally(size(int(limit)) for limit in limits if not limit.unlimited)
    return f"{sum(not limit.unlimited for limit in limits)} of {len(limits)} limited{f': {shown}' if shown else ''}" if limits else None


def memory_in_use(scope: Scope) -> str | None:
    charged = total(workload.memory.current_bytes for workload in scope.workloads)
    return None if charged is None else f"{size(charged)} charged"


def linear(scope: Scope) -> str | None:
    memories = _linear_memories(scope)
    return f"{_counted(scope.workloads)}, {size(sum(memory.size_bytes for memory in memories))}" if memories else None


def _linear_memories(scope: Scope) -> list[LinearMemory]:
    return [memory for workload in scope.workloads for memory in workload.memories]


def _counted(workloads: Iterable[Workload]) -> str:
    number = sum(len(workload.memories) for workload in workloads)
    return "1 linear memory" if number == 1 else f"{number} linear memories"


def layouts(scope: Scope) -> str | None:
    return tally(memory.layout for memory in _linear_memories(scope))


def guards(scope: Scope) -> str | None:
    memories = _linear_memories(scope)
    guarded = sum(memory.reserved_bytes > memory.size_bytes for memory in memories)
    return f"{guarded} of {len(memories)} memories have address space behind them that faults" if memories else None


def reserved(scope: Scope) -> str | None:
    memories = _linear_memories(scope)
    addresses, sizes = sum(memory.reserved_bytes for memory in memories), sum(memory.size_bytes for memory in memories)
    return f"{size(addresses)} of addresses reserved for {size(sizes)}" if memories else None


def shared_runtime(scope: Scope) -> str | None:
    processes = [workload for workload in scope.workloads if workload.memories]
    return f"{_counted(processes)} in {count(len(processes), 'process')}" if processes else None


def nested_paging(scope: Scope) -> str | None:
    kvm = scope.snapshot.logical.kvm
    if kvm is None or kvm.nested_paging is None:
        return None if kvm is None or kvm.vendor_module is None else f"{kvm.vendor_module}: does not say how it translates"
    return f"{kvm.vendor_module or 'KVM'}: {'nested paging' if kvm.nested_paging else 'shadow page tables'}"


def page_tables(scope: Scope) -> str | None:
    levels = scope.snapshot.logical.cpu.page_table_levels
    tables = total(workload.memory.page_table_bytes for workload in scope.workloads)
    parts = (f"{levels} levels" if levels is not None else None, f"{size(tables)} of tables" if tables is not None else None)
    return ", ".join(filter(None, parts)) or None


def ksm(scope: Scope) -> str | None:
    merging = scope.snapshot.logical.memory.ksm
    if merging is None or merging.run is None:
        return None
    shared = f", {merging.pages_sharing} pages shared" if merging.pages_sharing is not None else ""
    return f"KSM {'on' if merging.run == 1 else 'off'}{shared}"


def page_cache(scope: Scope) -> str | None:
    """Pages of files, without those of tmpfs and shared memory, which the kernel counts among them and cannot drop."""
    stats = [workload.memory.stat for workload in scope.workloads]
    files = total(stat.get("file", stat.get("total_cache")) for stat in stats)
    shared = total(stat.get("shmem", stat.get("total_shmem")) for stat in stats)
    if files is None:
        return None
    if shared is None or shared > files:
        return f"{size(files)} of page cache charged to them, tmpfs and shared memory among it"
    return f"{size(files - shared)} of page cache charged to them" + (f", and {size(shared)} of tmpfs and shared memory" if shared else "")


def guest_overcommit(scope: Scope) -> str | None:
    most, host = total(workload.memory.allotted_max_bytes for workload in scope.workloads), scope.snapshot.physical.memory.total_bytes
    return None if most is None or not host else f"guests may have {size(most)} of the host's {size(host)}"


def limit_overcommit(scope: Scope) -> str | None:
    limits = [workload.memory.limit_bytes for workload in scope.workloads if workload.memory.limit_bytes is not None]
    host = scope.snapshot.physical.memory.total_bytes
    if not limits or len(limits) < len(scope.workloads) or not host:
        return None
    if any(limit.unlimited for limit in limits):
        return f"{sum(limit.unlimited for limit in limits)} of {len(limits)} without a limit"
    return f"limits add up to {size(int(sum(limits)))} of the host's {size(host)}"


def tlb(scope: Scope) -> str | None:
    described = scope.snapshot.logical.cpu.tlb
    return f"host: {described}" if described else None


def memory_channels(scope: Scope) -> str | None:
    memory = scope.snapshot.physical.memory
    plugged = [dimm for dimm in memory.dimms if dimm.size_bytes]
    parts = (
        count(len(memory.channels), "channel") if memory.channels else None,
        f"{count(len(plugged), 'module')} plugged in" if plugged else None,
        count(len(memory.controllers), "controller") if memory.controllers else None,
    )
    return ", ".join(filter(None, parts)) or None


def memory_installed(scope: Scope) -> str | None:
    memory = scope.snapshot.physical.memory
    installed = memory.installed_bytes if memory.installed_bytes is not None else memory.total_bytes
    return None if installed is None else f"{size(installed)}{'' if memory.installed_bytes is not None else ' under the kernel'}"


def free_memory(scope: Scope) -> str | None:
    free = total(node.free_bytes for node in scope.snapshot.physical.nodes)
    return None if free is None else f"{size(free)} free on the host"


def address_bits(scope: Scope) -> str | None:
    bits = scope.snapshot.logical.cpu.physical_address_bits
    return None if bits is None else f"{bits} bits"
