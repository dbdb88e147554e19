"""Sample -> Physical: the machine, as far as the sources describe it.

CPUs are grouped by sibling sets, never by ids alone: core_id repeats in every package, physical_package_id is -1 on s390 and on
POWER and SPARC partitions, cache ids repeat on hybrid machines. Sets are restricted to online CPUs, because the kernel leaves
offline CPUs in some of them, and never to the CPUs that the agent itself may use.
"""

from __future__ import annotations

from typing import Literal

from agent.collect.sample import Sample
from agent.model.physical import Cpus, MainMemory, Physical, Restrictions
from agent.model.values import CpuSet
from agent.normalise import cores, cpu_caches, levels, nodes
from agent.normalise.channels import channels
from agent.normalise.contradictions import contradictions
from agent.normalise.memory_devices import memory_devices


def physical(sample: Sample) -> Physical:
    cpus = _cpus(sample)
    online = cpus.online
    topology = {entry.cpu: entry for entry in (sample.statics.cpus.topology if sample.statics.cpus else ()) if entry.cpu in online}
    packages = cores.packages(sample, topology, online)
    package_of = {cpu: index for index, package in enumerate(packages) for cpu in package.cpus}
    stated, topology = topology, {cpu: entry for cpu, entry in topology.items() if cpu in package_of}
    core_list = cores.cores(sample, topology, online, packages, package_of)
    caches = cpu_caches.caches(sample, online, core_list)
    dies = levels.dies(topology, online, packages, core_list, package_of)
    node_list = nodes.nodes(sample, online)
    memory = memory_devices(sample, nodes.memory(sample, online, node_list), node_list, packages)
    drawers, books = levels.assemblies(topology, online, packages)
    return Physical(
        cpus=cpus,
        memory=memory,
        architecture=_architecture(online, memory),
        packages=nodes.clustered(sample, levels.with_dies(packages, dies), node_list, caches),
        dies=dies,
        clusters=levels.clusters(topology, online, packages, dies, core_list, caches, package_of),
        books=books,
        drawers=drawers,
        cores=core_list,
        caches=caches,
        nodes=node_list,
        cpu_kinds=cores.kinds(sample, online),
        dax=sample.host.dax_devices or (),
        pmem=sample.host.persistent_regions or (),
        contradictions=contradictions(sample, stated, cpus, packages, caches, node_list),
        restrictions=None
        if sample.host.agent_allowed is None
        else Restrictions(sample.host.agent_allowed.cpus, sample.host.agent_allowed.nodes),
        channels=channels(sample, online, node_list, packages),
    )


def _architecture(online: CpuSet, memory: MainMemory) -> Literal["uniprocessor", "smp", "numa"] | None:
    if memory.architecture == "numa":
        return "numa"
    if len(online) > 1:
        return "smp" if memory.architecture == "uma" else None
    return "uniprocessor" if online else None


def _cpus(sample: Sample) -> Cpus:
    sysfs_cpus = sample.statics.cpus
    online = sysfs_cpus.online if sysfs_cpus and sysfs_cpus.online is not None else None
    if not online:
        # No sysfs: the CPUs that have a block in cpuinfo, or a line in stat, are online.
        online = CpuSet(processor.cpu for processor in sample.statics.cpuinfo.processors) if sample.statics.cpuinfo else CpuSet()
        online = online or (CpuSet(time.cpu for time in sample.host.stat.cpus) if sample.host.stat else CpuSet())
    if sysfs_cpus is None:
        return Cpus(online=online)
    return Cpus(
        online=online,
        possible=sysfs_cpus.possible,
        present=sysfs_cpus.present,
        offline=None if sysfs_cpus.present is None else sysfs_cpus.present - online,
        isolated=sysfs_cpus.isolated,
        nohz_full=sysfs_cpus.nohz_full,
    )
