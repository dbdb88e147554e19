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

    def distances(self, cpu_nodes: tuple[int, ...], memory_nodes: tuple[int, ...]) -> Distances | None:
        """Between nodes that run and nodes that hold, None to itself; None altogether where one is not known."""
        if (cpu_nodes, memory_nodes) not in self._distances:
            self._distances[cpu_nodes, memory_nodes] = self._between(cpu_nodes, memory_nodes)
        return self._distances[cpu_nodes, memory_nodes]

    def _between(self, cpu_nodes: tuple[int, ...], memory_nodes: tuple[int, ...]) -> Distances | None:
        rows = {cpu_node: self.nodes[cpu_node].distances for cpu_node in cpu_nodes if cpu_node in self.nodes}
        if (
            len(rows) < len(cpu_nodes)
            or any(not row.keys() >= set(memory_nodes) for row in rows.values())
            or not self.nodes.keys() >= set(memory_nodes)
        ):
            return None
        return tuple(
            tuple(None if memory_node == cpu_node else row[memory_node] for memory_node in memory_nodes) for cpu_node, row in rows.items()
        )

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
        complete = {cpu: levels for cpu, levels in sizes.items() if 1 in levels and max(levels) == len(levels) and all(levels.values())}
        return {cpu: tuple(float(levels[level] or 0) for level in sorted(levels)) for cpu, levels in complete.items()}

    @cached_property
    def last_level(self) -> dict[int, tuple[CpuSet, int]]:
        """The outermost cache of a CPU, of level 3 at least: whose it is, and how many bytes."""
        by_cpu: dict[int, tuple[CpuSet, int]] = {}
        for cache in sorted(self.physical.caches, key=lambda cache: cache.level):
            for cpu in cache.cpus if cache.level >= _SHARED_LEVEL else ():
                if cache.size_bytes:
                    by_cpu[cpu] = cache.cpus, cache.size_bytes
                else:
                    by_cpu.pop(cpu, None)
        return by_cpu
