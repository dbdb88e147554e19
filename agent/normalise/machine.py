"""The physical model from sysfs' CPU and node directories and /proc/cpuinfo.

What belongs together is said by sibling sets, never by ids alone: core_id repeats in every package, physical_package_id is -1 on
s390 and on POWER and SPARC partitions, cache ids repeat on hybrid machines. Sets are cut to the CPUs that are online, because
the kernel leaves offline CPUs in some of them. A level that says nothing is dropped: a die that is its whole package or one core;
a cluster that is a core, an L2, a die or a package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from msgspec.structs import replace

from agent.model.physical import Cache, Core, CpuKind, Cpus, Group, HugePages, Memory, Node, Package, Physical
from agent.model.values import CpuSet
from agent.sample import Sample
from collectors import sys_node
from collectors.sys_cpu import CpuTopology


def physical(sample: Sample) -> Physical:
    cpus = _cpus(sample)
    online = cpus.online
    topology = {entry.cpu: entry for entry in (sample.cpus.topology if sample.cpus else ()) if entry.cpu in online}
    packages = _packages(sample, topology, online)
    where = {cpu: index for index, package in enumerate(packages) for cpu in package.cpus}
    cores = _cores(sample, topology, online, packages, where)
    caches = _caches(sample, online, cores)
    dies = _dies(topology, online, packages, cores, where)
    nodes = _nodes(sample, online)
    memory = _memory(sample, nodes)
    return Physical(
        cpus=cpus,
        memory=memory,
        architecture=_architecture(online, memory),
        packages=tuple(_with_dies(package, dies) for package in packages),
        dies=dies,
        clusters=_clusters(topology, online, packages, dies, cores, caches, where),
        cores=cores,
        caches=caches,
        nodes=nodes,
        cpu_kinds=_kinds(sample, online),
    )


def _architecture(online: CpuSet, memory: Memory) -> Literal["uniprocessor", "smp", "numa"] | None:
    if memory.architecture == "numa":
        return "numa"
    if len(online) > 1:
        return "smp" if memory.architecture == "uma" else None
    return "uniprocessor" if online else None


def _cpus(sample: Sample) -> Cpus:
    seen = sample.cpus
    online = seen.online if seen and seen.online is not None else None
    if not online:
        # No sysfs: the CPUs that have a block in cpuinfo, or a line in stat, are online.
        online = CpuSet(processor.cpu for processor in sample.cpuinfo.processors) if sample.cpuinfo else CpuSet()
        online = online or (CpuSet(time.cpu for time in sample.stat.cpus) if sample.stat else CpuSet())
    if seen is None:
        return Cpus(online)
    return Cpus(
        online,
        seen.possible,
        seen.present,
        None if seen.present is None else seen.present - online,
        seen.isolated,
        seen.nohz_full,
    )


def partition(cpus: Iterable[int], mates: Callable[[int], CpuSet | None]) -> list[CpuSet]:
    """Disjoint groups that cover `cpus`, by the set each CPU says it is in; where two disagree, the lower number's word holds.

    A CPU that says nothing is where another one says it is, else alone.
    """
    left = CpuSet(cpus)
    said = {cpu: mates(cpu) for cpu in left}
    groups = []
    for cpu in sorted(said, key=lambda cpu: said[cpu] is None):
        if cpu in left:
            group = ((said[cpu] or CpuSet()) | CpuSet((cpu,))) & left
            groups.append(group)
            left = left - group
    return sorted(groups, key=lambda group: next(iter(group)))


def _known(number: int | None) -> int | None:
    """The kernel prints -1 for an id that it does not know."""
    return None if number is None or number < 0 else number


def _packages(sample: Sample, topology: dict[int, CpuTopology], online: CpuSet) -> list[Package]:
    processors = {processor.cpu: processor for processor in sample.cpuinfo.processors} if sample.cpuinfo else {}

    def mates(cpu: int) -> CpuSet | None:
        entry, processor = topology.get(cpu), processors.get(cpu)
        if entry is not None and entry.package_cpus:
            return entry.package_cpus
        if entry is not None and _known(entry.package_id) is not None:
            return CpuSet(other for other, its in topology.items() if its.package_id == entry.package_id)
        if processor is not None and processor.package_id is not None:
            return CpuSet(other for other, its in processors.items() if its.package_id == processor.package_id)
        return None

    groups = partition(online, mates)
    if not any(mates(cpu) for cpu in online):
        # Nothing says how many sockets there are: one, until somebody does.
        groups = [online] if online else []
    packages = []
    for group in groups:
        first = next(iter(group))
        entry = next((topology[cpu] for cpu in group if cpu in topology and topology[cpu].package_id is not None), None)
        processor = processors.get(first)
        instruction = sample.instruction if processor is None or processor.model_name is None else None
        packages.append(
            Package(
                group,
                os_index=_known(entry.package_id) if entry else processor.package_id if processor else None,
                vendor=(processor.vendor if processor else None) or (instruction.vendor if instruction else None),
                model_name=(processor.model_name if processor else None) or (instruction.brand if instruction else None),
                family=processor.family if processor else str(instruction.family) if instruction else None,
                model=processor.model if processor else str(instruction.model) if instruction else None,
                stepping=processor.stepping if processor else str(instruction.stepping) if instruction else None,
                microcode=processor.microcode if processor else None,
                # The instruction ran on one CPU of the host, not on this package's.
                identity_origin="inferred" if instruction else None,
            )
        )
    return packages


def _cores(
    sample: Sample, topology: dict[int, CpuTopology], online: CpuSet, packages: list[Package], package_of: dict[int, int]
) -> tuple[Core, ...]:
    first = sample.cpuinfo.processors[0] if sample.cpuinfo and sample.cpuinfo.processors else None
    # AMD's families 15h and 16h name the two cores of a module as siblings, with a core_id each.
    modules = first is not None and first.vendor == "AuthenticAMD" and first.family in ("21", "22")
    stated = _stated_cores(sample) if not topology else {}

    def mates(cpu: int) -> CpuSet | None:
        entry = topology.get(cpu)
        if entry is None and cpu in stated:
            return stated[cpu]
        if entry is None or not entry.core_cpus or (modules and _known(entry.core_id) is None):
            return None
        # A core is in one package, whatever a broken table says of it.
        siblings = entry.core_cpus & packages[package_of[cpu]].cpus
        if modules:
            return CpuSet(other for other in siblings if other in topology and topology[other].core_id == entry.core_id)
        if entry.core_id == entry.package_id == -1 and siblings == online:
            # RISC-V, before its topology is known: every id is -1 and every CPU a sibling of every other.
            return CpuSet((cpu,))
        return siblings

    cores = []
    for group in partition(online, mates):
        numbers = (topology[cpu].core_id for cpu in group if cpu in topology)
        number = next((number for number in numbers if number is not None), None)
        cores.append(Core(group, package_of[next(iter(group))], _known(number)))
    return tuple(cores)


def _stated_cores(sample: Sample) -> dict[int, CpuSet]:
    """Cores by cpuinfo alone, where its core ids are as many as the cores that it counts: some kernels begin anew in each die."""
    cores: dict[int, dict[int, list[int]]] = {}
    counts: dict[int, set[int | None]] = {}
    for processor in sample.cpuinfo.processors if sample.cpuinfo else ():
        if processor.package_id is not None and processor.core_id is not None:
            cores.setdefault(processor.package_id, {}).setdefault(processor.core_id, []).append(processor.cpu)
            counts.setdefault(processor.package_id, set()).add(processor.package_cores)
    trusted = [mates for package, its in cores.items() if counts[package] == {len(its)} for mates in its.values()]
    return {cpu: CpuSet(mates) for mates in trusted for cpu in mates}


def _dies(
    topology: dict[int, CpuTopology], online: CpuSet, packages: list[Package], cores: tuple[Core, ...], package_of: dict[int, int]
) -> tuple[Group, ...]:
    trivial = {package.cpus for package in packages} | {core.cpus for core in cores}
    sets = {(entry.die_cpus & online) for entry in topology.values() if entry.die_cpus and _known(entry.die_id) is not None}
    return _groups(sets - trivial, package_of, lambda cpu: topology[cpu].die_id if cpu in topology else None)


def _clusters(
    topology: dict[int, CpuTopology],
    online: CpuSet,
    packages: list[Package],
    dies: tuple[Group, ...],
    cores: tuple[Core, ...],
    caches: tuple[Cache, ...],
    package_of: dict[int, int],
) -> tuple[Group, ...]:
    trivial = {entry.cpus for level in (packages, dies, cores) for entry in level} | {cache.cpus for cache in caches if cache.level == 2}
    sets = {(entry.cluster_cpus & online) for entry in topology.values() if entry.cluster_cpus and _known(entry.cluster_id) is not None}
    return _groups(sets - trivial, package_of, lambda cpu: topology[cpu].cluster_id if cpu in topology else None)


def _groups(sets: set[CpuSet], package_of: dict[int, int], number: Callable[[int], int | None]) -> tuple[Group, ...]:
    found = []
    for cpus in sorted(sets, key=lambda cpus: next(iter(cpus), 0)):
        if cpus:
            lead = next(iter(cpus))
            found.append(Group(cpus, package_of[lead], number(lead)))
    return tuple(found)


def _with_dies(package: Package, dies: tuple[Group, ...]) -> Package:
    inside = tuple(die.cpus for die in dies if die.cpus <= package.cpus)
    return replace(package, dies=inside) if inside else package


def _caches(sample: Sample, online: CpuSet, cores: tuple[Core, ...]) -> tuple[Cache, ...]:
    core_of = {cpu: core.cpus for core in cores for cpu in core.cpus}
    seen = [cache for cache in (sample.cpus.caches if sample.cpus else ()) if cache.cpu in online]
    # Where the kernel names no CPU for any cache of a kind (ia64, old virtual machines), a core's own is the least that is true.
    named = {(cache.level, cache.type) for cache in seen if cache.shared}
    found: dict[tuple[int, str, CpuSet], Cache] = {}
    for cache in seen:
        shared = None if cache.shared is None else cache.shared & online
        if not shared and (cache.level, cache.type) in named:
            continue
        cpus = shared or core_of[cache.cpu]
        found.setdefault(
            (cache.level, cache.type, cpus),
            Cache(
                cache.level,
                cache.type,
                cpus,
                cache.size_bytes,
                cache.line_bytes,
                # 0 and -1 both mean fully associative, or not known: no number of ways.
                cache.ways if cache.ways and cache.ways > 0 else None,
                cache.sets,
                cache.id,
                None if shared else "inferred",
            ),
        )
    return tuple(sorted(found.values(), key=lambda cache: (cache.level, cache.type, next(iter(cache.cpus)))))


def _nodes(sample: Sample, online: CpuSet) -> tuple[Node, ...]:
    pools: dict[int | None, list[HugePages]] = {}
    for pool in sample.pools or ():
        pools.setdefault(pool.node, []).append(HugePages(pool.page_bytes, pool.total, pool.free))
    meminfo = sample.memory.meminfo_bytes if sample.memory else {}
    if sample.nodes is None:
        return ()
    if not sample.nodes.nodes:
        if (not online and not meminfo) or _has_nodes(sample):
            return ()
        # A kernel without NUMA shows no node: all its memory is one.
        only = Node(0, online, meminfo.get("MemTotal"), meminfo.get("MemFree"), origin="synthesised")
        return (only,)
    columns = _columns(sample.nodes)
    return tuple(
        Node(
            node.os_index,
            None if node.cpus is None else node.cpus & online,
            node.memory_bytes,
            node.free_bytes,
            **_kind(node),
            distances=dict(zip(columns, node.distances, strict=True)) if len(columns) == len(node.distances) else {},
            hugepages=tuple(pools.get(node.os_index, ())),
            numastat=node.numastat,
        )
        for node in sample.nodes.nodes
    )


def _has_nodes(sample: Sample) -> bool:
    """A kernel with NUMA counts by node (mm/vmstat.c), and names nodes in zoneinfo: without sysfs, how many there are is not known."""
    memory = sample.memory
    return memory is not None and ("numa_hit" in memory.vmstat or any(zone.node > 0 for zone in memory.zones))


def _kind(node: sys_node.Node) -> dict[str, Any]:
    """CPUs sit next to ordinary memory; what memory without CPUs is, this depth does not ask."""
    if node.cpus is None or node.memory_bytes is None:
        return {}
    return {"kind": "dram", "kind_origin": "inferred"} if node.cpus and node.memory_bytes else {"kind": "unknown"}


def _columns(nodes: sys_node.Nodes) -> tuple[int, ...]:
    """The node numbers that the columns of `distance` stand for: the online nodes, ascending."""
    return tuple(nodes.online) if nodes.online else tuple(node.os_index for node in nodes.nodes)


def _memory(sample: Sample, nodes: tuple[Node, ...]) -> Memory:
    meminfo = sample.memory.meminfo_bytes if sample.memory else {}
    total = meminfo.get("MemTotal")
    # Nodes whose memory is not stated count: a tree without their meminfo has them all the same.
    with_memory = [node for node in nodes if node.memory_bytes != 0]
    return Memory("numa" if len(with_memory) > 1 else "uma" if with_memory else None, total)


def _kinds(sample: Sample, online: CpuSet) -> tuple[CpuKind, ...]:
    """Groups of CPUs by what names them best on all CPUs: the part (MIDR), a hybrid Intel's core type, the capacity; fastest first."""
    if sample.cpus is None:
        return ()
    speeds = {speed.cpu: speed for speed in sample.cpus.speeds if speed.cpu in online}
    types = {cpu: name for name, cpus in sample.cpus.kinds.items() for cpu in cpus & online}
    names: tuple[dict[int, int | str | None], ...] = (
        {cpu: speed.midr for cpu, speed in speeds.items() if speed.midr is not None},
        dict(types),
        {cpu: speed.capacity for cpu, speed in speeds.items() if speed.capacity is not None},
    )
    named = next((by for by in names if len(by) == len(online)), {})
    groups: dict[int | str | None, list[int]] = {}
    for cpu in online:
        groups.setdefault(named.get(cpu), []).append(cpu)
    if len(groups) < 2:
        return ()
    kinds = []
    for members in groups.values():
        known = [speeds[cpu] for cpu in members if cpu in speeds]
        kinds.append(
            CpuKind(
                CpuSet(members),
                types.get(members[0]),
                max((speed.capacity for speed in known if speed.capacity is not None), default=None),
                max((speed.max_freq_hz for speed in known if speed.max_freq_hz is not None), default=None),
                max((speed.base_freq_hz for speed in known if speed.base_freq_hz is not None), default=None),
                speeds[members[0]].midr if members[0] in speeds else None,
            )
        )
    return tuple(sorted(kinds, key=lambda kind: (-(kind.capacity or 0), -(kind.max_freq_hz or 0), next(iter(kind.cpus)))))
