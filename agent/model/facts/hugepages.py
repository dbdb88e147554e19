"""Pools of explicit huge pages: /sys/kernel/mm/hugepages, /sys/devices/system/node/nodeN/hugepages."""

from __future__ import annotations

from agent.model.values import Fact


class HugePagePool(Fact, frozen=True, kw_only=True):
    """A pool of explicit huge pages. `surplus_pages` are in the total and go back when they are freed; the host's pool may grow by
    `overcommit_pages` of them, and has promised `reserved_pages` that nobody has touched yet.
    """

    page_bytes: int
    total_pages: int | None = None
    free_pages: int | None = None
    surplus_pages: int | None = None
    overcommit_pages: int | None = None
    reserved_pages: int | None = None
