"""Swap areas: /proc/swaps."""

from __future__ import annotations

from agent.model.values import Fact


class Swap(Fact, frozen=True, kw_only=True):
    """A swap area; the higher priority is used first. `type` is "partition" for any block device, zram among them, else "file"."""

    name: str
    type: str
    size_bytes: int
    used_bytes: int
    priority: int
