"""agent/normalise/kernel_memory.py."""

from __future__ import annotations

import pytest

from agent.model.logical import Ksm, Memory, MemoryPolicy, Overcommit, Swap, Thp, Zswap
from agent.model.physical import HugePages
from agent.normalise.kernel_memory import memory, unusable
from agent.sample import Sample
from collectors import hugepages, proc_swaps, proc_sys_vm, proc_vm, sys_mm


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
    zones = (proc_vm.Zone(0, "Normal", 6), proc_vm.Zone(1, "Normal"))
    found = memory(Sample(memory=proc_vm.Memory({}, zones, (proc_vm.Buddy(0, "Normal", (2, 2)),), {"pgscan_kswapd": 1, "nr_x": 2, "y": 3})))
    assert [(zone.free_pages, zone.free_blocks, zone.unusable_ratio) for zone in found.zones] == [(6, (2, 2), (0.0, 0.333)), (None, (), ())]
    assert found.vmstat == {"pgscan_kswapd": 1, "nr_x": 2}


def test_choices_and_what_came_of_them() -> None:
    sample = Sample(
        memory=proc_vm.Memory({"CommitLimit": 1000, "Committed_AS": 2500, "Zswap": 10, "Zswapped": 30}),
        vm=proc_sys_vm.VmSysctls(overcommit_memory=2, swappiness=60),
        policy=sys_mm.MemoryPolicy(sys_mm.Thp("always"), sys_mm.Ksm(1), sys_mm.Zswap(True), False, {0: 3}),
        swaps=(proc_swaps.Swap("/swap", "file", 4096, 0, -2),),
        pools=(hugepages.HugePagePool(4096, None, 4, 3, 2, 1, 0), hugepages.HugePagePool(4096, 0, 4, 3, 2)),
    )
    found = memory(sample)
    assert found.policy == MemoryPolicy(overcommit_memory=2, swappiness=60, demotion_enabled=False, interleave_weights={0: 3})
    assert found.overcommit == Overcommit("never", 1000, 2500, 2.5)
    assert (found.thp, found.ksm, found.zswap) == (Thp("always"), Ksm(1), Zswap(True, pool_bytes=10, stored_bytes=30))
    assert (found.swaps, found.zram) == ((Swap("/swap", "file", 4096, 0, -2),), None)
    assert found.hugepages == (HugePages(4096, 4, 3, 2, 1, 0),)


def test_nothing() -> None:
    assert memory(Sample()) == Memory()
    assert memory(Sample(policy=sys_mm.MemoryPolicy(), swaps=(), memory=proc_vm.Memory({"CommitLimit": 0, "Committed_AS": 1}))) == Memory(
        {"CommitLimit": 0, "Committed_AS": 1}, swaps=(), overcommit=Overcommit(None, 0, 1)
    )
