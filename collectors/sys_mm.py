"""Memory policy of the host: /sys/kernel/mm, zswap's parameters, and the vm sysctls that bear on placement.

Sources: Documentation/admin-guide/mm/{transhuge,ksm}.rst, Documentation/admin-guide/sysctl/{vm,kernel}.rst.
"""

from __future__ import annotations

import re

from agent.model.values import Fact
from collectors.sysroot import SysRoot
from collectors.text import integer

_CHOSEN = re.compile(r"\[([\w+]+)\]")


class MemoryPolicy(Fact, frozen=True):
    """Choices in the kernel's words. KSM counts are pages, as `pages_shared` and `pages_sharing` are."""

    thp_enabled: str | None = None
    thp_defrag: str | None = None
    ksm_run: int | None = None
    ksm_pages_shared: int | None = None
    ksm_pages_sharing: int | None = None
    zswap_enabled: bool | None = None
    swappiness: int | None = None
    overcommit_memory: int | None = None
    zone_reclaim_mode: int | None = None
    numa_balancing: int | None = None


def read(root: SysRoot) -> MemoryPolicy:
    return MemoryPolicy(
        thp_enabled=root.parse("sys/kernel/mm/transparent_hugepage/enabled", chosen),
        thp_defrag=root.parse("sys/kernel/mm/transparent_hugepage/defrag", chosen),
        ksm_run=root.parse("sys/kernel/mm/ksm/run", integer),
        ksm_pages_shared=root.parse("sys/kernel/mm/ksm/pages_shared", integer),
        ksm_pages_sharing=root.parse("sys/kernel/mm/ksm/pages_sharing", integer),
        zswap_enabled=root.parse("sys/module/zswap/parameters/enabled", lambda text: text.strip() in ("Y", "1")),
        swappiness=root.parse("proc/sys/vm/swappiness", integer),
        overcommit_memory=root.parse("proc/sys/vm/overcommit_memory", integer),
        zone_reclaim_mode=root.parse("proc/sys/vm/zone_reclaim_mode", integer),
        numa_balancing=root.parse("proc/sys/kernel/numa_balancing", integer),
    )


def chosen(text: str) -> str | None:
    """ "always [madvise] never" -> "madvise"."""
    match = _CHOSEN.search(text)
    return match[1] if match else None
