"""Memory policy of the host: transparent huge pages, KSM, demotion and weights of nodes (/sys/kernel/mm), and zswap's parameters.

Sources: Documentation/admin-guide/mm/{transhuge,ksm,zswap}.rst, Documentation/ABI/testing/sysfs-kernel-mm-{numa,mempolicy*}.
"""

from __future__ import annotations

import re

from agent.model.facts.sys_mm import Ksm, Thp, Zswap
from agent.model.values import Fact, is_number
from collectors.root import SysRoot
from collectors.text import flag, integer, unsigned

MM = "sys/kernel/mm"
THP = f"{MM}/transparent_hugepage"
ZSWAP = "sys/module/zswap/parameters"
WEIGHTS = f"{MM}/mempolicy/weighted_interleave"

_CHOSEN = re.compile(r"\[([\w+]+)\]")
_WORD = re.compile(r"[\w-]{1,64}")
_MAX_SIZES = 64


class MemoryManagement(Fact, frozen=True, kw_only=True):
    """`interleave_weights` by node; `demotion_enabled`: reclaim may move pages to slower nodes."""

    thp: Thp = Thp()
    ksm: Ksm = Ksm()
    zswap: Zswap = Zswap()
    demotion_enabled: bool | None = None
    interleave_weights: dict[int, int] = {}


def read(root: SysRoot) -> MemoryManagement:
    nodes = [name for name in root.names(WEIGHTS) if name[:4] == "node" and is_number(name[4:])]
    weights = {int(name[4:]): root.parse(f"{WEIGHTS}/{name}", unsigned) for name in nodes}
    return MemoryManagement(
        thp=_thp(root),
        ksm=_ksm(root),
        zswap=Zswap(
            enabled=root.parse(f"{ZSWAP}/enabled", flag),
            compressor=root.parse(f"{ZSWAP}/compressor", word),
            max_pool_percent=root.parse(f"{ZSWAP}/max_pool_percent", unsigned),
            accept_threshold_percent=root.parse(f"{ZSWAP}/accept_threshold_percent", unsigned),
            shrinker_enabled=root.parse(f"{ZSWAP}/shrinker_enabled", flag),
        ),
        demotion_enabled=root.parse(f"{MM}/numa/demotion_enabled", flag),
        interleave_weights={node: weight for node, weight in weights.items() if weight is not None},
    )


def _thp(root: SysRoot) -> Thp:
    def number(name: str) -> int | None:
        return root.parse(f"{THP}/{name}", unsigned)

    sizes: dict[int, str] = {}
    for name in root.names(THP):
        size = name.removeprefix("hugepages-").removesuffix("kB")
        if size != name and is_number(size) and len(sizes) < _MAX_SIZES:
            choice = root.parse(f"{THP}/{name}/enabled", chosen)
            if choice is not None and choice != "never":
                sizes[int(size) << 10] = choice
    return Thp(
        enabled=root.parse(f"{THP}/enabled", chosen),
        defrag=root.parse(f"{THP}/defrag", chosen),
        shmem_enabled=root.parse(f"{THP}/shmem_enabled", chosen),
        huge_page_bytes=number("hpage_pmd_size"),
        zero_page=root.parse(f"{THP}/use_zero_page", flag),
        khugepaged_defrag=root.parse(f"{THP}/khugepaged/defrag", flag),
        khugepaged_pages_to_scan=number("khugepaged/pages_to_scan"),
        khugepaged_scan_sleep_msec=number("khugepaged/scan_sleep_millisecs"),
        khugepaged_pages_collapsed=number("khugepaged/pages_collapsed"),
        khugepaged_full_scans=number("khugepaged/full_scans"),
        sizes=sizes,
    )


def _ksm(root: SysRoot) -> Ksm:
    def number(name: str) -> int | None:
        return root.parse(f"{MM}/ksm/{name}", unsigned)

    return Ksm(
        run=number("run"),
        pages_shared=number("pages_shared"),
        pages_sharing=number("pages_sharing"),
        pages_unshared=number("pages_unshared"),
        pages_volatile=number("pages_volatile"),
        pages_scanned=number("pages_scanned"),
        full_scans=number("full_scans"),
        zero_pages=number("ksm_zero_pages"),
        general_profit_bytes=root.parse(f"{MM}/ksm/general_profit", integer),
        merge_across_nodes=root.parse(f"{MM}/ksm/merge_across_nodes", flag),
    )


def chosen(text: str) -> str | None:
    """ "always [madvise] never" -> "madvise"."""
    match = _CHOSEN.search(text)
    return match[1] if match else None


def word(text: str) -> str | None:
    return text.strip() if _WORD.fullmatch(text.strip()) else None
