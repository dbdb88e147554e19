"""Where a workload runs and what it was promised: cpusets, overcommitted CPUs, isolated CPUs, interrupts, huge pages, steal.

Sources: Documentation/admin-guide/cgroup-v2.rst (cpuset), kernel-parameters.txt (isolcpus), core-api/irq/irq-affinity.rst.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.model.device import CpuOvercommit
from agent.model.finding import Finding
from agent.model.remedies import MIB, bind_cpus, bind_nodes, limit_cpus, limit_memory, name_of, pin_vcpu
from agent.model.values import CpuSet, sum_if_known
from agent.model.workload import Workload
from agent.overhead.activity import counter_increase, every_thread
from agent.overhead.window import Window
from agent.overhead.workload_window import WorkloadWindow

BUSY_RATIO = 0.9
"""Share of a core's or a host's CPUs that are busy, from which on more vCPUs than CPUs is a loss."""
HUGE_RATIO = 0.9
"""Share of a machine's resident memory that is to be in the huge pages that were asked for."""
STEAL_RATIO = 0.05
"""Steal as a share of the CPU time that this guest wanted within the window."""
INTERRUPTS_A_SECOND = 100.0
"""Fewer disturb nobody to speak of."""


CpuSets = dict[str, CpuSet | None]
"""Lists as they are written, parsed: many workloads have the same."""


def place_troubles(case: WorkloadWindow, cpusets: CpuSets) -> Iterator[Finding]:
    """What one workload's own place keeps it from. `cpusets` holds the lists that were parsed in this window."""
    yield from _cpuset(case, cpusets)
    yield from _limits(case)
    yield from _huge_pages(case)
    yield from _on_isolated(case)


def host_place_troubles(window: Window, cases: Sequence[WorkloadWindow]) -> Iterator[Finding]:
    """What CPUs of this host lack."""
    yield from _overcommitted(window, cases)
    yield from _interrupts(window)
    yield from _steal(window)


def _asked(workload: Workload, cpusets: CpuSets) -> tuple[CpuSet | None, CpuSet | None]:
    """The CPUs and nodes that a cpuset of its own asks for, as they stand; None where it has none."""
    cpus = nodes = None
    for control in workload.controls:
        if control.file == "cpuset.cpus":
            cpus = _parsed(control.value, cpusets)
        elif control.file == "cpuset.mems":
            nodes = _parsed(control.value, cpusets)
    return cpus, nodes


def _parsed(value: int | str | bool, cpusets: CpuSets) -> CpuSet | None:
    if not isinstance(value, str):
        return None
    if value not in cpusets:
        try:
            cpusets[value] = CpuSet.parse_list(value)
        except ValueError:
            cpusets[value] = None
    return cpusets[value]


def _cpuset(case: WorkloadWindow, cpusets: CpuSets) -> Iterator[Finding]:
    workload, hardware = case.workload, case.window.after.physical
    (cpus, nodes), online = _asked(workload, cpusets), hardware.cpus.online
    if not cpus:
        return
    if online and not cpus <= online:
        left = cpus & online
        yield Finding.of(
            kind="cpuset_offline",
            workload=workload.id,
            text="its cpuset names CPUs that are not online" + ("" if left else ", and no other: it runs where the group above may"),
            evidence=f"cpuset {cpus}; online {online}",
            remedy=bind_cpus(workload, left or online, case.version),
        )
    if len(hardware.nodes) < 2 or any(node.cpus is None for node in hardware.nodes):
        return
    by_node = {node.os_index: node.cpus & online for node in hardware.nodes if node.cpus}
    spanned = {node: cpus & there for node, there in by_node.items() if cpus & there}
    if len(spanned) > 1 and cpus != online:
        room = max(spanned, key=lambda node: (len(spanned[node]), -node))
        if len(cpus) <= len(by_node[room]):
            yield Finding.of(
                kind="cpuset_across_nodes",
                workload=workload.id,
                text=f"its CPUs lie on nodes {CpuSet(spanned)}, and one node has as many",
                evidence="; ".join(f"node {node}: CPUs {there}" for node, there in sorted(spanned.items())),
                remedy=bind_cpus(workload, _of_node(by_node[room], spanned[room], len(cpus)), case.version),
            )
    near = CpuSet(node.os_index for node in hardware.nodes if node.os_index in spanned and node.memory_bytes != 0)
    if nodes and near and not nodes & near:
        yield Finding.of(
            kind="memory_nodes_against_cpus",
            workload=workload.id,
            text=f"its memory has to come from nodes {nodes}, and its CPUs are on nodes {CpuSet(spanned)}",
            evidence=f"cpuset.mems {nodes}; CPUs {cpus}",
            remedy=bind_nodes(workload, near, case.version),
        )


def _of_node(cpus: CpuSet, kept: CpuSet, count: int) -> CpuSet:
    """So many CPUs of a node, those that it has already first."""
    return CpuSet([*kept, *(cpus - kept)][:count])


def _limits(case: WorkloadWindow) -> Iterator[Finding]:
    """Limits that are above what there is, so that they limit nothing."""
    workload, hardware = case.workload, case.window.after.physical
    total, limit = hardware.memory.total_bytes, workload.memory.max_bytes
    if total and limit is not None and not limit.unlimited and limit > total:
        yield Finding.of(
            kind="limit_above_host",
            workload=workload.id,
            text="its memory limit is above the memory of this host, and limits nothing",
            evidence=f"limit {limit / MIB:.0f} MiB, host {total / MIB:.0f} MiB",
            remedy=limit_memory(workload, total * BUSY_RATIO, case.version),
        )
    quota, period, cpus = workload.cpu.quota_usec, workload.cpu.period_usec, len(hardware.cpus.online)
    if cpus and period and quota is not None and not quota.unlimited and quota / period > cpus:
        yield Finding.of(
            kind="limit_above_host",
            workload=workload.id,
            text="its CPU limit is above the CPUs of this host, and limits nothing",
            evidence=f"limit {quota / period:g} CPUs, host {cpus}",
            remedy=limit_cpus(workload, float(cpus), case.version),
        )


def _huge_pages(case: WorkloadWindow) -> Iterator[Finding]:
    guest, memory = case.workload.guest, case.workload.memory
    if guest is None or not guest.hugepages or not memory.backing_bytes or memory.backing_hugetlb_bytes is None:
        return
    if memory.backing_hugetlb_bytes < HUGE_RATIO * memory.backing_bytes:
        name = name_of(case.workload)
        missing = -(-(memory.backing_bytes - memory.backing_hugetlb_bytes) // (2 * MIB))
        yield Finding.of(
            kind="huge_pages_missing",
            workload=case.workload.id,
            text="it is defined with huge pages, and its memory is not in them",
            evidence=f"{memory.backing_hugetlb_bytes / MIB:.0f} of {memory.backing_bytes / MIB:.0f} MiB resident memory in huge pages",
            remedy=f"hugeadm --pool-pages-min 2MB:+{missing}; virsh shutdown {name}; sleep 60; virsh start {name}",
        )


def _on_isolated(case: WorkloadWindow) -> Iterator[Finding]:
    """Threads that ran on isolated CPUs though nobody bound them there, where somebody else is bound."""
    workload, was, hardware = case.workload, case.was, case.window.after.physical
    isolated = hardware.cpus.isolated
    if not isolated or was is None or workload.placement.last_cpus is None or not workload.placement.last_cpus & isolated:
        return
    ran_before = {(thread.tid, thread.start_ticks): thread.run_ns for thread in every_thread(was)}
    strays = [
        thread
        for thread in every_thread(workload)
        if thread.last_cpu in isolated
        and thread.allowed_cpus is not None
        and not thread.allowed_cpus <= isolated
        and counter_increase(ran_before.get((thread.tid, thread.start_ticks)), thread.run_ns)
    ]
    used = CpuSet(thread.last_cpu for thread in strays if thread.last_cpu is not None)
    owners = [
        other.name
        for other in case.window.after.workloads
        if other.id != workload.id
        and any(thread.allowed_cpus and thread.allowed_cpus <= isolated and thread.allowed_cpus & used for thread in every_thread(other))
    ]
    if strays and owners:
        elsewhere = (workload.placement.allowed_cpus or hardware.cpus.online) - isolated
        yield Finding.of(
            kind="isolated_cpus_used",
            workload=workload.id,
            text=f"it runs on isolated CPUs {used}, to which {', '.join(sorted({*owners})[:3])} is bound",
            evidence=f"{len(strays)} thread{'s' if len(strays) > 1 else ''} last ran there within the window; isolated CPUs {isolated}",
            remedy=bind_cpus(workload, elsewhere or hardware.cpus.online - isolated, case.version),
        )


def _overcommitted(window: Window, cases: Sequence[WorkloadWindow]) -> Iterator[Finding]:
    """Cores, or the host, with more vCPUs than CPUs, all of them busy: the smallest of what holds that."""
    if window.before is None:
        return
    rows = [row for row in window.after.devices.cpu.overcommit if row.ratio > 1 and _is_busy(window, row.cpus)]
    cores = [row for row in rows if row.scope == "core"]
    # Where the whole host is that full, no core is at fault.
    for row in [row for row in rows if row.scope == "host"] or cores:
        machines = sorted(_on(cases, row), key=lambda pair: pair[0].placement.allowed_cpus is None)
        if machines:
            names = ", ".join(dict.fromkeys(workload.name for workload, _ in machines))
            yield Finding.of(
                kind="cpus_overcommitted",
                workload=None,
                text=f"{row.vcpus:g} vCPUs share {len(row.cpus)} CPUs, and all of these are busy",
                evidence=f"CPUs {row.cpus} are {(window.busy_cpus(row.cpus) or 0.0) / len(row.cpus):.0%} busy; vCPUs of {names[:200]}",
                remedy=_relieved(window, machines, row),
            )


def _is_busy(window: Window, cpus: CpuSet) -> bool:
    busy = window.busy_cpus(cpus)
    return busy is not None and busy >= BUSY_RATIO * len(cpus)


def _on(cases: Sequence[WorkloadWindow], row: CpuOvercommit) -> Iterator[tuple[Workload, int]]:
    """The vCPUs that may run on these CPUs: their machine and number."""
    for case in cases:
        for vcpu in case.workload.vcpus:
            cpus = vcpu.affinity if vcpu.affinity is not None else vcpu.thread.allowed_cpus if vcpu.thread else None
            if cpus and cpus & row.cpus:
                yield case.workload, vcpu.number


def _relieved(window: Window, machines: Sequence[tuple[Workload, int]], row: CpuOvercommit) -> str:
    """Its last vCPU moved to the CPUs that are least busy; where there are none beside these, one vCPU less."""
    workload, number = machines[-1]
    others = window.after.physical.cpus.online - row.cpus
    idle = CpuSet(cpu for cpu in others if (busy := window.busy_cpus(CpuSet((cpu,)))) is not None and busy < BUSY_RATIO)
    if row.scope == "core" and idle:
        return pin_vcpu(workload, number, idle)
    largest = max((workload for workload, _ in machines), key=lambda machine: len(machine.vcpus))
    return f"virsh setvcpus {name_of(largest)} {max(1, len(largest.vcpus) - 1)} --live"


def _interrupts(window: Window) -> Iterator[Finding]:
    """Interrupts of devices that isolated CPUs took within the window."""
    isolated, after, before = window.after.physical.cpus.isolated, window.after.logical.cpu, window.before
    order = after.interrupt_cpus
    if not isolated or before is None or not window.seconds or order is None or before.logical.cpu.interrupt_cpus != order:
        return
    columns = [place for place, cpu in enumerate(order) if cpu in isolated]
    earlier = {line.name: line for line in before.logical.cpu.interrupts}
    routes = {str(route.irq): route for route in after.irq_routes}
    rates = []
    for line in after.interrupts:
        was = earlier.get(line.name)
        if was is None or not line.is_irq or len(line.counts) != len(order) or len(was.counts) != len(order):
            continue
        grown = sum_if_known(counter_increase(was.counts[column], line.counts[column]) for column in columns)
        if grown and grown / window.seconds >= INTERRUPTS_A_SECOND:
            rates.append((grown / window.seconds, line))
    if not rates:
        return
    rates.sort(key=lambda pair: pair[0], reverse=True)
    line = rates[0][1]
    route = routes.get(line.name)
    elsewhere = ((route.affinity if route else None) or window.after.physical.cpus.online) - isolated
    target = elsewhere or window.after.physical.cpus.online - isolated
    yield Finding.of(
        kind="interrupts_on_isolated_cpus",
        workload=None,
        text=f"isolated CPUs {isolated} take interrupts of devices",
        evidence="; ".join(f"{other.name} ({other.description}) {each:.0f} a second" for each, other in rates[:4]),
        remedy=f"echo {target} > /proc/irq/{line.name}/smp_affinity_list",
    )


def _steal(window: Window) -> Iterator[Finding]:
    """What this host's own hypervisor takes now."""
    if window.before is None:
        return
    ends = [host.logical.cpu.times for host in (window.before, window.after)]
    stolen = counter_increase(*(sum_if_known(time.steal_seconds for time in times) for times in ends))
    wanted = counter_increase(*(sum_if_known(time.busy_seconds for time in times) for times in ends))
    if stolen and wanted and stolen / wanted >= STEAL_RATIO:
        yield Finding.of(
            kind="steal_now",
            workload=None,
            text="this host's own hypervisor gives its CPUs to others while they want to run",
            evidence=f"steal is {stolen / wanted:.1%} of what its CPUs wanted within the window (/proc/stat)",
            remedy="vmstat 1 10 (column st), for whoever runs the hypervisor: this host needs CPUs that are less shared",
        )
