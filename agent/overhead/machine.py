"""What the formulas ask of the machine alone, whatever ran on it: looked up once for all workloads."""

from __future__ import annotations

from functools import cached_property

from agent.model.physical import Node, Physical
from agent.model.values import CpuSet, Fact

_SHARED_LEVEL = 3

Distances = tuple[tuple[float | None, ...], ...]


class MachineIndex(Fact, frozen=True, dict=True):
    """Siblings, memory nodes and caches by CPU or by number."""

    physical: Physical

    @cached_property
    def siblings(self) -> dict[int, CpuSet]:
        """The other hardware threads of each CPU's core."""
        return {cpu: core.cpus - CpuSet((cpu,)) for core in self.physical.cores for cpu in core.cpus}

    @cached_property
    def nodes(self) -> dict[int, Node]:
        """By their numbers."""
        return {node.os_index: node for node in self.physical.nodes}

    @cached_property
    def node_of(self) -> dict[int, int]:
        """The memory node of each CPU."""
        return {cpu: node.os_index for node in self.physical.nodes for cpu in node.cpus or ()}

    def distances(self, here: tuple[int, ...], there: tuple[int, ...]) -> Distances | None:
        """Between nodes that run and nodes that hold, None to itself; None altogether where one is not known."""
        if (here, there) not in self._distances:
            self._distances[here, there] = self._between(here, there)
        return self._distances[here, there]

    def _between(self, here: tuple[int, ...], there: tuple[int, ...]) -> Distances | None:
        rows = {one: self.nodes[one].distances for one in here if one in self.nodes}
        if len(rows) < len(here) or any(not row.keys() >= set(there) for row in rows.values()) or not self.nodes.keys() >= set(there):
            return None
        return tuple(tuple(None if node == one else row[node] for node in there) for one, row in rows.items())

    @cached_property
    def _distances(self) -> dict[tuple[tuple[int, ...], tuple[int, ...]], Distances | None]:
        return {}

    @cached_property
    def cache_bytes(self) -> dict[int, tuple[float, ...]]:
        """Sizes of the data caches of each CPU, the innermost first; of a CPU whose levels are not all known, none."""
        sizes: dict[int, dict[int, int | None]] = {}
        for cache in self.physical.caches:
            if cache.type != "Instruction":
                for cpu in cache.cpus:
                    sizes.setdefault(cpu, {})[cache.level] = cache.size_bytes
        found = {cpu: tuple(float(of.get(level) or 0) for level in range(1, max(of) + 1)) for cpu, of in sizes.items()}
        return {cpu: every for cpu, every in found.items() if all(size > 0 for size in every)}

    @cached_property
    def last_level(self) -> dict[int, tuple[CpuSet, int]]:
        """The outermost cache of a CPU, of level 3 at least: whose it is, and how many bytes."""
        found: dict[int, tuple[CpuSet, int]] = {}
        for cache in sorted(self.physical.caches, key=lambda cache: cache.level):
            for cpu in cache.cpus if cache.level >= _SHARED_LEVEL else ():
                if cache.size_bytes:
                    found[cpu] = cache.cpus, cache.size_bytes
                else:
                    found.pop(cpu, None)
        return found
