"""What each change of a workload alters in the model of it: its configuration, and who else is there. What follows is somebody else's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from agent.model.change import Change, MemoryEffect
from agent.model.facts.proc_task import Thread
from agent.model.host import Host
from agent.model.runtimes import Paradigm
from agent.model.values import CpuSet, Limit
from agent.model.workload import Workload
from agent.overhead import paradigms
from agent.overhead.memory_limit import limited_memory

DEFAULT_PERIOD_USEC = 100_000
"""Of a group that never had a quota (kernel/sched/fair.c, default_cfs_period())."""
CPU_CHANGES = ("pin", "cpus", "weight", "without", "move_to")
"""Those that alter who runs when: fields of `Change`."""


class Case(Struct, kw_only=True):
    """A workload on a host as it would be: `gone` are the workloads that leave. `assumed` and `caveats` are the answer's."""

    host: Host
    workload: Workload
    gone: tuple[Workload, ...] = ()
    memory: MemoryEffect | None = None
    assumed: list[str]
    caveats: list[str]


def altered(host: Host, workload: Workload, change: Change) -> Case:
    """The workload under the change. What is so already stays the same object, in whatever order changes are made.

    Raises ValueError for what this host cannot do, or what contradicts itself.
    """
    case = Case(host=host, workload=workload, assumed=[], caveats=[])
    if change.paradigm is not None and change.paradigm != workload.paradigm:
        _becomes(case, change.paradigm)
    pin, node = _places(host, change)
    if pin is not None:
        _pinned(case, pin)
    if change.cpus is not None:
        _limited(case, change.cpus)
    if change.weight is not None:
        _weighed(case, change.weight)
    if change.hugepages:
        _huge(case)
    if node is not None:
        _bound(case, node)
    if change.memory is not None:
        case.memory = limited_memory(host, case.workload, change.memory)
        if case.memory is not None:
            case.workload = replace(case.workload, memory=replace(case.workload.memory, max_bytes=change.memory))
    case.gone = _gone(host.workloads, workload, change.without)
    if not has_own_group(workload) and (change.cpus is not None or change.weight is not None):
        case.caveats.append("it has no control group of its own: as if it had one of the default weight, beside those of the others")
    return case


def has_own_group(workload: Workload) -> bool:
    """Whether the files of its control group are its own: a sandbox is in that of its process, or of a session."""
    cpu = workload.cpu
    return cpu.quota_usec is not None or cpu.weight is not None or cpu.shares is not None or cpu.usage_usec is not None


def _places(host: Host, change: Change) -> tuple[CpuSet | None, int | None]:
    """CPUs and node of a change; a move to a node names both."""
    if change.move_to is None:
        return change.pin, change.node
    if change.pin is not None or change.node is not None:
        raise ValueError("a move to a node names its CPUs and its memory: leave --pin and --node out")
    nodes = {node.os_index: node for node in host.physical.nodes}
    node = nodes.get(change.move_to)
    if node is None:
        raise ValueError(f"node {change.move_to}: not there; there are {CpuSet(nodes) if nodes else 'none'}")
    cpus = (node.cpus or CpuSet()) & host.physical.cpus.online
    if not cpus:
        raise ValueError(f"node {change.move_to}: no CPU of it is online; --node {change.move_to} moves the memory alone")
    return cpus, change.move_to


def _gone(workloads: Sequence[Workload], workload: Workload, ids: Sequence[str]) -> tuple[Workload, ...]:
    by_id = {other.id: other for other in workloads}
    leaving = []
    for name in dict.fromkeys(ids):
        other = by_id.get(name)
        if name == workload.id:
            raise ValueError(f"{workload.name}: it cannot leave itself; --without names a neighbour")
        if other is None:
            raise ValueError(f"{name}: no such workload")
        if name in _around(workload, by_id):
            raise ValueError(f"{other.name}: {workload.name} runs in it, and would leave with it; --without names a neighbour")
        if workload.id in _around(other, by_id):
            raise ValueError(f"{other.name}: it is a part of {workload.name}; --without names a neighbour")
        leaving.append(other)
    return tuple(leaving)


def _around(workload: Workload, by_id: dict[str, Workload]) -> set[str]:
    """The workloads that it runs in."""
    outer: set[str] = set()
    parent = workload.parent
    while parent is not None and parent not in outer:
        outer.add(parent)
        parent = by_id[parent].parent if parent in by_id else None
    return outer


def _becomes(case: Case, paradigm: Paradigm) -> None:
    case.workload, assumed = paradigms.become(case.workload, paradigm)
    case.assumed += [*assumed, "its threads ask for as much CPU time as now"]
    case.caveats.append("device input and output, and what the application itself does differently there")
    if paradigm == "virtualization":
        case.caveats.append("exits of its vCPUs, and how its guest would schedule and boot")


def _pinned(case: Case, cpus: CpuSet) -> None:
    workload, physical = case.workload, case.host.physical
    if not cpus or not cpus <= physical.cpus.online:
        raise ValueError(f"CPUs {cpus - physical.cpus.online or 'none'}: not online here")
    if cpus == workload.placement.allowed_cpus:
        return
    nodes = [node.os_index for node in physical.nodes if node.cpus and node.cpus & cpus]
    last = workload.placement.last_cpus
    placement = replace(
        workload.placement,
        allowed_cpus=cpus,
        nodes_spanned=CpuSet(nodes) if all(node.cpus is not None for node in physical.nodes) and nodes else None,
        last_cpus=last if last and last <= cpus else cpus,
    )
    first = next(iter(cpus))

    def moved(thread: Thread) -> Thread:
        """On a CPU of its new node; on several nodes nobody knows which."""
        stays = thread.last_cpu is not None and thread.last_cpu in cpus
        return replace(thread, allowed_cpus=cpus, last_cpu=thread.last_cpu if stays else first if len(nodes) == 1 else None)

    case.workload = replace(
        workload,
        placement=placement,
        threads=tuple(moved(thread) for thread in workload.threads),
        vcpus=tuple(replace(vcpu, affinity=cpus, pinned=True, thread=vcpu.thread and moved(vcpu.thread)) for vcpu in workload.vcpus),
    )


def _limited(case: Case, cpus: Limit) -> None:
    workload = case.workload
    if not cpus > 0:
        raise ValueError(f"{cpus:g} CPUs: a quota is more than none")
    period = workload.cpu.period_usec or DEFAULT_PERIOD_USEC
    old = workload.cpu.quota_usec
    quota = Limit(cpus * period)
    if quota == (Limit(math.inf) if old is None else old):
        return
    above = workload.cpu.limit_cpus if workload.cpu.limited_by != workload.cgroup else None
    if above is not None and above < cpus:
        case.caveats.append(f"a group above allows {above:g} CPUs, which then binds")
    case.workload = replace(
        workload,
        cpu=replace(
            workload.cpu,
            quota_usec=quota,
            period_usec=period,
            limit_cpus=min(above, Limit(cpus)) if above is not None else Limit(cpus),
            limited_by=workload.cpu.limited_by if above is not None and above < cpus else workload.cgroup,
        ),
    )


def _weighed(case: Case, weight: int) -> None:
    if not 1 <= weight <= 10000:
        raise ValueError(f"weight {weight}: between 1 and 10000")
    cpu = case.workload.cpu
    # kernel/sched/core.c, cpu_weight_write_u64(): weight 100 is 1024 shares.
    shares = max(2, round(weight * 10.24))
    altered_cpu = replace(cpu, shares=shares) if cpu.shares is not None else replace(cpu, weight=weight)
    if altered_cpu != cpu:
        case.workload = replace(case.workload, cpu=altered_cpu)
        if case.workload.cgroup is not None and "/" in case.workload.cgroup.strip("/"):
            case.caveats.append("the groups around it divide CPUs among themselves first: their weights are not in the model")


def _huge(case: Case) -> None:
    memory = case.workload.memory
    stat = dict(memory.stat)
    for all_pages, huge in (("anon", "anon_thp"), ("total_rss", "total_rss_huge")):
        if huge in stat and all_pages in stat:
            stat[huge] = stat[all_pages] + stat.get("file_mapped" if all_pages == "anon" else "total_mapped_file", 0)
    case.workload = replace(
        case.workload,
        memory=replace(
            memory,
            stat=stat,
            backing_huge_bytes=None if memory.backing_huge_bytes is None else memory.backing_bytes,
            anon_huge_bytes=None if memory.anon_huge_bytes is None else memory.resident_bytes,
        ),
    )
    case.caveats.append("how often it walks page tables is not counted here: how much time cheaper walks save is not said")
    if case.workload.paradigm == "virtualization":
        case.caveats.append("the guest's own pages: huge ones below small ones shorten the host's half of a walk only")


def _bound(case: Case, number: int) -> None:
    placement = case.workload.placement
    nodes = {entry.os_index: entry for entry in case.host.physical.nodes}
    if number not in nodes:
        raise ValueError(f"node {number}: not there; there are {CpuSet(nodes) if nodes else 'none'}")
    if not placement.memory_by_node:
        case.caveats.append("on which nodes its memory lies is not known here")
        return
    held = sum(placement.memory_by_node.values())
    moving, free = held - placement.memory_by_node.get(number, 0), nodes[number].free_bytes
    if free is not None and moving > free:
        case.caveats.append(f"node {number} has {free >> 20} MiB free, and {moving >> 20} MiB would move there: the rest stays where it is")
    case.workload = replace(case.workload, placement=replace(placement, memory_by_node={number: held}))
