"""agent/normalise/kernel_memory.py."""

from __future__ import annotations

import pytest

from agent.collect.host_facts import HostFacts
from agent.collect.sample import Sample
from agent.model.facts.hugepages import HugePagePool
from agent.model.facts.proc_swaps import Swap
from agent.model.facts.proc_sys_vm import MemoryPolicy
from agent.model.facts.proc_vm import Zone
from agent.model.facts.sys_mm import Ksm, Thp, Zswap
from agent.model.logical import KernelMemory, Overcommit
from agent.normalise.kernel_memory import memory, unusable
from collectors import hugepages, proc_vm, sys_mm


@pytest.mark.parametrize(
    ("blocks", "ratios"),
    [
        ((), ()),
        # As debugfs' extfrag/unusable_index has it: thousandths, cut; where nothing is free, nothing is usable.
        ((0, 0), (1.0, 1.0)),
        ((4, 0, 1), (0.0, 0.5, 0.5)),
        ((1, 1, 0), (0.0, 0.333, 1.0)),
        ((0, 0, 3), (0.0, 0.0, 0.0)),
    ],
)
def test_free_pages_that_a_request_cannot_use(blocks: tuple[int, ...], ratios: tuple[float, ...]) -> None:
    assert unusable(blocks) == ratios


def test_zones_meet_their_free_blocks() -> None:
    zones = (proc_vm.ZoneSpan(Zone(node=0, name="Normal", free_pages=6)), proc_vm.ZoneSpan(Zone(node=1, name="Normal")))
    found = memory(
        Sample(
            host=HostFacts(
                memory=proc_vm.ProcMemory(
                    meminfo_bytes={},
                    zones=zones,
                    buddies=(proc_vm.Buddy(0, "Normal", (2, 2)),),
                    vmstat={"pgscan_kswapd": 1, "nr_x": 2, "y": 3},
                )
            )
        )
    )
    assert [(zone.free_pages, zone.free_blocks, zone.unusable_ratio) for zone in found.zones] == [(6, (2, 2), (0.0, 0.333)), (None, (), ())]
    assert found.vmstat == {"pgscan_kswapd": 1, "nr_x": 2}


def test_choices_and_what_came_of_them() -> None:
    sample = Sample(
        host=HostFacts(
            memory=proc_vm.ProcMemory(meminfo_bytes={"CommitLimit": 1000, "Committed_AS": 2500, "Zswap": 10, "Zswapped": 30}),
            vm_sysctls=MemoryPolicy(overcommit_memory=2, swappiness=60),
            memory_policy=sys_mm.MemoryManagement(
                thp=Thp(enabled="always"),
                ksm=Ksm(run=1),
                zswap=Zswap(enabled=True),
                demotion_enabled=False,
                interleave_weights={0: 3},
            ),
            swaps=(Swap(name="/swap", type="file", size_bytes=4096, used_bytes=0, priority=-2),),
            huge_page_pools=hugepages.HugePagePools(
                host=(HugePagePool(page_bytes=4096, total_pages=4, free_pages=3, surplus_pages=2, overcommit_pages=1, reserved_pages=0),),
                by_node={0: (HugePagePool(page_bytes=4096, total_pages=4, free_pages=3, surplus_pages=2),)},
            ),
        )
    )
    found = memory(sample)
    assert found.policy == MemoryPolicy(overcommit_memory=2, swappiness=60, demotion_enabled=False, interleave_weights={0: 3})
    assert found.overcommit == Overcommit("never", 1000, 2500, 2.5)
    assert (found.thp, found.ksm, found.zswap) == (Thp(enabled="always"), Ksm(run=1), Zswap(enabled=True, pool_bytes=10, stored_bytes=30))
    assert (found.swaps, found.zram) == ((Swap(name="/swap", type="file", size_bytes=4096, used_bytes=0, priority=-2),), None)
    assert found.hugepages == (
        HugePagePool(page_bytes=4096, total_pages=4, free_pages=3, surplus_pages=2, overcommit_pages=1, reserved_pages=0),
    )


def test_nothing() -> None:
    assert memory(Sample()) == KernelMemory()
    assert memory(
        Sample(
            host=HostFacts(
                memory_policy=sys_mm.MemoryManagement(),
                swaps=(),
                memory=proc_vm.ProcMemory(meminfo_bytes={"CommitLimit": 0, "Committed_AS": 1}),
            )
        )
    ) == KernelMemory(meminfo_bytes={"CommitLimit": 0, "Committed_AS": 1}, swaps=(), overcommit=Overcommit(None, 0, 1))
