"""The memory manager's sysctls: /proc/sys/vm, and NUMA balancing. Source: Documentation/admin-guide/sysctl/{vm,kernel}.rst."""

from __future__ import annotations

from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import integer

# Each a number, under the kernel's name and in its unit.
_VM = (
    *("swappiness", "zone_reclaim_mode", "overcommit_memory", "overcommit_ratio", "overcommit_kbytes", "min_free_kbytes"),
    *("watermark_scale_factor", "watermark_boost_factor", "vfs_cache_pressure", "compaction_proactiveness", "extfrag_threshold"),
    *("dirty_ratio", "dirty_background_ratio", "max_map_count", "min_slab_ratio", "min_unmapped_ratio"),
)


class VmSysctls(Fact, frozen=True, kw_only=True):
    """`numa_balancing` is a set of bits: 1 moves pages towards their users, 2 promotes them between tiers of memory."""

    swappiness: int | None = None
    zone_reclaim_mode: int | None = None
    overcommit_memory: int | None = None
    overcommit_ratio: int | None = None
    overcommit_kbytes: int | None = None
    min_free_kbytes: int | None = None
    watermark_scale_factor: int | None = None
    watermark_boost_factor: int | None = None
    vfs_cache_pressure: int | None = None
    compaction_proactiveness: int | None = None
    extfrag_threshold: int | None = None
    dirty_ratio: int | None = None
    dirty_background_ratio: int | None = None
    max_map_count: int | None = None
    min_slab_ratio: int | None = None
    min_unmapped_ratio: int | None = None
    page_cluster: int | None = None
    numa_balancing: int | None = None


def read(root: SysRoot) -> VmSysctls:
    found = VmSysctls(
        **{name: root.parse(f"proc/sys/vm/{name}", integer) for name in _VM},
        page_cluster=root.parse("proc/sys/vm/page-cluster", integer),
        numa_balancing=root.parse("proc/sys/kernel/numa_balancing", integer),
    )
    if found == VmSysctls():
        raise Unavailable("absent", "proc/sys/vm")
    return found
