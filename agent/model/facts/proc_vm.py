"""Zones of memory: /proc/zoneinfo. Source: mm/vmstat.c."""

from __future__ import annotations

from agent.model.values import Fact


class Zone(Fact, frozen=True, kw_only=True):
    """A zone of a node; pages as the kernel counts them. `managed_pages` is what the buddy allocator was given.

    `free_blocks[k]` counts its free blocks of 2^k pages; /proc/buddyinfo adds them.

    `unusable_ratio[k]` is the share of the free pages that lie in smaller blocks than 2^k: what a request for one cannot use.
    Formula: (free - sum of free_blocks[j] * 2^j for j >= k) / free (mm/vmstat.c, unusable_free_index()).
    """

    node: int
    name: str
    free_pages: int | None = None
    min_pages: int | None = None
    low_pages: int | None = None
    high_pages: int | None = None
    present_pages: int | None = None
    managed_pages: int | None = None
    free_blocks: tuple[int, ...] = ()
    unusable_ratio: tuple[float, ...] = ()
