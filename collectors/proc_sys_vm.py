"""The memory manager's sysctls: /proc/sys/vm, and NUMA balancing. Source: Documentation/admin-guide/sysctl/{vm,kernel}.rst."""

from __future__ import annotations

from agent.model.facts.proc_sys_vm import MemoryPolicy
from collectors.root import SysRoot, Unavailable
from collectors.text import unsigned


def read(root: SysRoot) -> MemoryPolicy:
    """Each a number in the kernel's unit. Unavailable where not one of them is there."""

    def number(name: str) -> int | None:
        return root.parse(f"proc/sys/vm/{name}", unsigned)

    policy = MemoryPolicy(
        swappiness=number("swappiness"),
        zone_reclaim_mode=number("zone_reclaim_mode"),
        overcommit_memory=number("overcommit_memory"),
        overcommit_ratio=number("overcommit_ratio"),
        overcommit_kbytes=number("overcommit_kbytes"),
        min_free_kbytes=number("min_free_kbytes"),
        watermark_scale_factor=number("watermark_scale_factor"),
        watermark_boost_factor=number("watermark_boost_factor"),
        vfs_cache_pressure=number("vfs_cache_pressure"),
        compaction_proactiveness=number("compaction_proactiveness"),
        extfrag_threshold=number("extfrag_threshold"),
        dirty_ratio=number("dirty_ratio"),
        dirty_background_ratio=number("dirty_background_ratio"),
        max_map_count=number("max_map_count"),
        min_slab_ratio=number("min_slab_ratio"),
        min_unmapped_ratio=number("min_unmapped_ratio"),
        page_cluster=number("page-cluster"),
        numa_balancing=root.parse("proc/sys/kernel/numa_balancing", unsigned),
    )
    if policy == MemoryPolicy():
        raise Unavailable("absent", "proc/sys/vm")
    return policy
