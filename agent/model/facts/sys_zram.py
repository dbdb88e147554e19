"""Compressed block devices in memory: /sys/devices/virtual/block/zramN. Source: Documentation/admin-guide/blockdev/zram.rst."""

from __future__ import annotations

from agent.model.values import Fact


class Zram(Fact, frozen=True, kw_only=True):
    """A compressed block device in memory, whatever is on it. `disk_bytes` is 0 before it is set up; `memory_used_bytes` holds what its
    allocator wastes, too.
    """

    number: int
    disk_bytes: int | None = None
    original_bytes: int | None = None
    compressed_bytes: int | None = None
    memory_used_bytes: int | None = None
