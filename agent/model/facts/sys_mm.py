"""Transparent huge pages, merged pages and the compressed swap cache: /sys/kernel/mm, /sys/module/zswap/parameters."""

from __future__ import annotations

from agent.model.values import Fact


class Thp(Fact, frozen=True, kw_only=True):
    """Transparent huge pages, in the kernel's words. `sizes`: what is chosen for each size in bytes, "never" left out (since Linux 6.8)."""

    enabled: str | None = None
    defrag: str | None = None
    shmem_enabled: str | None = None
    huge_page_bytes: int | None = None
    zero_page: bool | None = None
    khugepaged_defrag: bool | None = None
    khugepaged_pages_to_scan: int | None = None
    khugepaged_scan_sleep_msec: int | None = None
    khugepaged_pages_collapsed: int | None = None
    khugepaged_full_scans: int | None = None
    sizes: dict[int, str] = {}


class Ksm(Fact, frozen=True, kw_only=True):
    """Merging of equal pages; counts are pages. `general_profit_bytes` may be negative: what it saves less what it takes."""

    run: int | None = None
    pages_shared: int | None = None
    pages_sharing: int | None = None
    pages_unshared: int | None = None
    pages_volatile: int | None = None
    pages_scanned: int | None = None
    full_scans: int | None = None
    zero_pages: int | None = None
    general_profit_bytes: int | None = None
    merge_across_nodes: bool | None = None


class Zswap(Fact, frozen=True, kw_only=True):
    """A compressed cache before swap: `stored_bytes` of pages take `pool_bytes` of memory (both of /proc/meminfo)."""

    enabled: bool | None = None
    compressor: str | None = None
    max_pool_percent: int | None = None
    accept_threshold_percent: int | None = None
    shrinker_enabled: bool | None = None
    pool_bytes: int | None = None
    stored_bytes: int | None = None
