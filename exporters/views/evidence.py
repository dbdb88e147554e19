"""What this host can show for a cell of the concept document's matrices: counts, limits in force, places, and the model's figures.

A function has the snapshot and the workloads that a column is about, and answers None where it knows nothing: no cell invents anything.
What the model says is called predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache

from msgspec import Struct

from agent.model.snapshot import Snapshot
from agent.model.values import CpuSet
from agent.model.workload import Workload
from exporters.views.figures import figure, interval, meaning
from exporters.views.words import count, cpus, guessed, size


class Seen(Struct, frozen=True):
    snapshot: Snapshot
    workloads: tuple[Workload, ...]


Evidence = Callable[[Seen], str | None]
_FEW = 3


@cache
def cost(component: str) -> Evidence:
    """One component over the column's workloads: what is predicted, within all their intervals, and what was measured."""

    def shown(seen: Seen) -> str | None:
        ids = {one.id for one in seen.workloads}
        found = [one for one in seen.snapshot.predictions if one.component == component and one.workload in ids]
        if not found:
            return None
        unit = found[0].unit
        counted = [one.measured for one in found if one.measured is not None]
        lo, hi = min(one.lo for one in found), max(one.hi for one in found)
        text = f"{meaning(component)}: predicted {_span([one.value for one in found], unit)} ({interval(lo, hi, unit)})"
        return f"{text}, measured {_span(counted, unit)}" if counted else text

    return shown


def _span(values: list[float], unit: str) -> str:
    low, high = figure(min(values), unit), figure(max(values), unit)
    return low if low == high else f"{low} to {high}"


def _known(values: Iterable[str | None]) -> str | None:
    """Equal answers counted: "2 x 2 sockets"."""
    found = Counter(value for value in values if value)
    shown = [f"{value}{f' ({number})' if number > 1 else ''}" for value, number in sorted(found.items())]
    return "; ".join(shown[:_FEW]) + (f"; and {len(shown) - _FEW} more" if len(shown) > _FEW else "") if shown else None


def _sum(values: Iterable[int | None]) -> int | None:
    """None where one is not known, or there is none."""
    every = list(values)
    known = [value for value in every if value is not None]
    return sum(known) if known and len(known) == len(every) else None


def names(seen: Seen) -> str | None:
    return _known(one.name for one in seen.workloads)


def modes(seen: Seen) -> str | None:
    return _known(f"{one.execution_mode}, {one.memory_mode}" for one in seen.workloads)


def isolation(seen: Seen) -> str | None:
    return _known(one.isolation for one in seen.workloads)


# CPUs


def accelerators(seen: Seen) -> str | None:
    return _known(f"by {one.guest.accelerator}" for one in seen.workloads if one.guest and one.guest.accelerator)


def allowed_cpus(seen: Seen) -> str | None:
    return _known(cpus(one.placement.allowed_cpus) for one in seen.workloads if one.placement.allowed_cpus)


def guest_topology(seen: Seen) -> str | None:
    guests = [one.guest for one in seen.workloads if one.guest]
    return _known(f"{one.sockets} x {one.cores} x {one.threads}" for one in guests if one.sockets and one.cores and one.threads)


def guest_threads(seen: Seen) -> str | None:
    return _known(f"{count(one.guest.threads, 'thread')} a core" for one in seen.workloads if one.guest and one.guest.threads)


def guest_cells(seen: Seen) -> str | None:
    return _known(count(one.guest.numa_cells, "NUMA cell") for one in seen.workloads if one.guest and one.guest.numa_cells)


def guest_policy(seen: Seen) -> str | None:
    guests = [one.guest for one in seen.workloads if one.guest]
    return _known(
        f"{one.numatune_mode} on nodes {one.numatune_nodes}" for one in guests if one.numatune_mode and one.numatune_nodes is not None
    )


def vcpus(seen: Seen) -> str | None:
    machines = [one for one in seen.workloads if one.vcpus]
    return f"{count(sum(len(one.vcpus) for one in machines), 'vCPU')} of {count(len(machines), 'machine')}" if machines else None


def pins(seen: Seen) -> str | None:
    pinned = [vcpu.pinned for one in seen.workloads for vcpu in one.vcpus if vcpu.pinned is not None]
    return f"{sum(pinned)} of {count(len(pinned), 'vCPU')} pinned" if pinned else None


def cpusets(seen: Seen) -> str | None:
    sets, every = [one.placement.allowed_cpus for one in seen.workloads], seen.snapshot.physical.cpus.online
    known = [one for one in sets if one is not None]
    return f"{sum(not every <= one for one in known)} of {len(known)} kept to a part of the host's CPUs" if known and every else None


def cpu_limits(seen: Seen) -> str | None:
    limits = [one.cpu.limit_cpus for one in seen.workloads if one.cpu.limit_cpus is not None]
    shown = _known(f"{limit:g} CPUs" for limit in limits if not limit.unlimited)
    return f"{sum(not limit.unlimited for limit in limits)} of {len(limits)} limited{f': {shown}' if shown else ''}" if limits else None


def threads(seen: Seen) -> str | None:
    counted = [len(one.threads) for one in seen.workloads if one.threads]
    return count(sum(counted), "thread") if counted else None


def domains(seen: Seen) -> str | None:
    found = {guessed(one.name, one.name_origin or one.origin) for one in seen.snapshot.logical.cpu.domains}
    listed = sorted(name for name in found if name)
    return f"scheduling domains {', '.join(listed)}" if listed else None


def runnable(seen: Seen) -> str | None:
    tasks = seen.snapshot.logical.cpu.runnable_tasks
    return None if tasks is None else f"{count(tasks, 'task')} runnable on the host"


def smt(seen: Seen) -> str | None:
    active = seen.snapshot.logical.cpu.smt_active
    return None if active is None else "SMT on" if active else "SMT off"


def caches(seen: Seen) -> str | None:
    levels = Counter((one.level, one.type[:1].lower() if one.level == 1 else "") for one in seen.snapshot.physical.caches)
    return ", ".join(f"{number} L{level}{kind}" for (level, kind), number in sorted(levels.items())) or None


def last_level_caches(seen: Seen) -> str | None:
    used = [set(one.placement.llcs) for one in seen.workloads if one.placement.llcs]
    return f"{count(len(set().union(*used)), 'last-level cache')} in reach" if used else None


def processors(seen: Seen) -> str | None:
    devices = seen.snapshot.devices.cpu
    counted = ((devices.packages, "package"), (devices.cores, "core"), (devices.threads, "thread"))
    return ", ".join(count(number, name) for number, name in counted if number is not None) or None


def online(seen: Seen) -> str | None:
    every = seen.snapshot.physical.cpus.online
    return f"{cpus(every)} online" if every else None


def interrupts(seen: Seen) -> str | None:
    lines = seen.snapshot.logical.cpu.interrupts
    return count(len(lines), "interrupt line") if lines else None


def ipis(seen: Seen) -> str | None:
    taken = seen.snapshot.logical.cpu.ipis
    parts = (
        (_sum(one.reschedule for one in taken), "reschedule"),
        (_sum(one.function_call for one in taken), "call"),
        (_sum(one.tlb_shootdown for one in taken), "TLB shootdown"),
    )
    shown = ", ".join(count(number, name) for number, name in parts if number is not None)
    return f"on the host since boot: {shown}" if shown else None


def interconnect(seen: Seen) -> str | None:
    channels, packages = seen.snapshot.physical.channels, len(seen.snapshot.physical.packages)
    between = channels.interconnect if channels else None
    if between and between.technology:
        return guessed(between.technology, between.origin if between.origin == "inferred" else None)
    return "one package: nothing between sockets" if packages == 1 else count(packages, "package") if packages else None


def neighbours(seen: Seen) -> str | None:
    others = [one.placement.sharing_workloads for one in seen.workloads if one.placement.sharing_workloads is not None]
    return f"{sum(number > 0 for number in others)} of {len(others)} may share cores with other workloads" if others else None


# Memory


def nodes_used(seen: Seen) -> str | None:
    spanned = [one.placement.nodes_spanned for one in seen.workloads if one.placement.nodes_spanned is not None]
    held = CpuSet(node for one in seen.workloads for node, used in one.placement.memory_by_node.items() if used)
    shown = _known(cpus(one, "node") for one in spanned)
    memory = f"; memory on {cpus(held, 'node')}" if held else ""
    return f"CPUs on {shown}{memory}" if shown else None


def numa_host(seen: Seen) -> str | None:
    nodes, policy = seen.snapshot.physical.nodes, seen.snapshot.logical.memory.policy
    moves = None if policy is None or policy.numa_balancing is None else f"balancing {'on' if policy.numa_balancing else 'off'}"
    return ", ".join(filter(None, (count(len(nodes), "node") if nodes else None, moves))) or None


def zones(seen: Seen) -> str | None:
    found = list(dict.fromkeys(zone.name for zone in seen.snapshot.logical.memory.zones if zone.present_pages))
    return f"zones {', '.join(found)}" if found else None


def guest_memory(seen: Seen) -> str | None:
    given, held = _sum(one.memory.allotted_bytes for one in seen.workloads), _sum(one.memory.backing_bytes for one in seen.workloads)
    return None if given is None else f"{size(given)} given{f', {size(held)} resident' if held is not None else ''}"


def memory_limits(seen: Seen) -> str | None:
    limits = [one.memory.limit_bytes for one in seen.workloads if one.memory.limit_bytes is not None]
    shown = _known(size(int(limit)) for limit in limits if not limit.unlimited)
    return f"{sum(not limit.unlimited for limit in limits)} of {len(limits)} limited{f': {shown}' if shown else ''}" if limits else None


def memory_in_use(seen: Seen) -> str | None:
    used = _sum(one.memory.current_bytes for one in seen.workloads)
    return None if used is None else f"{size(used)} charged"


def linear(seen: Seen) -> str | None:
    every = [memory for one in seen.workloads for memory in one.memories]
    return f"{_memories(seen.workloads)}, {size(sum(one.size_bytes for one in every))}" if every else None


def _memories(hosts: Iterable[Workload]) -> str:
    number = sum(len(one.memories) for one in hosts)
    return "1 linear memory" if number == 1 else f"{number} linear memories"


def layouts(seen: Seen) -> str | None:
    return _known(memory.layout for one in seen.workloads for memory in one.memories)


def guards(seen: Seen) -> str | None:
    every = [memory for one in seen.workloads for memory in one.memories]
    fenced = sum(one.reserved_bytes > one.size_bytes for one in every)
    return f"{fenced} of {len(every)} memories have address space behind them that faults" if every else None


def reserved(seen: Seen) -> str | None:
    every = [memory for one in seen.workloads for memory in one.memories]
    asked, given = sum(one.reserved_bytes for one in every), sum(one.size_bytes for one in every)
    return f"{size(asked)} of addresses reserved for {size(given)}" if every else None


def shared_runtime(seen: Seen) -> str | None:
    hosts = [one for one in seen.workloads if one.memories]
    return f"{_memories(hosts)} in {count(len(hosts), 'process')}" if hosts else None


def nested_paging(seen: Seen) -> str | None:
    kvm = seen.snapshot.logical.kvm
    if kvm is None or kvm.nested_paging is None:
        return None if kvm is None or kvm.vendor_module is None else f"{kvm.vendor_module}: does not say how it translates"
    return f"{kvm.vendor_module or 'KVM'}: {'nested paging' if kvm.nested_paging else 'shadow page tables'}"


def page_tables(seen: Seen) -> str | None:
    levels, used = seen.snapshot.logical.cpu.page_table_levels, _sum(one.memory.page_table_bytes for one in seen.workloads)
    parts = (f"{levels} levels" if levels is not None else None, f"{size(used)} of tables" if used is not None else None)
    return ", ".join(filter(None, parts)) or None


def ksm(seen: Seen) -> str | None:
    merged = seen.snapshot.logical.memory.ksm
    if merged is None or merged.run is None:
        return None
    return f"KSM {'on' if merged.run == 1 else 'off'}{f', {merged.pages_sharing} pages shared' if merged.pages_sharing is not None else ''}"


def page_cache(seen: Seen) -> str | None:
    files = _sum(one.memory.stat.get("file", one.memory.stat.get("total_cache")) for one in seen.workloads)
    return None if files is None else f"{size(files)} of page cache charged to them"


def guest_overcommit(seen: Seen) -> str | None:
    most, total = _sum(one.memory.allotted_max_bytes for one in seen.workloads), seen.snapshot.physical.memory.total_bytes
    return None if most is None or not total else f"guests may have {size(most)} of the host's {size(total)}"


def limit_overcommit(seen: Seen) -> str | None:
    limits, total = [one.memory.limit_bytes for one in seen.workloads], seen.snapshot.physical.memory.total_bytes
    known = [limit for limit in limits if limit is not None]
    if not known or len(known) < len(limits) or not total:
        return None
    if any(limit.unlimited for limit in known):
        return f"{sum(limit.unlimited for limit in known)} of {len(known)} without a limit"
    return f"limits add up to {size(int(sum(known)))} of the host's {size(total)}"


def tlb(seen: Seen) -> str | None:
    said = seen.snapshot.logical.cpu.tlb
    return f"host: {said}" if said else None


def memory_channels(seen: Seen) -> str | None:
    memory = seen.snapshot.physical.memory
    filled = [dimm for dimm in memory.dimms if dimm.size_bytes]
    parts = (
        count(len(memory.channels), "channel") if memory.channels else None,
        f"{count(len(filled), 'module')} plugged in" if filled else None,
        count(len(memory.controllers), "controller") if memory.controllers else None,
    )
    return ", ".join(filter(None, parts)) or None


def memory_installed(seen: Seen) -> str | None:
    memory = seen.snapshot.physical.memory
    total = memory.installed_bytes if memory.installed_bytes is not None else memory.total_bytes
    return None if total is None else f"{size(total)}{'' if memory.installed_bytes is not None else ' under the kernel'}"


def free_memory(seen: Seen) -> str | None:
    free = _sum(node.free_bytes for node in seen.snapshot.physical.nodes)
    return None if free is None else f"{size(free)} free on the host"


def address_bits(seen: Seen) -> str | None:
    bits = seen.snapshot.logical.cpu.physical_address_bits
    return None if bits is None else f"{bits} bits"


# Kernels and machines


def machine(seen: Seen) -> str | None:
    smbios, guest = seen.snapshot.host.smbios, seen.snapshot.host.virtualization
    if guest is not None and guest.kind == "guest":
        return f"this host is itself a guest of {guest.hypervisor or 'a hypervisor'}"
    return " ".join(filter(None, (smbios.sys_vendor, smbios.product_name))) or None if smbios else None


def shared_kernel(seen: Seen) -> str | None:
    kernel = seen.snapshot.host.kernel
    return f"all on Linux {kernel}" if kernel and seen.workloads else None


def own_kernel(seen: Seen) -> str | None:
    guests = [one for one in seen.workloads if one.guest]
    return f"{count(len(guests), 'guest kernel')} apart from the host's" if guests else None
