"""Where the vCPUs of a machine would lie better: pins as commands, for the findings that say so."""

from __future__ import annotations

from collections.abc import Sequence

from agent.model.physical import Physical
from agent.model.remedies import name_of, pin_vcpus
from agent.model.values import CpuSet
from agent.model.workload import VCpu, Workload


def settled(workload: Workload, vcpus: Sequence[VCpu], hardware: Physical) -> str:
    """vCPUs that float, bound: to the node of most of their memory, where there are several, else each to a CPU."""
    nodes = _nodes(hardware)
    if len(nodes) > 1:
        return on_one_node(workload, vcpus, hardware)
    online = [*hardware.cpus.online]
    return pin_vcpus(workload, {vcpu.number: CpuSet((online[vcpu.number % len(online)],)) for vcpu in vcpus})


def on_one_node(workload: Workload, vcpus: Sequence[VCpu], hardware: Physical) -> str:
    """All of them bound to the CPUs of the node that has most of its memory; without such, of the node with most CPUs."""
    nodes, memory = _nodes(hardware), workload.placement.memory_by_node
    node = max(nodes, key=lambda number: (memory.get(number, 0), len(nodes[number]), -number), default=None)
    if node is None:
        return one_each(workload, vcpus, hardware.cpus.online)
    return pin_vcpus(workload, dict.fromkeys([vcpu.number for vcpu in vcpus], nodes[node]))


def on_cores(workload: Workload, vcpus: Sequence[VCpu], hardware: Physical, threads: int = 1) -> str:
    """So many vCPUs, the threads of a guest's core, bound to each core of the host. Where there are not as many cores, the guest is to be
    told of threads."""
    cores = [core.cpus & hardware.cpus.online for core in hardware.cores]
    cores = [cpus for cpus in cores if cpus]
    if max(vcpu.number for vcpu in vcpus) // threads >= len(cores):
        return f"virsh edit {name_of(workload)} # <topology ... threads='2'/> in <cpu>"
    pins = {}
    for vcpu in vcpus:
        cpus = [*cores[vcpu.number // threads]]
        pins[vcpu.number] = CpuSet((cpus[vcpu.number % threads % len(cpus)],))
    return pin_vcpus(workload, pins)


def one_each(workload: Workload, vcpus: Sequence[VCpu], cpus: CpuSet) -> str:
    """Each bound to one of these CPUs, in turn."""
    listed = [*cpus]
    return pin_vcpus(workload, {vcpu.number: CpuSet((listed[place % len(listed)],)) for place, vcpu in enumerate(vcpus)})


def _nodes(hardware: Physical) -> dict[int, CpuSet]:
    return {node.os_index: cpus for node in hardware.nodes if node.cpus and (cpus := node.cpus & hardware.cpus.online)}
