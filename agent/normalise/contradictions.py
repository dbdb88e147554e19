"""Contradictions between the kernel's files, by broken firmware, by hypervisors, or by files read at different moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from agent.collect.sample import Sample
from agent.model.physical import Cache, Contradiction, Cpus, Node, Package
from agent.model.values import CpuSet, Fact
from agent.normalise import views
from agent.normalise.cores import has_modules
from collectors.sys_cpu import CpuTopology

_LEVELS = ("core", "cluster", "die", "package", "book", "drawer")
_SETS_SHOWN = 4
MOST = 64


def contradictions(
    sample: Sample,
    topology: dict[int, CpuTopology],
    cpus: Cpus,
    packages: tuple[Package, ...],
    caches: tuple[Cache, ...],
    nodes: tuple[Node, ...],
) -> tuple[Contradiction, ...]:
    """At most 64 contradictions in the CPU lists, sibling sets and numbers, caches and nodes, and between sources."""
    all_contradictions = [
        *_lists(cpus),
        *views.of_cpus(sample, topology, cpus.online, packages),
        *_siblings(topology, cpus.online),
        *_numbers(topology, cpus.online, has_modules(sample)),
        *_cached(caches),
        *_overlap("node", [node.cpus for node in nodes if node.cpus]),
        *views.of_nodes(sample, cpus.online, nodes),
    ]
    return tuple(all_contradictions[:MOST])


def _lists(cpus: Cpus) -> Iterator[Contradiction]:
    """Online CPUs must be present, and present CPUs must be possible."""
    for subject, inner, outer, beyond in (
        ("online", cpus.online, cpus.present, "not present"),
        ("present", cpus.present, cpus.possible, "not possible"),
    ):
        if inner is not None and outer is not None and not inner <= outer:
            yield Contradiction(subject, inner - outer, f"{subject} and {beyond}")


def _siblings(topology: dict[int, CpuTopology], online: CpuSet) -> Iterator[Contradiction]:
    """Each CPU must be in its own set, and two sets of a level must be equal or disjoint."""
    for level in _LEVELS:
        sets_by_cpu = {cpu: siblings & online for cpu, entry in topology.items() if (siblings := getattr(entry, f"{level}_cpus"))}
        outside_own_set = CpuSet(cpu for cpu, cpus in sets_by_cpu.items() if cpu not in cpus)
        if outside_own_set:
            yield Contradiction(level, outside_own_set, "a CPU is not among its own siblings")
        yield from _overlap(level, sets_by_cpu.values())


class _Level(Fact, frozen=True, kw_only=True):
    """A level with sets and numbers: both of `CpuTopology`, and the names of both files.

    `within` is what numbers are unique in; those of cores are in nothing: s390 and AMD's families 10h and 15h repeat them.
    """

    name: str
    siblings: Callable[[CpuTopology], CpuSet | None]
    number: Callable[[CpuTopology], int | None]
    within: Callable[[CpuTopology], object] | None
    files: tuple[str, str]


_NUMBERED = (
    _Level(
        name="package",
        siblings=attrgetter("package_cpus"),
        number=attrgetter("package_id"),
        within=lambda _: None,
        files=("package_cpus", "physical_package_id"),
    ),
    _Level(
        name="die",
        siblings=attrgetter("die_cpus"),
        number=attrgetter("die_id"),
        within=attrgetter("package_id", "package_cpus"),
        files=("die_cpus", "die_id"),
    ),
    _Level(
        name="core",
        siblings=attrgetter("core_cpus"),
        number=attrgetter("core_id"),
        within=None,
        files=("core_cpus", "core_id"),
    ),
)


def _numbers(topology: dict[int, CpuTopology], online: CpuSet, modules: bool) -> Iterator[Contradiction]:
    """CPUs of one number must be in one set, and those of one set must have one number. -1 is no number.

    With `modules`, what the kernel shows as threads of a core are cores, each with a number of its own.
    """
    for level in _NUMBERED:
        by_number: dict[tuple[int, object], set[CpuSet]] = {}
        by_set: dict[CpuSet, set[int]] = {}
        for entry in topology.values():
            siblings, number = level.siblings(entry), level.number(entry)
            if siblings is None or number is None or number < 0:
                continue
            if level.within is not None:
                by_number.setdefault((number, level.within(entry)), set()).add(siblings & online)
            by_set.setdefault(siblings & online, set()).add(number)
        sets, number_file = level.files
        for (shared_number, _), of_number in by_number.items():
            if len(of_number) > 1:
                listed = sorted(of_number, key=lambda cpus: cpus.first or 0)
                detail = f"{len(listed)} sets ({sets}) of one number, {shared_number} ({number_file}): {_shown(listed)}"
                yield Contradiction(level.name, CpuSet.union(listed), detail)
        for cpus, of_set in by_set.items():
            if len(of_set) > 1 and not (modules and level.name == "core"):
                text = " ".join(map(str, sorted(of_set)[:_SETS_SHOWN]))
                yield Contradiction(level.name, cpus, f"{len(of_set)} numbers ({number_file}) in one set ({sets}), {cpus}: {text}")


def _cached(caches: tuple[Cache, ...]) -> Iterator[Contradiction]:
    kinds: dict[tuple[int, str], list[Cache]] = {}
    for cache in caches:
        kinds.setdefault((cache.level, cache.type), []).append(cache)
    if len(kinds) > MOST:
        yield Contradiction("caches", CpuSet.union([cache.cpus for cache in caches]), f"{len(kinds)} levels and types")
        return
    # The cache of each CPU, by kind. Kinds whose sets overlap are left out: they are reported below as overlaps.
    owned = {
        (level, kind): {cpu: cache.cpus for cache in of_kind for cpu in cache.cpus}
        for (level, kind), of_kind in sorted(kinds.items())
        if kind != "Instruction" and sum(len(cache.cpus) for cache in of_kind) == len(CpuSet.union([cache.cpus for cache in of_kind]))
    }
    for (level, kind), of_kind in kinds.items():
        name = f"L{level} {kind}"
        yield from _overlap(name, [cache.cpus for cache in of_kind])
        sets_by_id: dict[int, list[CpuSet]] = {}
        for cache in of_kind:
            if cache.id is not None:
                sets_by_id.setdefault(cache.id, []).append(cache.cpus)
        same_id = [cpus for sets in sets_by_id.values() if len(sets) > 1 for cpus in sets]
        if same_id:
            yield Contradiction(name, CpuSet.union(same_id), f"one id for several caches: {_shown(same_id)}")
        # The instruction and data caches of a level may be shared differently; every outer cache holds both.
        outer_caches = [owners for (outer_level, _), owners in owned.items() if outer_level > level]
        not_contained = next((not_contained for owners in outer_caches if (not_contained := _not_contained(of_kind, owners))), None)
        if not_contained:
            yield Contradiction(name, CpuSet.union(not_contained), f"wider than the level beyond: {_shown(not_contained)}")


def _not_contained(caches: list[Cache], owners: dict[int, CpuSet]) -> list[CpuSet]:
    covered = CpuSet(owners)
    return [cache.cpus for cache in caches if (shared := cache.cpus & covered) and not cache.cpus <= owners[next(iter(shared))]]


def _overlap(subject: str, sets: Iterable[CpuSet]) -> Iterator[Contradiction]:
    """Reports `sets` that overlap without being equal. Nodes must not even be equal."""
    listed = list(sets) if subject == "node" else list(set(sets))
    covered, overlapping = CpuSet(), CpuSet()
    for cpus in listed:
        overlapping |= covered & cpus
        covered |= cpus
    if overlapping:
        crossing = sorted((cpus for cpus in listed if cpus & overlapping), key=lambda cpus: (next(iter(cpus)), len(cpus)))
        yield Contradiction(subject, CpuSet.union(crossing), f"overlap: {_shown(crossing)}")


def _shown(sets: list[CpuSet]) -> str:
    text = " ".join(map(str, sets[:_SETS_SHOWN]))
    return text if len(sets) <= _SETS_SHOWN else f"{text} and {len(sets) - _SETS_SHOWN} more"
