"""The memory manager's sysctls: /proc/sys/vm. Source: Documentation/admin-guide/sysctl/{vm,kernel}.rst."""

from __future__ import annotations

from agent.model.values import Fact


class MemoryPolicy(Fact, frozen=True, kw_only=True):
    """Choices that bear on placement, reclaim and compaction, under the kernel's names (Documentation/admin-guide/sysctl/vm.rst).

    `numa_balancing` is a set of bits: 1 moves pages towards their users, 2 promotes them between tiers of memory. `demotion_enabled`:
    reclaim may move pages to slower nodes; it and `interleave_weights` by node are of /sys/kernel/mm.
    """

    swappiness: int | None = None
    overcommit_memory: int | None = None
    overcommit_ratio: int | None = None
    overcommit_kbytes: int | None = None
    zone_reclaim_mode: int | None = None
    numa_balancing: int | None = None
    demotion_enabled: bool | None = None
    interleave_weights: dict[int, int] = {}
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
