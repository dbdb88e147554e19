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


class Place(Struct, kw_only=True):
    """One object. `thing` is its record, `number` the kernel's; `nodes` are the memory beside its children.

    `memory` numbers the nodes here and below.
    """

    kind: Kind
    cpus: CpuSet
    thing: Package | CpuGroup | Assembly | Cache | Core | None = None
    number: int | None = None
    inside: list[Place] = []
    nodes: list[Node] = []
    memory: CpuSet = CpuSet()

    @property
    def name(self) -> str:
        return f"L{self.thing.level} {self.thing.type} cache" if isinstance(self.thing, Cache) else self.kind


class Machine(Struct, frozen=True):
    """The tree, and the objects that have no place in it."""

    root: Place
    left_out: tuple[Place, ...] = ()


def machine(physical: Physical) -> Machine:
    """The tree of a machine. Every online CPU is a thread in it, once."""
    online = physical.cpus.online
    placed, left_out = _nested(_places(physical), online)
    root = Place(kind="machine", cpus=online)
    holders: dict[int, Place] = dict.fromkeys(online, root)
    for place in sorted(placed, key=lambda place: (-len(place.cpus), _ORDER.index(place.kind), _outer(place))):
        holder = holders[next(iter(place.cpus))]
        if place.kind == "group" and holder.cpus == place.cpus:
            continue
        holder.inside.append(place)
        for cpu in place.cpus:
            holders[cpu] = place
    for node in physical.nodes:
        _hang(root, node, (node.local_cpus or CpuSet()) & online)
    for place in (root, *placed):
        place.inside.sort(key=lambda inner: next(iter(inner.cpus)))
    return Machine(root, tuple(left_out))


def _places(physical: Physical) -> Iterator[Place]:
    """All objects. Of two that cross, the earlier one gets its place."""
    yield from (Place(kind="thread", cpus=CpuSet((cpu,)), number=cpu) for cpu in physical.cpus.online)
    yield from (Place(kind="package", cpus=package.cpus, thing=package, number=package.os_index) for package in physical.packages)
    yield from (Place(kind="core", cpus=core.cpus, thing=core, number=core.os_index) for core in physical.cores)
    yield from (Place(kind="book", cpus=book.cpus, thing=book, number=book.os_index) for book in physical.books)
    yield from (Place(kind="drawer", cpus=drawer.cpus, thing=drawer, number=drawer.os_index) for drawer in physical.drawers)
    yield from (Place(kind="die", cpus=die.cpus, thing=die, number=die.os_index) for die in physical.dies)
    yield from (Place(kind="cache", cpus=cache.cpus, thing=cache, number=cache.id) for cache in physical.caches)
    yield from (Place(kind="cluster", cpus=cluster.cpus, thing=cluster, number=cluster.os_index) for cluster in physical.clusters)
    yield from (Place(kind="group", cpus=cpus) for cpus in dict.fromkeys(node.local_cpus for node in physical.nodes) if cpus)


def _outer(place: Place) -> int:
    """The order of caches with the same CPUs: larger levels outside, and of one level data outside instructions."""
    return 2 * -place.thing.level + (place.thing.type == "Instruction") if isinstance(place.thing, Cache) else 0


def _nested(places: Iterable[Place], online: CpuSet) -> tuple[list[Place], list[Place]]:
    """The objects that nest: each holds, lies in, or does not touch any other one; and the rest."""
    sets: list[CpuSet] = []
    above: dict[int, list[int]] = {cpu: [] for cpu in online}
    placed, left_out = [], []
    for place in places:
        cpus = place.cpus
        fits = cpus and cpus <= online and max(len(above[cpu]) for cpu in cpus) < _DEEPEST
        touched = {position for cpu in cpus for position in above[cpu]} if fits else ()
        if not fits or not all(sets[position] <= cpus or cpus <= sets[position] for position in touched):
            left_out.append(place)
            continue
        placed.append(place)
        for cpu in cpus:
            above[cpu].append(len(sets))
        sets.append(cpus)
    return placed, left_out


def _hang(root: Place, node: Node, cpus: CpuSet) -> None:
    """Hangs a node on the outermost object with these CPUs (not the machine), else on the smallest that has them all."""
    here: Place | None = root
    home = root
    while here is not None:
        home, number = here, CpuSet((node.os_index,))
        home.memory |= number
        exact = home is not root and home.cpus == cpus
        here = None if exact or not cpus else next((place for place in home.inside if cpus <= place.cpus), None)
    home.nodes.append(node)
