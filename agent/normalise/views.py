"""Views of one machine that disagree: /proc against /sys, lists against directories, nodes against the total, tasks against CPUs.

Behind lxcfs, gVisor or half of a /sys each file may be of another machine. Both sides stand in the detail; none is preferred in silence.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.collect.sample import Sample
from agent.model.physical import Contradiction, Node, Package
from agent.model.values import CpuSet, sum_if_known
from agent.model.workload import Workload
from collectors.sys_cpu import CPU, CpuTopology
from collectors.sys_node import NODE

_SLACK = 1.05
"""Old kernels count in a node what they keep for themselves, up to 3 % of it."""
_SHOWN = 4


def of_cpus(sample: Sample, topology: dict[int, CpuTopology], online: CpuSet, packages: tuple[Package, ...]) -> Iterator[Contradiction]:
    """CPUs that are online by one file and not by another, and what /proc and /sys call their packages."""
    shown, cpuinfo, stat = sample.statics.cpus, sample.statics.cpuinfo, sample.host.stat
    for path, listed in (
        ("/proc/cpuinfo", CpuSet(processor.cpu for processor in cpuinfo.processors) if cpuinfo else CpuSet()),
        ("/proc/stat", CpuSet(time.cpu for time in stat.cpus) if stat else CpuSet()),
    ):
        if listed and shown is not None and shown.online and listed != shown.online:
            differing = (listed | shown.online) - (listed & shown.online)
            yield Contradiction("online", differing, f"{shown.online} online in /{CPU}/online, {listed} in {path}")
    # Without any topology, /proc/cpuinfo places CPUs.
    placed = in_packages(packages) & (CpuSet(topology) or online)
    if placed != online:
        yield Contradiction("topology", online - placed, f"online, and without what {placed} have in /{CPU}/cpuN/topology")
    yield from _packages(sample, topology)


def _packages(sample: Sample, topology: dict[int, CpuTopology]) -> Iterator[Contradiction]:
    stated = {
        processor.cpu: processor.package_id
        for processor in (sample.statics.cpuinfo.processors if sample.statics.cpuinfo else ())
        if processor.package_id is not None
    }
    pairs = {
        cpu: (entry.package_id, stated[cpu])
        for cpu, entry in topology.items()
        if entry.package_id is not None and entry.package_id >= 0 and cpu in stated
    }
    differing = {cpu: pair for cpu, pair in pairs.items() if pair[0] != pair[1]}
    if differing:
        cpu, (shown, other) = next(iter(differing.items()))
        detail = f"CPU {cpu} is in package {shown} in /{CPU}/cpu{cpu}/topology/physical_package_id, in {other} in /proc/cpuinfo"
        yield Contradiction("package", CpuSet(differing), detail)


def in_packages(packages: tuple[Package, ...]) -> CpuSet:
    """The online CPUs whose place is known: all of them, but for those that show no topology and that no other CPU lists."""
    return CpuSet.union(package.cpus for package in packages)


def of_nodes(sample: Sample, online: CpuSet, nodes: tuple[Node, ...]) -> Iterator[Contradiction]:
    """Nodes that one file lists and another does not, CPUs that are in none, and nodes with more memory than there is."""
    shown = sample.host.nodes
    if shown is None or not shown.nodes:
        return
    directories = CpuSet(node.os_index for node in shown.nodes)
    if shown.online is not None and shown.online != directories:
        near = _near(nodes, directories - shown.online)
        yield Contradiction("node", near, f"nodes {shown.online} in /{NODE}/online, and directories of {directories}")
    beyond = CpuSet.union(node.cpus for node in shown.nodes if node.cpus) - online
    if beyond and online:
        yield Contradiction("node", beyond, f"in a node (/{NODE}/node*/cpulist), and {online} online in /{CPU}/online")
    outside = outside_nodes(online, nodes)
    if outside:
        yield Contradiction("node", outside, f"online in /{CPU}/online, and in no node (/{NODE}/node*/cpulist)")
    total = sample.host.memory.meminfo_bytes.get("MemTotal") if sample.host.memory else None
    summed = sum_if_known(node.memory_bytes for node in nodes)
    if total and summed is not None and summed > total * _SLACK:
        detail = f"nodes {directories} have {summed} bytes (/{NODE}/node*/meminfo), all of the machine {total} (MemTotal in /proc/meminfo)"
        yield Contradiction("memory", _near(nodes, directories), detail)


def nodes_disagree(sample: Sample, online: CpuSet, nodes: tuple[Node, ...]) -> bool:
    """Whether there may be other nodes than those with a directory: then it is not known that a machine has one memory."""
    shown = sample.host.nodes
    listed = shown.online if shown is not None and shown.nodes else None
    return (listed is not None and listed != CpuSet(node.os_index for node in nodes)) or bool(outside_nodes(online, nodes))


def outside_nodes(online: CpuSet, nodes: tuple[Node, ...]) -> CpuSet:
    """The online CPUs that are in no node; none where a node does not say which it has."""
    if not nodes or any(node.cpus is None for node in nodes):
        return CpuSet()
    return online - CpuSet.union(node.cpus for node in nodes if node.cpus)


def of_tasks(workloads: tuple[Workload, ...], online: CpuSet) -> Iterator[Contradiction]:
    """CPUs that tasks may use, or run on, though they are not online.

    Of a set that is online in part the rest is no contradiction: affinities keep CPUs that are offline.
    """
    elsewhere: dict[CpuSet, list[str]] = {}
    for workload in workloads:
        allowed = workload.placement.allowed_cpus
        beyond = allowed if allowed and not allowed & online else CpuSet()
        beyond |= CpuSet(thread.last_cpu for thread in workload.threads if thread.state == "R" and thread.last_cpu is not None) - online
        if beyond and not (workload.guest and workload.guest.elsewhere):
            elsewhere.setdefault(beyond, []).append(workload.name or workload.id)
    for cpus, names in elsewhere.items() if online else ():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        detail = f"tasks of {', '.join(names[:_SHOWN])}{more} may use or run on {cpus}, and {online} are online in /{CPU}/online"
        yield Contradiction("tasks", cpus, detail)


def _near(nodes: tuple[Node, ...], numbers: CpuSet) -> CpuSet:
    return CpuSet.union(node.cpus for node in nodes if node.cpus and node.os_index in numbers)
