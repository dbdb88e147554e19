"""Metrics of memory as the kernel manages it: zones, huge pages, merging, swap, and the counts of /proc/vmstat since boot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agent.model.facts.hugepages import HugePagePool
from agent.model.facts.proc_swaps import Swap
from agent.model.facts.sys_mm import Ksm, Thp
from agent.model.facts.sys_zram import Zram
from agent.model.logical import KernelMemory
from exporters.metrics.family import (
    Column,
    Family,
    Metric,
    Row,
    Sample,
    counter,
    declared,
    from_columns,
    from_rows,
    gauge,
    info,
    labelled,
)


def kernel_memory_families(memory: KernelMemory) -> Iterator[Family]:
    yield from from_rows(_MEMORY, memory)
    # Files may be of one name, below different roots.
    areas = {swap.name: swap for swap in memory.swaps or ()}
    yield from from_columns(_BY_SWAP, [(name,) for name in areas], tuple(areas.values()))
    for metric, keys in _VMSTAT:
        labels = tuple([(value,) if value else () for value in keys])
        yield Family(metric, labels, tuple([memory.vmstat.get(key) for key in keys.values()]))


def _free_blocks(memory: KernelMemory) -> Iterator[Sample]:
    for zone in memory.zones:
        for order, count in enumerate(zone.free_blocks):
            yield (zone.node, zone.name, order), count


def _watermarks(memory: KernelMemory) -> Iterator[Sample]:
    for zone in memory.zones:
        for mark, pages in (("min", zone.min_pages), ("low", zone.low_pages), ("high", zone.high_pages)):
            yield (zone.node, zone.name, mark), pages


def _unusable(memory: KernelMemory) -> Iterator[Sample]:
    for zone in memory.zones:
        for order, share in enumerate(zone.unusable_ratio):
            yield (zone.node, zone.name, order), share


def _hugepages(memory: KernelMemory) -> Iterator[Sample]:
    for pool in memory.hugepages:
        for state, pages in _states(pool):
            yield (pool.page_bytes, state), pages


def _states(pool: HugePagePool) -> tuple[tuple[str, int | None], ...]:
    return (
        ("total", pool.total_pages),
        ("free", pool.free_pages),
        ("surplus", pool.surplus_pages),
        ("overcommit", pool.overcommit_pages),
        ("reserved", pool.reserved_pages),
    )


def _thp(thp: Thp | None) -> Iterable[Sample]:
    return [((thp.enabled, thp.defrag, thp.shmem_enabled), 1)] if thp else []


def _ksm(ksm: Ksm | None) -> Iterable[Sample]:
    if ksm is None:
        return []
    return [(("shared",), ksm.pages_shared), (("sharing",), ksm.pages_sharing), (("unshared",), ksm.pages_unshared)]


def _zram(devices: Iterable[Zram]) -> Iterator[Sample]:
    for device in devices:
        name = f"zram{device.number}"
        yield (name, "original"), device.original_bytes
        yield (name, "compressed"), device.compressed_bytes
        yield (name, "memory_used"), device.memory_used_bytes


_MEMORY: tuple[Row[KernelMemory], ...] = (
    gauge(
        "strata_meminfo_bytes",
        "Memory of the host, under the kernel's names",
        "bytes",
        "/proc/meminfo",
        lambda memory: [((name,), size) for name, size in memory.meminfo_bytes.items()],
        labels=("field",),
        level="full",
    ),
    gauge(
        "strata_zone_free_pages",
        "Free pages of a zone",
        "pages",
        "/proc/zoneinfo",
        lambda memory: [((zone.node, zone.name), zone.free_pages) for zone in memory.zones],
        labels=("node", "zone"),
        level="full",
    ),
    gauge(
        "strata_zone_free_blocks",
        "Free blocks of 2^order pages in the buddy allocator",
        "blocks",
        "/proc/buddyinfo",
        _free_blocks,
        labels=("node", "zone", "order"),
        level="full",
    ),
    gauge(
        "strata_zone_watermark_pages",
        "Free pages of a zone below which reclaim begins (low) or whoever allocates waits (min), and up to which it goes (high)",
        "pages",
        "/proc/zoneinfo",
        _watermarks,
        labels=("node", "zone", "mark"),
        level="full",
    ),
    gauge(
        "strata_zone_unusable_ratio",
        "Share of a zone's free pages that lie in blocks too small for 2^order pages",
        "ratio",
        "computed from /proc/buddyinfo as mm/vmstat.c does for unusable_index",
        _unusable,
        labels=("node", "zone", "order"),
        level="full",
    ),
    gauge(
        "strata_hugepages",
        "Explicit huge pages of the host by state (total holds free and surplus)",
        "pages",
        "/sys/kernel/mm/hugepages/hugepages-NkB",
        _hugepages,
        labels=("page_bytes", "state"),
        level="full",
    ),
    info(
        "strata_transparent_hugepage_policy_info",
        "When the kernel makes transparent huge pages, in its own words",
        "/sys/kernel/mm/transparent_hugepage",
        lambda memory: _thp(memory.thp),
        labels=("enabled", "defrag", "shmem"),
        level="full",
    ),
    gauge(
        "strata_ksm_pages",
        "Merged pages (shared), pages that were merged into them (sharing), and pages that found no equal (unshared)",
        "pages",
        "/sys/kernel/mm/ksm/pages_*",
        lambda memory: _ksm(memory.ksm),
        labels=("kind",),
        level="full",
    ),
    gauge(
        "strata_ksm_profit_bytes",
        "Memory that merging saves less the memory that it takes (may be negative)",
        "bytes",
        "/sys/kernel/mm/ksm/general_profit",
        lambda memory: [((), memory.ksm.general_profit_bytes)] if memory.ksm else [],
        level="full",
    ),
    gauge(
        "strata_zram_bytes",
        "What was written to a compressed block device (original), its compressed size, and the memory that it takes with waste",
        "bytes",
        "/sys/block/zramN/mm_stat",
        lambda memory: _zram(memory.zram or ()),
        labels=("device", "kind"),
        level="full",
    ),
)

_BY_SWAP: tuple[Column[Swap], ...] = labelled(
    ("area",),
    gauge("strata_swap_size_bytes", "Size of a swap area", "bytes", "/proc/swaps", lambda swap: swap.size_bytes, level="full"),
    gauge("strata_swap_used_bytes", "What is used of a swap area", "bytes", "/proc/swaps", lambda swap: swap.used_bytes, level="full"),
)

_RECLAIMERS = ("kswapd", "direct", "khugepaged", "proactive")

# A metric, and the kernel's name of each value of its label.
_VMSTAT: tuple[tuple[Metric, Mapping[str, str]], ...] = (
    counter(
        "strata_page_faults_total",
        "Page faults of the host since boot (major ones waited for a device)",
        "events",
        "pgfault and pgmajfault of /proc/vmstat",
        {"all": "pgfault", "major": "pgmajfault"},
        labels=("kind",),
        level="full",
    ),
    counter(
        "strata_reclaim_scanned_pages_total",
        "Pages that reclaim looked at since boot, by who reclaimed",
        "pages",
        "pgscan_* of /proc/vmstat",
        {by: f"pgscan_{by}" for by in _RECLAIMERS},
        labels=("by",),
        level="full",
    ),
    counter(
        "strata_reclaimed_pages_total",
        "Pages that were reclaimed since boot, by who reclaimed",
        "pages",
        "pgsteal_* of /proc/vmstat",
        {by: f"pgsteal_{by}" for by in _RECLAIMERS},
        labels=("by",),
        level="full",
    ),
    counter(
        "strata_compactions_total",
        "Allocations since boot that waited for compaction, and compactions by how they ended",
        "events",
        "compact_stall, compact_fail and compact_success of /proc/vmstat",
        {"stalled": "compact_stall", "failed": "compact_fail", "succeeded": "compact_success"},
        labels=("result",),
        level="full",
    ),
    counter(
        "strata_swapped_pages_total",
        "Pages moved between memory and swap since boot",
        "pages",
        "pswpin and pswpout of /proc/vmstat",
        {"in": "pswpin", "out": "pswpout"},
        labels=("direction",),
        level="full",
    ),
    counter(
        "strata_numa_balancing_total",
        "Automatic balancing between nodes since boot: page table entries marked, faults on them, local ones of these, pages moved",
        "events",
        "numa_* of /proc/vmstat",
        {"marked": "numa_pte_updates", "faulted": "numa_hint_faults", "local": "numa_hint_faults_local", "moved": "numa_pages_migrated"},
        labels=("event",),
        level="full",
    ),
    counter(
        "strata_transparent_hugepages_total",
        "Transparent huge pages since boot: got by a fault, not got, made by khugepaged, split",
        "events",
        "thp_* of /proc/vmstat",
        {"faulted": "thp_fault_alloc", "missed": "thp_fault_fallback", "collapsed": "thp_collapse_alloc", "split": "thp_split_page"},
        labels=("event",),
        level="full",
    ),
    counter(
        "strata_oom_kills_total",
        "Processes that the kernel killed for want of memory since boot",
        "events",
        "oom_kill of /proc/vmstat",
        {"": "oom_kill"},
    ),
)

KERNEL_MEMORY_METRICS = declared(_MEMORY, _BY_SWAP, _VMSTAT)
