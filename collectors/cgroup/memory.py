"""The memory controller of one group: `memory.*` of both versions. Sizes are bytes.

Sources: Documentation/admin-guide/cgroup-v2.rst ("Memory"), Documentation/admin-guide/cgroup-v1/memory.rst. v1 bounds and counts memory
and swap together (`memsw`), and memory.numa_stat in pages; its plain keys of memory.stat and numa_stat are the group's own,
`total_*` and `hierarchical_*` those of its descendants, too, as all of v2's are.
"""

from __future__ import annotations

from agent.model.facts.cgroup import WorkloadMemory
from agent.model.values import UNLIMITED, Detail, Limit, number_or_none
from collectors.cgroup.held import GroupFiles, HeldDirectory
from collectors.text import MalformedLines, flat_keyed, limit, newline_separated, nonzero, unsigned

# A v1 limit that was never set is the largest page-aligned counter (mm/memcontrol-v1.c, PAGE_COUNTER_MAX): whatever the page
# size, it lies above this.
_V1_UNLIMITED = 1 << 62

MAX_NODES = 1 << 10


def read_v2(files: GroupFiles, directory: HeldDirectory, detail: Detail) -> WorkloadMemory:
    is_document = detail == "document"

    def number(name: str) -> int | None:
        return files.parse(directory, name, unsigned)

    def bound(name: str) -> Limit | None:
        return files.parse(directory, name, limit)

    stat = files.parse(directory, "memory.stat", flat_keyed) or {}
    group = number("memory.oom.group") if is_document else None
    writeback = number("memory.zswap.writeback") if is_document else None
    by_node = files.parse(directory, "memory.numa_stat", parse_numa_stat) or {}
    return WorkloadMemory(
        current_bytes=number("memory.current"),
        peak_bytes=number("memory.peak"),
        min_bytes=_finite(bound("memory.min")) if is_document else None,
        low_bytes=_finite(bound("memory.low")) if is_document else None,
        high_bytes=bound("memory.high"),
        max_bytes=bound("memory.max"),
        swap_bytes=number("memory.swap.current"),
        swap_peak_bytes=number("memory.swap.peak") if is_document else None,
        swap_high_bytes=bound("memory.swap.high") if is_document else None,
        swap_max_bytes=bound("memory.swap.max") if is_document else None,
        zswap_bytes=number("memory.zswap.current") if is_document else None,
        zswap_max_bytes=bound("memory.zswap.max") if is_document else None,
        zswap_writeback=None if writeback is None else writeback != 0,
        kernel_bytes=stat.get("kernel"),
        oom_group=None if group is None else group != 0,
        stat=stat,
        events=files.parse(directory, "memory.events", flat_keyed) or {},
        own_events=files.parse(directory, "memory.events.local", flat_keyed) or {} if is_document else {},
        swap_events=files.parse(directory, "memory.swap.events", flat_keyed) or {} if is_document else {},
        by_node=by_node,
    )


def read_v1(files: GroupFiles, directory: HeldDirectory, detail: Detail) -> WorkloadMemory:
    is_document = detail == "document"

    def number(name: str) -> int | None:
        return files.parse(directory, name, unsigned)

    def bound(name: str) -> Limit | None:
        value = number(name)
        return None if value is None else UNLIMITED if value >= _V1_UNLIMITED else Limit(value)

    oom = files.parse(directory, "memory.oom_control", flat_keyed) or {}
    current, with_swap = number("memory.usage_in_bytes"), number("memory.memsw.usage_in_bytes")
    memory_max, memsw_max = bound("memory.limit_in_bytes"), bound("memory.memsw.limit_in_bytes") if is_document else None
    failures = number("memory.failcnt")
    pages = files.parse(directory, "memory.numa_stat", parse_numa_stat) or {}
    by_node = {
        kind.removeprefix("hierarchical_"): {
            node: size for node, count in counts.items() if (size := number_or_none(count * files.root.page_bytes)) is not None
        }
        for kind, counts in pages.items()
        if kind.startswith("hierarchical_")
    }
    return WorkloadMemory(
        current_bytes=current,
        peak_bytes=number("memory.max_usage_in_bytes"),
        max_bytes=memory_max,
        soft_limit_bytes=bound("memory.soft_limit_in_bytes") if is_document else None,
        # v1 bounds memory and swap together; v2 bounds swap alone.
        swap_bytes=None if current is None or with_swap is None else max(0, with_swap - current),
        swap_max_bytes=None if memory_max is None or memsw_max is None else _swap_alone(memory_max, memsw_max),
        kernel_bytes=number("memory.kmem.usage_in_bytes"),
        oom_kill_disable=nonzero(oom.get("oom_kill_disable")),
        under_oom=nonzero(oom.get("under_oom")),
        swappiness=number("memory.swappiness") if is_document else None,
        stat=files.parse(directory, "memory.stat", flat_keyed) or {},
        # What v2 calls "max" and "oom_kill" in memory.events.
        events=({} if failures is None else {"max": failures}) | ({"oom_kill": oom["oom_kill"]} if "oom_kill" in oom else {}),
        by_node=by_node,
    )


def parse_numa_stat(text: str) -> dict[str, dict[int, int]]:
    """ "anon N0=4096 N1=0" of v2 (bytes), "hierarchical_anon=1 N0=1" of v1 (pages): kind -> node -> number.

    Newer and vendors' kernels may count more than nodes in a line: that is skipped.
    """
    kinds: dict[str, dict[int, int]] = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        kind, *fields = line.split() or [""]
        nodes: dict[int, int] = {}
        for field in fields:
            node, equals, value = field.partition("=")
            digits = node[1:] + value
            if node[:1] == "N" and node[1:] and value and digits.isascii() and digits.isdecimal() and len(node) <= 6 and len(value) <= 18:
                nodes[int(node[1:])] = int(value)
            elif not equals or node[:1] == "N":
                break
        else:
            if nodes and max(nodes) < MAX_NODES:
                kinds[kind.partition("=")[0]] = nodes
                continue
        malformed.add(number, line, f"'kind N0=number' of nodes below {MAX_NODES}")
    return malformed.checked(kinds)


def _swap_alone(memory: Limit, memory_and_swap: Limit) -> Limit:
    return UNLIMITED if memory_and_swap.unlimited else Limit(max(0.0, memory_and_swap - memory))


def _finite(bound: Limit | None) -> int | None:
    """memory.min and memory.low protect; "max" there protects all there is, which is no number of bytes."""
    return None if bound is None or bound.unlimited else int(bound)
