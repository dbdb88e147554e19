"""Problems with the placement of workloads: each finding has the figures that it follows from, and a remedy.

A rule that lacks a figure yields no finding: an unknown value is neither good nor bad.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.finding import Finding
from agent.model.host import Identity
from agent.model.logical import Logical
from agent.model.physical import Physical
from agent.model.remedies import bind_nodes, name_of, pin_emulator, pin_vcpu
from agent.model.values import CpuSet, sum_if_known
from agent.model.workload import VCpu, Workload
from agent.normalise.pins import on_cores, on_one_node, one_each, settled

REMOTE_RATIO = 0.1
"""The least share of a workload's memory on nodes without its CPUs that is reported."""
NODES_RATIO = 0.9
"""Share of MemTotal in memory nodes below which figures by node mislead."""
STEAL_RATIO = 0.01
"""Steal as a share of the CPU time that this guest wanted since boot, from which on measured run times mislead."""


def findings(workloads: tuple[Workload, ...], hardware: Physical, kernel: Logical, identity: Identity) -> tuple[Finding, ...]:
    """All findings about workloads on this host, its nodes and its own hypervisor."""
    on_this_host = [workload for workload in workloads if not (workload.guest and workload.guest.elsewhere)]
    contested = _in_several(workload.placement.allowed_cpus for workload in on_this_host)
    costs = _why_floating_costs(on_this_host, hardware)
    return (
        *(finding for workload in on_this_host for finding in _machine(workload, contested, costs, hardware)),
        *(finding for workload in on_this_host for finding in _memory(workload, identity.cgroup.version if identity.cgroup else None)),
        *(finding for workload in on_this_host for finding in _statements(workload)),
        *_nodes(hardware),
        *_in_guest(kernel, identity),
    )


def _why_floating_costs(workloads: Iterable[Workload], hardware: Physical) -> str | None:
    """What makes a vCPU that floats lose: others that want its CPU, or memory that stays behind. None: nothing that is known."""
    vcpus, cpus = sum(len(workload.vcpus) for workload in workloads), len(hardware.cpus.online)
    if cpus and vcpus > cpus:
        return f"{vcpus} vCPUs on {cpus} CPUs"
    nodes = CpuSet(node.os_index for node in hardware.nodes if node.cpus)
    return f"CPUs on nodes {nodes}" if len(nodes) > 1 else None


def _machine(workload: Workload, contested: CpuSet | None, costs: str | None, hardware: Physical) -> Iterator[Finding]:
    vcpus = [vcpu for vcpu in workload.vcpus if _affinity(vcpu) is not None]
    if workload.paradigm != "virtualization" or not vcpus or not hardware.cpus.online:
        return
    yield from _pinning(workload, vcpus, contested, costs, hardware)
    yield from _one_core(workload, vcpus, hardware)
    yield from _across(workload, vcpus, hardware)
    yield from _apart(workload, vcpus, hardware)
    yield from _topology(workload, vcpus, hardware)
    yield from _emulator(workload, vcpus, hardware.cpus.online)
    yield from _drift(workload, hardware.cpus.online)


def _affinity(vcpu: VCpu) -> CpuSet | None:
    """The affinity by libvirt; for machines that libvirt does not know, that of the thread."""
    return vcpu.affinity if vcpu.affinity is not None else vcpu.thread.allowed_cpus if vcpu.thread else None


def _pins(vcpus: Iterable[VCpu]) -> str:
    return ", ".join(f"vCPU {vcpu.number} on {_affinity(vcpu)}" for vcpu in vcpus)


def _in_several(sets: Iterable[CpuSet | None]) -> CpuSet | None:
    """The CPUs that are in more than one of these sets; None where one of the sets is not known."""
    covered, several = CpuSet(), CpuSet()
    for cpus in sets:
        if cpus is None:
            return None
        several |= covered & cpus
        covered |= cpus
    return several


def _pinning(workload: Workload, vcpus: list[VCpu], contested: CpuSet | None, costs: str | None, hardware: Physical) -> Iterator[Finding]:
    """Which vCPUs float, are pinned alone, or are pinned to shared CPUs. `contested`: the CPUs that several workloads may use."""
    floating = [vcpu for vcpu in vcpus if vcpu.pinned is False]
    pinned = [vcpu for vcpu in vcpus if vcpu.pinned]
    if floating:
        text = f"{_numbers(floating)} of {len(workload.vcpus)} may run on every CPU of the host"
        yield Finding.of(
            kind="vcpus_float",
            workload=workload.id,
            text=text,
            evidence=_pins(floating) + (f"; {costs}" if costs else ""),
            remedy=settled(workload, floating, hardware),
            severity="warning" if costs else None,
        )
    if not pinned:
        return
    # Unless all workloads are known, a vCPU cannot be known to be alone on its CPUs.
    crowded = _in_several(_affinity(vcpu) for vcpu in workload.vcpus)
    counted = workload.placement.sharing_workloads is not None and contested is not None and crowded is not None
    busy = (contested or CpuSet()) | (crowded or CpuSet())
    alone = [vcpu for vcpu in pinned if counted and not (_affinity(vcpu) or CpuSet()) & busy]
    if alone:
        text = f"{_numbers(alone)} of {len(workload.vcpus)} have CPUs that no other vCPU or workload is bound to"
        yield Finding.of(kind="vcpus_pinned_exclusively", workload=workload.id, text=text, evidence=_pins(alone))
    rest = [vcpu for vcpu in pinned if vcpu not in alone]
    if rest:
        text = f"{_numbers(rest)} of {len(workload.vcpus)} are pinned" + (" to CPUs that others may use" if counted else "")
        yield Finding.of(kind="vcpus_pinned", workload=workload.id, text=text, evidence=_pins(rest))


def _one_core(workload: Workload, vcpus: list[VCpu], hardware: Physical) -> Iterator[Finding]:
    """vCPUs that may only run on the threads of one core, though the guest takes each for a core."""
    guest = workload.guest
    crowded = []
    for core in hardware.cores:
        bound = [vcpu for vcpu in vcpus if (cpus := _affinity(vcpu)) and cpus <= core.cpus]
        if len(bound) > 1:
            crowded.append((core, bound))
    if not crowded or (guest is not None and guest.threads is not None and guest.threads > 1):
        return
    text = "; ".join(f"{_numbers(bound)} share the core of CPUs {core.cpus}" for core, bound in crowded)
    yield Finding.of(
        kind="vcpus_on_one_core",
        workload=workload.id,
        text=text,
        evidence=_pins(vcpu for _, bound in crowded for vcpu in bound),
        remedy=on_cores(workload, vcpus, hardware),
    )


def _across(workload: Workload, vcpus: list[VCpu], hardware: Physical) -> Iterator[Finding]:
    """Pinned vCPUs on CPUs of several nodes, in a guest that is shown one node."""
    guest = workload.guest
    cells = guest.numa_cells if guest else None
    if any(node.cpus is None for node in hardware.nodes) or not all(vcpu.pinned for vcpu in vcpus) or (cells or 1) > 1:
        return
    spans = {node.os_index: [vcpu for vcpu in vcpus if node.cpus and (_affinity(vcpu) or CpuSet()) & node.cpus] for node in hardware.nodes}
    used = {node: vcpus_there for node, vcpus_there in spans.items() if vcpus_there}
    if len(used) > 1:
        text = f"its pinned vCPUs lie on nodes {CpuSet(used)}, and the guest is shown one"
        evidence = "; ".join(f"node {node}: {_numbers(vcpus_there)}" for node, vcpus_there in used.items())
        yield Finding.of(
            kind="vcpus_across_nodes",
            workload=workload.id,
            text=text,
            evidence=evidence,
            remedy=on_one_node(workload, vcpus, hardware),
        )


def _apart(workload: Workload, vcpus: list[VCpu], hardware: Physical) -> Iterator[Finding]:
    isolated, online = hardware.cpus.isolated, hardware.cpus.online
    on_isolated = [vcpu for vcpu in vcpus if isolated and (_affinity(vcpu) or CpuSet()) & isolated and vcpu.pinned]
    if on_isolated and isolated:
        several = [vcpu for vcpu in on_isolated if len((_affinity(vcpu) or CpuSet()) & isolated) > 1]
        text = f"{_numbers(on_isolated)} are pinned to isolated CPUs, among which nobody balances"
        remedy = one_each(workload, on_isolated, isolated) if several else None
        yield Finding.of(
            kind="pins_on_isolated_cpus",
            workload=workload.id,
            text=text,
            evidence=f"isolated CPUs {isolated}; {_pins(on_isolated)}",
            remedy=remedy,
            severity="warning" if several else None,
        )
    present = hardware.cpus.present or online
    tuned = workload.guest.tuning.vcpu_pins if workload.guest and workload.guest.tuning else {}
    off = {number: cpus - online for number, cpus in tuned.items() if cpus - online}
    if off:
        missing = CpuSet.union(off.values())
        text = "vCPUs are pinned to CPUs that are not online"
        evidence = ", ".join(f"vCPU {number} on {cpus}" for number, cpus in off.items())
        yield Finding.of(
            kind="pins_on_offline_cpus",
            workload=workload.id,
            text=text,
            evidence=f"{evidence}; present {present}, online {online}",
            remedy=f"chcpu -e {missing}" if missing <= present else one_each(workload, [v for v in vcpus if v.number in off], online),
        )


def _topology(workload: Workload, vcpus: list[VCpu], hardware: Physical) -> Iterator[Finding]:
    """Guest threads of one core that are pinned to several host cores. QEMU numbers the threads of a core consecutively."""
    guest = workload.guest
    threads = guest.threads if guest else None
    if not threads or threads < 2 or not all(vcpu.pinned for vcpu in vcpus):
        return
    cores = {cpu: index for index, core in enumerate(hardware.cores) for cpu in core.cpus}
    wrong = []
    for first in range(0, len(vcpus), threads):
        together = [vcpu for vcpu in vcpus if first <= vcpu.number < first + threads]
        places = {cores.get(cpu) for vcpu in together for cpu in _affinity(vcpu) or ()}
        if len(places - {None}) > 1:
            wrong.append(together)
    if wrong:
        text = (
            f"the guest takes {'; '.join(_numbers(siblings) for siblings in wrong)} for threads of one core, and they are pinned to several"
        )
        evidence = f"{threads} threads a core in the guest; {_pins(vcpu for siblings in wrong for vcpu in siblings)}"
        yield Finding.of(
            kind="topology_contradicts_pins",
            workload=workload.id,
            text=text,
            evidence=evidence,
            remedy=on_cores(workload, vcpus, hardware, threads),
        )


def _emulator(workload: Workload, vcpus: list[VCpu], online: CpuSet) -> Iterator[Finding]:
    emulator = workload.guest.emulator_affinity if workload.guest else None
    if emulator is None or not all(vcpu.pinned for vcpu in vcpus):
        return
    overlapping = [vcpu for vcpu in vcpus if emulator & (_affinity(vcpu) or CpuSet())]
    if overlapping:
        elsewhere = online - CpuSet.union(_affinity(vcpu) or CpuSet() for vcpu in vcpus)
        text = f"the emulator's threads may run where {_numbers(overlapping)} are pinned"
        yield Finding.of(
            kind="emulator_on_vcpu_cpus",
            workload=workload.id,
            text=text,
            evidence=f"emulator on {emulator}; {_pins(overlapping)}",
            remedy=pin_emulator(workload, elsewhere) if elsewhere else None,
        )


def _drift(workload: Workload, online: CpuSet) -> Iterator[Finding]:
    """Affinities in force that differ from libvirt's: somebody else changed them, or a CPU went offline."""
    guest = workload.guest
    pairs = [(f"vCPU {vcpu.number}", vcpu.affinity, vcpu.thread.allowed_cpus) for vcpu in workload.vcpus if vcpu.thread]
    for thread in workload.threads:
        if thread.tid == workload.pid and guest:
            pairs.append(("emulator", guest.emulator_affinity, thread.allowed_cpus))
        elif thread.role == "iothread" and guest and guest.tuning:
            number = (thread.name or "").removeprefix("IO iothread")
            pinned_cpus = guest.tuning.iothread_pins.get(int(number)) if number.isdecimal() else None
            pairs.append((f"iothread {number}", pinned_cpus, thread.allowed_cpus))
    moved = [
        (name, libvirt_cpus, allowed_cpus)
        for name, libvirt_cpus, allowed_cpus in pairs
        if libvirt_cpus is not None and allowed_cpus is not None and libvirt_cpus & online != allowed_cpus & online
    ]
    if moved:
        text = f"the kernel does not run {', '.join(name for name, _, _ in moved)} where libvirt says"
        evidence = ", ".join(f"{name}: libvirt {libvirt_cpus}, in force {allowed_cpus}" for name, libvirt_cpus, allowed_cpus in moved)
        yield Finding.of(
            kind="affinity_drift",
            workload=workload.id,
            text=text,
            evidence=evidence,
            remedy="; ".join(_pin_again(workload, name, cpus) for name, cpus, _ in moved if cpus is not None),
        )


def _pin_again(workload: Workload, name: str, cpus: CpuSet) -> str:
    kind, _, number = name.partition(" ")
    if kind == "vCPU":
        return pin_vcpu(workload, int(number), cpus)
    return pin_emulator(workload, cpus) if kind == "emulator" else f"virsh iothreadpin {name_of(workload)} {number} {cpus} --live"


def _memory(workload: Workload, version: str | None) -> Iterator[Finding]:
    place = workload.placement
    if place.remote_memory_ratio is not None and place.remote_memory_ratio >= REMOTE_RATIO:
        text = f"{place.remote_memory_ratio:.0%} of its memory lies on nodes that have none of its CPUs"
        where = ", ".join(f"node {node}: {size >> 20} MiB" for node, size in sorted(place.memory_by_node.items()))
        near = place.nodes_spanned or CpuSet()
        far = CpuSet(node for node in place.memory_by_node if node not in near)
        moved = f"migratepages {workload.pid} {far} {near}" if workload.pid and far and near else None
        # A sandbox is in somebody else's group.
        bound = bind_nodes(workload, near, version) if near and workload.cgroup and workload.paradigm != "sandbox" else None
        remedy = "; ".join(command for command in (bound, moved) if command) or f"numastat -p {workload.pid or name_of(workload)}"
        yield Finding.of(
            kind="memory_remote",
            workload=workload.id,
            text=text,
            evidence=f"CPUs {place.allowed_cpus} of nodes {place.nodes_spanned}; {where}",
            remedy=remedy,
        )


def _statements(workload: Workload) -> Iterator[Finding]:
    """Statements of the embedder that the kernel contradicts. Growth of a guest since its last statement is no contradiction."""
    every = [(statement, memory) for memory in workload.memories for statement in memory.stated]
    wrong = [(statement, memory) for statement, memory in every if statement.mismatch in _CONTRADICTED]
    lost = [statement for statement in (workload.published.elsewhere if workload.published else ()) if statement.mismatch]
    if not wrong and not lost:
        return
    text = f"{len(wrong) + len(lost)} of {len(every) + len(lost)} memories are not as its embedder states"
    shown = [
        f"{statement.instance!r}: {_CONTRADICTED[statement.mismatch or '']} "
        f"({'2^63 or more' if statement.size_bytes is None else statement.size_bytes} bytes stated, {memory.size_bytes} at {memory.base})"
        for statement, memory in wrong
    ]
    shown += [f"{statement.instance!r}: no memory begins at {statement.base}" for statement in lost]
    more = f", and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    remedy = "Slot.update after each call of a guest, Slot.withdraw with its instance; else the table is forged"
    yield Finding.of(kind="statement_mismatch", workload=workload.id, text=text, evidence="; ".join(shown[:_SHOWN]) + more, remedy=remedy)


_CONTRADICTED = {"ahead": "smaller than stated", "beyond": "larger than its declared maximum"}
_SHOWN = 4


def _nodes(hardware: Physical) -> Iterator[Finding]:
    """Nodes that show less memory than MemTotal: with hotplugged or ballooned memory they show a part of it."""
    total, shown = hardware.memory.total_bytes, sum_if_known(node.memory_bytes for node in hardware.nodes)
    if shown is not None and total and shown < NODES_RATIO * total:
        text = "its memory nodes show less memory than this host has: figures by node are of what they show"
        evidence = f"{shown} bytes in all nodes (node*/meminfo), {total} in all (/proc/meminfo, MemTotal)"
        yield Finding.of(kind="node_memory_here", workload=None, text=text, evidence=evidence)


def _in_guest(kernel: Logical, identity: Identity) -> Iterator[Finding]:
    """What it means for the figures that this host is itself a guest."""
    if identity.virtualization is None or identity.virtualization.kind != "guest":
        return
    guest = identity.virtualization
    text = "this host is itself a guest: its cores, caches, nodes and their distances are what its hypervisor shows it"
    yield Finding.of(
        kind="topology_here", workload=None, text=text, evidence=f"guest of {guest.hypervisor or 'a hypervisor'}, by {guest.evidence}"
    )
    steal = sum_if_known(time.steal_seconds for time in kernel.cpu.times)
    busy_seconds = sum_if_known(time.busy_seconds for time in kernel.cpu.times)
    if busy_seconds and steal and steal / busy_seconds >= STEAL_RATIO:
        # Run time is by rq_clock_task(), which leaves steal out where the kernel accounts for it; delay is by rq_clock().
        text = (
            "this host's own hypervisor lets its CPUs wait: what it takes from a thread that runs is in no delay, and in its run time only "
            "where the kernel is built without CONFIG_PARAVIRT_TIME_ACCOUNTING"
        )
        yield Finding.of(
            kind="steal_here",
            workload=None,
            text=text,
            evidence=f"steal is {steal / busy_seconds:.1%} of what its CPUs wanted since boot (/proc/stat)",
        )


def _numbers(vcpus: list[VCpu]) -> str:
    numbers = CpuSet(vcpu.number for vcpu in vcpus)
    return f"vCPU{'s' if len(numbers) > 1 else ''} {numbers}"
