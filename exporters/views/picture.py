"""The machine's tree for a person: memory beside what it belongs to, and equal siblings drawn once.

Objects with the same CPUs share a line ("L2 1 MiB, L1d 48 KiB, core 3"). Siblings are equal when all that is below them is equal.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from rich.text import Text
from rich.tree import Tree

from agent.model.physical import Cache, Core, Node, Package, Physical
from agent.model.values import CpuSet
from exporters.views.tree import Machine, MachineObject
from exporters.views.words import GUESS, count, cpus, guessed, ordered, sets, size, words

# Up to so many packages, or objects with memory of their own, are drawn one by one even if they are equal: people know them by number.
NAMED = 8

# What says where memory without CPUs belongs: firmware's table of the best initiators (HMAT), or distances.
_NEAR = {"access1": "here by HMAT", "access0": "here by HMAT", "distance": f"here by its distance{GUESS}"}
_CACHE = {"Data": "d", "Instruction": "i"}


class _Line(Struct):
    """Objects with the same CPUs (`chain`, the outermost first), and the lines below the innermost. Equal lines have equal shapes."""

    chain: list[MachineObject]
    children: list[_Line]
    shape: tuple[object, ...] = ()

    @property
    def cpus(self) -> CpuSet:
        return self.chain[0].cpus

    @property
    def nodes(self) -> list[Node]:
        return [node for item in self.chain for node in item.nodes]

    @property
    def lone(self) -> bool:
        """Whether it is a group made for one memory node: the line is then the node's."""
        return all(item.kind == "group" for item in self.chain) and len(self.nodes) == 1

    @property
    def last(self) -> MachineObject:
        return self.chain[-1]


def draw(tree: Machine, physical: Physical, label: Text, every_thread: bool) -> Tree:
    """`every_thread`: threads have lines of their own, and are named there only."""
    kinds = {cpu: position for position, kind in enumerate(physical.cpu_kinds) for cpu in kind.cpus}
    drawn = Tree(label, guide_style="dim")
    for node in tree.root.nodes:
        drawn.add(words(*memory(node)))
    _Drawing(physical, every_thread).below(drawn, [_line(item, kinds) for item in tree.root.children], (tree.root.cpus,))
    return drawn


def memory(node: Node) -> Iterator[tuple[str, str] | str | None]:
    """Words on a node; where it has no CPUs, also what says that it belongs here."""
    yield f"node {node.os_index}", "green"
    yield "no memory" if node.memory_bytes == 0 else size(node.memory_bytes)
    yield f"{size(node.free_bytes)} free" if node.memory_bytes and node.free_bytes is not None else None
    yield guessed(node.kind.upper(), node.kind_origin or node.origin) if node.kind and node.kind != "unknown" else None
    yield "no CPUs" if node.cpus is not None and not node.cpus else None
    yield _NEAR.get(node.local_cpus_evidence or "")
    yield f"tier {node.tier}" if node.tier is not None else None
    for level, cache in sorted(node.side_caches.items()):
        yield f"behind a memory-side cache L{level} {size(cache.size_bytes) or ''}".rstrip()


def _line(item: MachineObject, kinds: dict[int, int]) -> _Line:
    chain = [item]
    while item.kind not in ("package", "core") and len(item.children) == 1 and item.children[0].cpus == item.cpus:
        item = item.children[0]
        chain.append(item)
    line = _Line(chain, [_line(inner, kinds) for inner in item.children])
    names = tuple((link.kind, _cache(link.record) if isinstance(link.record, Cache) else "") for link in chain)
    # Sizes are no part of a shape: firmware takes a little of some nodes, so that no two are quite equal.
    banks = tuple(node.kind for node in line.nodes)
    kind = kinds.get(next(iter(item.cpus))) if item.kind == "core" else None
    line.shape = (len(line.cpus), names, kind, banks, tuple(inner.shape for inner in line.children))
    return line


def _cache(cache: Cache) -> str:
    named = f"L{cache.level}{_CACHE.get(cache.type, '')}"
    return guessed(f"{named} {size(cache.size_bytes)}" if cache.size_bytes is not None else named, cache.sharing_origin) or ""


class _Drawing:
    def __init__(self, physical: Physical, every_thread: bool) -> None:
        self.physical = physical
        self.every_thread = every_thread

    def below(self, drawn: Tree, lines: list[_Line], above: tuple[CpuSet, ...]) -> None:
        """Draws `lines` as children of `drawn`. `above`: the CPU sets of the parents' objects."""
        equal: dict[object, list[_Line]] = {}
        for position, line in enumerate(lines):
            equal.setdefault(position if self.every_thread or (len(above) == 1 and self._named(line)) else line.shape, []).append(line)
        for same in equal.values():
            branch = drawn.add(words(*self._words(same, above)))
            self._memory(branch, same)
            if same[0].last.kind != "core":
                self.below(branch, [inner for line in same for inner in line.children], tuple(line.cpus for line in same))
            elif self.every_thread and len(same[0].cpus) > 1:
                for number, cpu in enumerate(same[0].cpus):
                    branch.add(words(f"thread {number}", (f"CPU {cpu}", "bold")))

    def _named(self, line: _Line) -> bool:
        if line.chain[0].kind == "package":
            return len(self.physical.packages) <= NAMED
        return len(self.physical.nodes) <= NAMED and bool(line.chain[0].memory)

    def _memory(self, branch: Tree, same: list[_Line]) -> None:
        nodes = [node for line in same for node in line.nodes]
        if len(same) > 1 and nodes:
            sizes = {node.memory_bytes for node in nodes}
            ordered_sizes = sorted(size_bytes for size_bytes in sizes if size_bytes is not None) if None not in sizes else []
            ends = dict.fromkeys(str(size(size_bytes)) for size_bytes in ordered_sizes[:1] + ordered_sizes[-1:])
            branch.add(words((cpus((node.os_index for node in nodes), "node"), "green"), f"{' to '.join(ends)} each" if ends else None))
        elif not same[0].lone:
            for node in nodes:
                branch.add(words(*memory(node)))

    def _words(self, same: list[_Line], above: tuple[CpuSet, ...]) -> Iterator[tuple[str, str] | str | None]:
        """The words of one line, for one object or for several that are equal."""
        line, times = same[0], f"{len(same)} x " if len(same) > 1 else ""
        record, number = line.last.record, None if times or line.last.number is None else line.last.number
        caches = ", ".join(_cache(item.record) for item in line.chain if isinstance(item.record, Cache))
        match record:
            case Core():
                yield _cores([equal.last.number for equal in same]), "cyan"
                yield self._kind(line.cpus)
            case Package():
                yield f"{times}package" if number is None else f"package {number}", "bold cyan"
                yield guessed(" ".join((record.model_name or record.vendor or "").split()), record.identity_origin)
                yield guessed(record.numa_clustering, record.numa_clustering_origin)
        for item in line.chain:
            if item.kind in ("drawer", "book", "die", "cluster"):
                yield f"{times}{item.kind}" if times or item.number is None else f"{item.kind} {item.number}", "cyan"
        if line.lone:
            yield from [(f"{times}node", "green")] if times else memory(line.nodes[0])
        yield f"{times}{caches}" if all(item.kind in ("cache", "group") for item in line.chain) and caches else caches, "yellow"
        if 1 < len(above) < len(same) and len(same) % len(above) == 0:
            yield f"{len(same) // len(above)} in each"
        if isinstance(record, Core):
            yield f"{count(len(line.cpus), 'thread')}{' each' if times else ''}"
            if len(line.cpus) == 1 if self.every_thread else len(same) == 1 or tuple(equal.cpus for equal in same) != above:
                yield cpus(CpuSet(cpu for equal in same for cpu in equal.cpus)), "bold"
        elif self.every_thread:
            yield count(len(line.cpus), "CPU")
        elif tuple(equal.cpus for equal in same) != above:
            yield f"{'CPUs' if len(same) > 1 or len(line.cpus) > 1 else 'CPU'} {sets(equal.cpus for equal in same)}", "bold"

    def _kind(self, members: CpuSet) -> str | None:
        """Where CPUs are of several kinds, that of these: the kernel's name, else the part number, else the capacity."""
        kind = next((kind for kind in self.physical.cpu_kinds if members <= kind.cpus), None)
        if kind is None:
            return None
        if kind.name is None and kind.midr is not None:
            return f"part {kind.midr >> 4 & 0xFFF:#x}"
        return kind.name or (f"capacity {kind.capacity}" if kind.capacity is not None else None)


def _cores(numbers: list[int | None]) -> str:
    """ "core 3", "16 cores 0-15": with the kernel's numbers where they are unique."""
    unique = [number for number in numbers if number is not None] if len(set(numbers)) == len(numbers) else []
    return " ".join(filter(None, ("core" if len(numbers) == 1 else f"{len(numbers)} cores", ordered(unique))))
