"""Scheduling domains: as the kernel lists them, else what kernel/sched/topology.c makes of the same topology.

A level groups CPUs. From the smallest level up, a CPU's domain is its group, restricted to the CPUs that are balanced together. A
domain of a single CPU, or one that equals the level below, would balance nothing and is dropped. Derived domains are marked as
inferred, and none are derived where an input is not known for every CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.logical import SchedulingDomain
from agent.model.physical import Node
from agent.model.values import CpuSet
from collectors.proc_schedstat import Chain
from collectors.sys_cpu import CpuTopology

# The architectures that use arch/x86/kernel/smpboot.c and drivers/base/arch_topology.c; others have code of their own.
_X86, _GENERIC = "x86_64", ("aarch64", "riscv64")

Groups = Mapping[int, CpuSet]


class DerivedDomain(NamedTuple):
    name: str
    cpus: CpuSet


def scheduling_domains(
    sample: Sample, online: CpuSet, nodes: tuple[Node, ...], balanced: tuple[CpuSet, ...] | None
) -> tuple[SchedulingDomain, ...]:
    """`balanced`: sets of CPUs that are balanced apart from each other; None where that is not known."""
    if sample.host.schedstat is None or sample.host.schedstat.version is None:
        derived = derive(sample, online, nodes, balanced)
        return _ordered(
            SchedulingDomain(cpus=domain.cpus, name=domain.name, members=CpuSet((cpu,)), origin="inferred")
            for cpu, chain in derived.items()
            for domain in chain
        )
    chains = [_named(sample, chain) for chain in sample.host.schedstat.chains]
    if any(domain.name is None for chain in chains for domain in chain):
        derived = derive(sample, online, nodes, balanced)
        chains = [[_guessed(domain, derived) for domain in chain] for chain in chains]
    return _ordered(domain for chain in chains for domain in chain)


def _named(sample: Sample, chain: Chain) -> list[SchedulingDomain]:
    """Before version 17 the list has sets and no names: debugfs has them, for one CPU of each chain."""
    head = next(iter(chain.cpus))
    debug = [entry for entry in (sample.host.sched_debug.domains if sample.host.sched_debug else ()) if entry.cpu == head]
    if len(debug) != len(chain.domains):
        return [SchedulingDomain(cpus=domain.cpus, name=domain.name, members=chain.cpus) for domain in chain.domains]
    return [
        SchedulingDomain(cpus=domain.cpus, name=domain.name or entry.name, members=chain.cpus, flags=entry.flags)
        for domain, entry in zip(chain.domains, debug, strict=True)
    ]


def _guessed(domain: SchedulingDomain, derived: Mapping[int, tuple[DerivedDomain, ...]]) -> SchedulingDomain:
    """A domain without a name gets that of the derived level that spans the same CPUs."""
    chain = derived.get(next(iter(domain.members or ()), -1), ())
    name = next((level.name for level in chain if level.cpus == domain.cpus), None)
    return domain if domain.name or not name else replace(domain, name=name, name_origin="inferred")


def _ordered(domains: Iterable[SchedulingDomain]) -> tuple[SchedulingDomain, ...]:
    """Merges equal domains and their members; the smallest come first."""
    merged: dict[tuple[str | None, CpuSet], SchedulingDomain] = {}
    members: dict[tuple[str | None, CpuSet], CpuSet] = {}
    for domain in domains:
        key = (domain.name, domain.cpus)
        merged.setdefault(key, domain)
        members[key] = members.get(key, CpuSet()) | (domain.members or CpuSet())
    distinct = [replace(domain, members=None if members[key] == domain.cpus else members[key]) for key, domain in merged.items()]
    return tuple(sorted(distinct, key=lambda domain: (len(domain.cpus), next(iter(domain.cpus), 0))))


def derive(
    sample: Sample, online: CpuSet, nodes: tuple[Node, ...], balanced: tuple[CpuSet, ...] | None
) -> dict[int, tuple[DerivedDomain, ...]]:
    """The domains of each CPU, from the smallest up; empty where an input is not known."""
    topology = {entry.cpu: entry for entry in (sample.statics.cpus.topology if sample.statics.cpus else ()) if entry.cpu in online}
    by_node = _node_groups(online, nodes)
    if balanced is None or by_node is None or len(topology) != len(online):
        return {}
    levels = _levels(sample, online, topology, by_node)
    if levels is None or not all(_partition(groups, online) for _, groups in levels):
        return {}
    far = _far(nodes, by_node)
    if far is None:
        return {}
    chains = {}
    for among in balanced:
        for cpu in among & online:
            chain = [DerivedDomain(name, groups[cpu]) for name, groups in levels]
            chains[cpu] = _cut((*chain, *far[by_node[cpu]]), among & online)
    return chains


def _cut(chain: Iterable[DerivedDomain], among: CpuSet) -> tuple[DerivedDomain, ...]:
    """build_sched_domains(): each level includes the level below it, and the first that spans all of `among` is the last."""
    kept: list[DerivedDomain] = []
    below = CpuSet()
    for name, cpus in chain:
        span = (cpus & among) | below
        if len(span) > 1 and span != below:
            kept.append(DerivedDomain(name, span))
        below = span
        if span == among:
            break
    return tuple(kept)


def _partition(groups: Groups, online: CpuSet) -> bool:
    """topology_span_sane(): groups of a level that overlap must be equal, or no domain is built."""
    distinct = set(groups.values())
    return sum(map(len, distinct)) == len(online) and all(cpu in groups[cpu] for cpu in online)


def _levels(sample: Sample, online: CpuSet, topology: Mapping[int, CpuTopology], by_node: Groups) -> list[tuple[str, Groups]] | None:
    """The levels that the kernel was built with, of SMT, CLS, MC and PKG (DIE before Linux 6.7); None where an input is not known."""
    architecture = sample.host.kernel.architecture if sample.host.kernel else None
    if architecture is None and sample.statics.cpuinfo and "lm" in sample.statics.cpuinfo.flags:
        architecture = _X86
    cores = {cpu: entry.core_cpus & online for cpu, entry in topology.items() if entry.core_cpus}
    packages = {cpu: entry.package_cpus & online for cpu, entry in topology.items() if entry.package_cpus}
    clusters = {cpu: entry.cluster_cpus & online for cpu, entry in topology.items() if entry.cluster_cpus}
    caches = _last_caches(sample, online)
    if len(cores) != len(online) or len(packages) != len(online) or len(clusters) not in (0, len(online)):
        return None
    if architecture == _X86 and len(caches) == len(online):
        # topology_sane(): the kernel ignores sharing across nodes.
        shared: Groups = {cpu: caches[cpu] & by_node[cpu] for cpu in online}
        # Where a package holds several nodes, there is no package level.
        has_package_level = not any(len({by_node[mate] for mate in package}) > 1 for package in set(packages.values()))
    elif architecture in _GENERIC and len(caches) in (0, len(online)):
        shared = {cpu: _smallest(by_node[cpu], packages[cpu], caches.get(cpu), clusters.get(cpu)) for cpu in online}
        clusters = {cpu: cores[cpu] if shared[cpu] <= cluster else cluster for cpu, cluster in clusters.items()}
        has_package_level = True
    else:
        return None
    options = sample.statics.kernel_config.options if sample.statics.kernel_config else None
    levels: list[tuple[str, Groups, str]] = [
        ("SMT", cores, "CONFIG_SCHED_SMT"),
        ("CLS", clusters, "CONFIG_SCHED_CLUSTER"),
        ("MC", shared, "CONFIG_SCHED_MC"),
    ]
    built = [(name, groups) for name, groups, option in levels if groups and (options is None or option in options)]
    return [*built, ("PKG", by_node)] if has_package_level else built


def _smallest(node: CpuSet, package: CpuSet, cache: CpuSet | None, cluster: CpuSet | None) -> CpuSet:
    """cpu_coregroup_mask(): the smallest of node, package and last-level cache, or the cluster that holds it."""
    smallest = node
    for inner in (package, cache):
        if inner is not None and inner <= smallest:
            smallest = inner
    return cluster if cluster is not None and smallest <= cluster else smallest


def _last_caches(sample: Sample, online: CpuSet) -> dict[int, CpuSet]:
    """The CPUs that share each CPU's last-level cache: that of level 3, or the highest below it."""
    highest: dict[int, tuple[int, CpuSet]] = {}
    for cache in sample.statics.cpus.caches if sample.statics.cpus else ():
        if cache.shared is not None and cache.level <= 3 and cache.type != "Instruction":
            cpus = cache.shared & online
            for cpu in cpus:
                if cache.level > highest.get(cpu, (0, cpus))[0]:
                    highest[cpu] = (cache.level, cpus)
    return {cpu: cpus for cpu, (_, cpus) in highest.items()}


def _node_groups(online: CpuSet, nodes: tuple[Node, ...]) -> Groups | None:
    """The CPUs of each CPU's node; None unless every CPU is in exactly one node."""
    groups: dict[int, CpuSet] = {}
    for node in nodes:
        if node.cpus is None or any(cpu in groups for cpu in node.cpus):
            return None
        groups |= dict.fromkeys(node.cpus, node.cpus)
    return groups if len(groups) == len(online) else None


def _far(nodes: tuple[Node, ...], by_node: Groups) -> dict[CpuSet, tuple[DerivedDomain, ...]] | None:
    """sched_init_numa(): for each distance between nodes with CPUs, a level of the nodes within it. The least distance is named NODE."""
    with_cpus = [node for node in nodes if node.cpus]
    if len(with_cpus) < 2:
        return {node.cpus or CpuSet(): () for node in with_cpus}
    if not all(peer.os_index in node.distances for node in with_cpus for peer in with_cpus):
        return None
    least = min(node.distances[peer.os_index] for node in with_cpus for peer in with_cpus)
    chains: dict[CpuSet, tuple[DerivedDomain, ...]] = {}
    for node in with_cpus:
        within, chain = CpuSet(), []
        # At a distance that this node does not have, its set does not grow, and the kernel would drop such a domain.
        for distance in sorted({node.distances[peer.os_index] for peer in with_cpus} | {least}):
            at_distance = [peer.cpus for peer in with_cpus if node.distances[peer.os_index] == distance and peer.cpus]
            within = CpuSet.of_mask(within.mask | sum({cpus.mask for cpus in at_distance}))
            chain.append(DerivedDomain("NODE" if distance == least else "NUMA", within))
        chains[node.cpus or CpuSet()] = tuple(chain)
    return chains
