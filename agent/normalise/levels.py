"""Dies, clusters, books and drawers: the levels between threads and the machine that some machines have.

These are dropped, as in hwloc (hwloc/topology-linux.c, look_sysfscpu; "merging" in its documentation of I/O and groups):
- a die whose number the kernel does not know (ARM and RISC-V: -1, each CPU its own die);
- a die that is its whole package, or one core;
- a cluster that is a core, a cache of any level, a die or a package;
- a book that is one package; a drawer that is one book or one package.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from agent.model.physical import Assembly, Cache, Core, CpuGroup, Package
from agent.model.values import CpuSet
from agent.normalise.cores import id_or_none, partition
from collectors.sys_cpu import CpuTopology


def dies(
    topology: dict[int, CpuTopology], online: CpuSet, packages: tuple[Package, ...], cores: tuple[Core, ...], package_of: dict[int, int]
) -> tuple[CpuGroup, ...]:
    """The dies that are neither a whole package nor one core."""
    trivial = {package.cpus for package in packages} | {core.cpus for core in cores}
    die_cpus = {cpu: entry.die_cpus for cpu, entry in topology.items() if entry.die_cpus and id_or_none(entry.die_id) is not None}
    return _groups(
        _apart(die_cpus, online, packages, package_of) - trivial, package_of, lambda cpu: topology[cpu].die_id if cpu in topology else None
    )


def clusters(
    topology: dict[int, CpuTopology],
    online: CpuSet,
    packages: tuple[Package, ...],
    dies: tuple[CpuGroup, ...],
    cores: tuple[Core, ...],
    caches: tuple[Cache, ...],
    package_of: dict[int, int],
) -> tuple[CpuGroup, ...]:
    """The clusters that are not also a core, a cache, a die or a package."""
    trivial = {entry.cpus for level in (packages, dies, cores) for entry in level}
    trivial |= {cache.cpus for cache in caches}
    cluster_cpus = {
        cpu: entry.cluster_cpus for cpu, entry in topology.items() if entry.cluster_cpus and id_or_none(entry.cluster_id) is not None
    }
    return _groups(
        _apart(cluster_cpus, online, packages, package_of) - trivial,
        package_of,
        lambda cpu: topology[cpu].cluster_id if cpu in topology else None,
    )


def assemblies(
    topology: dict[int, CpuTopology], online: CpuSet, packages: tuple[Package, ...]
) -> tuple[tuple[Assembly, ...], tuple[Assembly, ...]]:
    """Drawers and books."""
    trivial = {package.cpus for package in packages}
    books = {entry.book_cpus & online: entry.book_id for entry in topology.values() if entry.book_cpus}
    drawers = {entry.drawer_cpus & online: entry.drawer_id for entry in topology.values() if entry.drawer_cpus}
    return _assembled(drawers, trivial | books.keys()), _assembled(books, trivial)


def _assembled(sets: dict[CpuSet, int | None], trivial: set[CpuSet]) -> tuple[Assembly, ...]:
    built = [Assembly(cpus, id_or_none(number)) for cpus, number in sets.items() if cpus and cpus not in trivial]
    return tuple(sorted(built, key=lambda entry: next(iter(entry.cpus))))


def _apart(sets_by_cpu: dict[int, CpuSet], online: CpuSet, packages: tuple[Package, ...], package_of: dict[int, int]) -> set[CpuSet]:
    """Disjoint sets from those that each CPU states, each restricted to one package, even where a broken table says otherwise."""
    in_package = {cpu: cpus & packages[package_of[cpu]].cpus for cpu, cpus in sets_by_cpu.items()}
    return {group for group in partition(online, in_package.get) if any(cpu in in_package for cpu in group)} if in_package else set()


def _groups(sets: set[CpuSet], package_of: dict[int, int], number: Callable[[int], int | None]) -> tuple[CpuGroup, ...]:
    built = []
    for cpus in sorted(sets, key=lambda cpus: next(iter(cpus), 0)):
        if cpus:
            lead = next(iter(cpus))
            built.append(CpuGroup(cpus, package_of[lead], number(lead)))
    return tuple(built)


def with_dies(packages: tuple[Package, ...], dies: tuple[CpuGroup, ...]) -> tuple[Package, ...]:
    dies_by_package = ((package, tuple(die.cpus for die in dies if die.cpus <= package.cpus)) for package in packages)
    return tuple(replace(package, dies=own_dies) if own_dies else package for package, own_dies in dies_by_package)
