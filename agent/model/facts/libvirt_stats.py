"""What a guest's balloon driver and its monitor say of its memory, by libvirt."""

from __future__ import annotations

from agent.model.values import Fact


class Balloon(Fact, frozen=True, kw_only=True):
    """`current_bytes` is what the balloon leaves the guest of `maximum_bytes`; `rss_bytes` what is resident of its monitor's process.

    The others are the guest's own words, as old as `updated_at_seconds` since 1970 (0: it never said any): what it has and does not use,
    what it swapped, its page cache, its faults, and huge pages that it was given or refused.
    Source: virConnectGetAllDomainStats, VIR_DOMAIN_STATS_BALLOON, whose sizes are in KiB.
    """

    current_bytes: int | None = None
    maximum_bytes: int | None = None
    rss_bytes: int | None = None
    available_bytes: int | None = None
    unused_bytes: int | None = None
    usable_bytes: int | None = None
    disk_caches_bytes: int | None = None
    swapped_in_bytes: int | None = None
    swapped_out_bytes: int | None = None
    major_faults: int | None = None
    minor_faults: int | None = None
    huge_page_allocations: int | None = None
    huge_page_failures: int | None = None
    updated_at_seconds: int | None = None
