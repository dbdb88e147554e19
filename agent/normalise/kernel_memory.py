"""The kernel's memory: zones and their fragmentation, policies, overcommit, merged, compressed and swapped pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.facts.proc_sys_vm import MemoryPolicy
from agent.model.facts.proc_vm import Zone
from agent.model.facts.sys_mm import Zswap
from agent.model.logical import KernelMemory, Overcommit
from agent.model.values import Fact

R = TypeVar("R", bound=Fact)

_VMSTAT = (
    *("allocstall", "balloon_", "compact_", "htlb_", "ksm_", "kswapd_", "nr_", "numa_", "oom_", "pageoutrun", "pgalloc_", "pgdemote"),
    *("pgfault", "pgfree", "pgmajfault", "pgmigrate_", "pgpromote", "pgscan", "pgsteal", "pswp", "slabs_scanned", "swap_ra", "thp_"),
    *("unevictable_", "workingset_", "zswp"),
)

_OVERCOMMIT: dict[int, Literal["heuristic", "always", "never"]] = {0: "heuristic", 1: "always", 2: "never"}


def memory(sample: Sample) -> KernelMemory:
    files, pools, mm, vm = sample.host.memory, sample.host.huge_page_pools, sample.host.memory_policy, sample.host.vm_sysctls
    meminfo = files.meminfo_bytes if files else {}
    zswap = replace(mm.zswap if mm else Zswap(), pool_bytes=meminfo.get("Zswap"), stored_bytes=meminfo.get("Zswapped"))
    policy = vm or MemoryPolicy()
    if mm is not None:
        policy = replace(policy, demotion_enabled=mm.demotion_enabled, interleave_weights=mm.interleave_weights)
    return KernelMemory(
        meminfo_bytes=meminfo,
        zones=_zones(sample),
        vmstat={name: value for name, value in files.vmstat.items() if name.startswith(_VMSTAT)} if files else {},
        hugepages=pools.host if pools else (),
        policy=_none_if_default(policy),
        overcommit=_none_if_default(_overcommit(sample, meminfo)),
        thp=_none_if_default(mm.thp) if mm else None,
        ksm=_none_if_default(mm.ksm) if mm else None,
        zswap=_none_if_default(zswap),
        swaps=sample.host.swaps,
        zram=sample.host.zram,
    )


def _zones(sample: Sample) -> tuple[Zone, ...]:
    if sample.host.memory is None:
        return ()
    blocks = {(buddy.node, buddy.zone): buddy.blocks for buddy in sample.host.memory.buddies}
    return tuple(
        replace(
            span.zone,
            free_blocks=blocks.get((span.zone.node, span.zone.name), ()),
            unusable_ratio=unusable(blocks.get((span.zone.node, span.zone.name), ())),
        )
        for span in sample.host.memory.zones
    )


def unusable(blocks: Sequence[int]) -> tuple[float, ...]:
    """Per order, the share of free pages in smaller blocks (unusable_free_index in mm/vmstat.c), to three places; 1 without free ones."""
    pages = [count << order for order, count in enumerate(blocks)]
    free, below, ratios = sum(pages), 0, []
    for size in pages:
        ratios.append(below * 1000 // free / 1000 if free else 1.0)
        below += size
    return tuple(ratios)


def _overcommit(sample: Sample, meminfo: dict[str, int]) -> Overcommit:
    limit, committed = meminfo.get("CommitLimit"), meminfo.get("Committed_AS")
    mode = sample.host.vm_sysctls.overcommit_memory if sample.host.vm_sysctls else None
    return Overcommit(
        _OVERCOMMIT.get(mode) if mode is not None else None,
        limit,
        committed,
        round(committed / limit, 4) if committed is not None and limit else None,
    )


def _none_if_default(record: R) -> R | None:
    return None if record == type(record)() else record
