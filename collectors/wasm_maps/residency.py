"""How much of each linear memory is resident: by node from numa_maps, of huge pages and in swap from smaps where the process has any.

smaps costs the kernel more than all the rest together. It is read where the process has something in swap (VmSwap of status), or
huge pages (smaps_rollup) and a memory that could hold one.
"""

from __future__ import annotations

from bisect import bisect_left

from msgspec.structs import replace

from collectors.proc_pid.numa_maps import parse_numa_maps, sum_by_node
from collectors.proc_pid.smaps import Mapping, parse_smaps, parse_smaps_rollup
from collectors.proc_pid.status import status_parser
from collectors.root import SysRoot
from collectors.wasm_maps.memories import MappedMemory

# No architecture maps anonymous memory by less at once in what it counts as AnonHugePages.
HUGE_BYTES = 2 << 20

_parse_status = status_parser("VmSwap")


def with_residency(root: SysRoot, pid: int, memories: tuple[MappedMemory, ...]) -> tuple[MappedMemory, ...]:
    """The memories with their resident, huge and swapped bytes, as far as the kernel says them."""
    if not memories:
        return ()
    nodes = root.parse(f"proc/{pid}/numa_maps", parse_numa_maps)
    process_swap = root.parse(f"proc/{pid}/status", _swap_bytes)
    process_huge: int | None = 0
    if any(memory.size_bytes >= HUGE_BYTES for memory in memories):
        rollup = root.parse(f"proc/{pid}/smaps_rollup", parse_smaps_rollup)
        process_huge = rollup.anon_huge_pages if rollup else None
    # Without CONFIG_NUMA there is no numa_maps.
    needs_smaps = nodes is None or process_huge or process_swap
    smaps = root.parse(f"proc/{pid}/smaps", parse_smaps) if needs_smaps else None
    if nodes is None and smaps is None:
        return memories
    mappings = {mapping.start: mapping for mapping in smaps or ()}
    mapping_starts, node_starts = sorted(mappings), sorted(nodes or ())
    results = []
    for memory in memories:
        if memory.size_bytes and memory.base not in (mappings if nodes is None else nodes):
            results.append(memory)  # unmapped since
            continue
        by_node = None if nodes is None else sum_by_node([nodes[start] for start in _within(node_starts, memory)])
        used = [mappings[start] for start in _within(mapping_starts, memory)]
        results.append(
            replace(
                memory,
                resident_bytes=sum(mapping.usage.rss for mapping in used) if by_node is None else sum(by_node.values()),
                resident_by_node=by_node,
                huge_bytes=_part(process_huge, smaps, [mapping.usage.anon_huge_pages for mapping in used]),
                swapped_bytes=_part(process_swap, smaps, [mapping.usage.swap for mapping in used]),
            )
        )
    return tuple(results)


def _swap_bytes(text: str) -> int | None:
    """Anonymous memory of the process in swap."""
    status = _parse_status(text)
    return status.checked(status.size_bytes("VmSwap"))


def _within(starts: list[int], memory: MappedMemory) -> list[int]:
    # A header of the runtime, or a neighbour's open part, may share the memory's first mapping.
    return starts[bisect_left(starts, memory.base) : bisect_left(starts, memory.base + memory.size_bytes)]


def _part(process_bytes: int | None, smaps: list[Mapping] | None, parts: list[int | None]) -> int | None:
    """The memory's part of what the process has; where that is nothing, it is known without smaps."""
    if process_bytes == 0:
        return 0
    present = [part for part in parts if part is not None]
    return sum(present) if smaps is not None and len(present) == len(parts) else None
