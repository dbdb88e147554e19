"""What of each memory is there: by node from numa_maps, of huge pages and in swap from smaps where the process has any.

smaps costs the kernel more than all the rest together. It is read where the process has something in swap (VmSwap of status), or
huge pages (smaps_rollup) and a memory that could hold one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from msgspec.structs import replace

from collectors.root import SysRoot
from collectors.wasm_maps.detection import LinearMemory
from collectors.wasm_maps.files import Usage, parse_numa_maps, parse_rollup, parse_smaps, parse_swapped

# No architecture maps anonymous memory by less at once in what it counts as AnonHugePages.
HUGE_BYTES = 2 << 20


def measured(root: SysRoot, pid: int, memories: tuple[LinearMemory, ...]) -> tuple[LinearMemory, ...]:
    if not memories:
        return ()
    nodes = root.parse(f"proc/{pid}/numa_maps", parse_numa_maps)
    swapped = root.parse(f"proc/{pid}/status", parse_swapped)
    huge: int | None = 0
    if any(memory.size_bytes >= HUGE_BYTES for memory in memories):
        rollup = root.parse(f"proc/{pid}/smaps_rollup", parse_rollup)
        huge = rollup.huge if rollup else None
    # Without CONFIG_NUMA there is no numa_maps.
    usages = root.parse(f"proc/{pid}/smaps", parse_smaps) if nodes is None or huge or swapped else None
    totals = nodes if nodes is not None else usages
    if totals is None:
        return memories
    starts = sorted(totals)
    smaps_starts = starts if totals is usages else sorted(usages or ())
    found = []
    for memory in memories:
        if memory.size_bytes and memory.base not in totals:
            found.append(memory)  # unmapped since
            continue
        by_node: dict[int, int] | None = None
        if nodes is not None:
            by_node = {}
            for start in _within(starts, memory):
                for node, size in nodes[start].items():
                    by_node[node] = by_node.get(node, 0) + size
        used = [usages[start] for start in _within(smaps_starts, memory)] if usages else []
        found.append(
            replace(
                memory,
                resident_bytes=sum(one.resident for one in used) if by_node is None else sum(by_node.values()),
                resident_by_node=by_node,
                huge_bytes=_part(huge, usages, [one.huge for one in used]),
                swapped_bytes=_part(swapped, usages, [one.swapped for one in used]),
            )
        )
    return tuple(found)


def _within(starts: list[int], memory: LinearMemory) -> list[int]:
    # A header of the runtime, or a neighbour's open part, may share the memory's first mapping.
    return starts[bisect_left(starts, memory.base) : bisect_left(starts, memory.base + memory.size_bytes)]


def _part(whole: int | None, usages: Mapping[int, Usage] | None, parts: list[int | None]) -> int | None:
    """The memory's part of what the process has; nothing of nothing is known without a look at the parts."""
    if whole == 0:
        return 0
    known = [part for part in parts if part is not None]
    return sum(known) if usages is not None and len(known) == len(parts) else None
