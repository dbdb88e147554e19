"""The machine as a tree of sets of CPUs: what the picture and the hwloc document are drawn from.

An object lies in the smallest one that holds all its CPUs. Objects whose sets cross those of an earlier one (caches that overlap, tables
of broken firmware) have no place in a tree: they are listed as left out. Memory is no level: a node hangs beside the children of the
object whose CPUs are the node's own, and a group is made for it where there is no such object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from agent.model.physical import Assembly, Cache, Core, CpuGroup, Node, Package, Physical
from agent.model.values import CpuSet

Kind = Literal["machine", "drawer", "book", "package", "die", "cluster", "group", "cache", "core", "thread"]

# Of two objects with the same CPUs, the one named first is the outer one.
_ORDER = ("drawer", "book", "package", "die", "cluster", "cache", "core", "group", "thread")

# No real machine nests so deep. A forged one might, and whoever walks the tree recurses for each level.
_DEEPEST = 48


class MachineObject(Struct, kw_only=True):
    """One object. `record` is what the model has of it, `number` the kernel's; `nodes` are the memory beside its children.

    `memory` numbers the nodes here and below.
    """

    kind: Kind
    cpus: CpuSet
    record: Package | CpuGroup | Assembly | Cache | Core | None = None
    number: int | None = None
    children: list[MachineObject] = []
    nodes: list[Node] = []
    memory: CpuSet = CpuSet()

    @property
    def name(self) -> str:
        return f"L{self.record.level} {self.record.type} cache" if isinstance(self.record, Cache) else self.kind


class Machine(Struct, frozen=True):
    """The tree, and the objects that have no place in it."""

    root: MachineObject
    left_out: tuple[MachineObject, ...] = ()


def machine(physical: Physical) -> Machine:
    """The tree of a machine. Every online CPU is a thread in it, once."""
    online = physical.cpus.online
    placed, left_out = _nested(_objects(physical), online)
    root = MachineObject(kind="machine", cpus=online)
    holders: dict[int, MachineObject] = dict.fromkeys(online, root)
    for item in sorted(placed, key=lambda item: (-len(item.cpus), _ORDER.index(item.kind), _outer(item))):
        holder = holders[next(iter(item.cpus))]
        if item.kind == "group" and holder.cpus == item.cpus:
            continue
        holder.children.append(item)
        for cpu in item.cpus:
            holders[cpu] = item
    for node in physical.nodes:
        _hang(root, node, (node.local_cpus or CpuSet()) & online)
    for item in (root, *placed):
        item.children.sort(key=lambda inner: next(iter(inner.cpus)))
    return Machine(root, tuple(left_out))


def _objects(physical: Physical) -> Iterator[MachineObject]:
    """All objects. Of two that cross, the earlier one gets its place."""
    yield from (MachineObject(kind="thread", cpus=CpuSet((cpu,)), number=cpu) for cpu in physical.cpus.online)
    yield from (MachineObject(kind="package", cpus=package.cpus, record=package, number=package.os_index) for package in physical.packages)
    yield from (MachineObject(kind="core", cpus=core.cpus, record=core, number=core.os_index) for core in physical.cores)
    yield from (MachineObject(kind="book", cpus=book.cpus, record=book, number=book.os_index) for book in physical.books)
    yield from (MachineObject(kind="drawer", cpus=drawer.cpus, record=drawer, number=drawer.os_index) for drawer in physical.drawers)
    yield from (MachineObject(kind="die", cpus=die.cpus, record=die, number=die.os_index) for die in physical.dies)
    yield from (MachineObject(kind="cache", cpus=cache.cpus, record=cache, number=cache.id) for cache in physical.caches)
    yield from (MachineObject(kind="cluster", cpus=cluster.cpus, record=cluster, number=cluster.os_index) for cluster in physical.clusters)
    yield from (MachineObject(kind="group", cpus=cpus) for cpus in dict.fromkeys(node.local_cpus for node in physical.nodes) if cpus)


def _outer(item: MachineObject) -> int:
    """The order of caches with the same CPUs: larger levels outside, and of one level data outside instructions."""
    return 2 * -item.record.level + (item.record.type == "Instruction") if isinstance(item.record, Cache) else 0


def _nested(objects: Iterable[MachineObject], online: CpuSet) -> tuple[list[MachineObject], list[MachineObject]]:
    """The objects that nest: each holds, lies in, or does not touch any other one; and the rest."""
    sets: list[CpuSet] = []
    above: dict[int, list[int]] = {cpu: [] for cpu in online}
    placed, left_out = [], []
    for item in objects:
        cpus = item.cpus
        fits = cpus and cpus <= online and max(len(above[cpu]) for cpu in cpus) < _DEEPEST
        touched = {position for cpu in cpus for position in above[cpu]} if fits else ()
        if not fits or not all(sets[position] <= cpus or cpus <= sets[position] for position in touched):
            left_out.append(item)
            continue
        placed.append(item)
        for cpu in cpus:
            above[cpu].append(len(sets))
        sets.append(cpus)
    return placed, left_out


def _hang(root: MachineObject, node: Node, cpus: CpuSet) -> None:
    """Hangs a node on the outermost object with these CPUs (not the machine), else on the smallest that has them all."""
    candidate: MachineObject | None = root
    home = root
    while candidate is not None:
        home, number = candidate, CpuSet((node.os_index,))
        home.memory |= number
        exact = home is not root and home.cpus == cpus
        candidate = None if exact or not cpus else next((item for item in home.children if cpus <= item.cpus), None)
    home.nodes.append(node)
