"""collectors/sys_debug_kvm.py: counters of machines by the process that made them."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.root import Unavailable
from collectors.sys_debug_kvm import KVM, KvmCounters, read
from tests.unit.tree import grow, malformed


def test_counters_by_process(tmp_path: Path) -> None:
    files = {
        f"{KVM}/exits": "99\n",
        f"{KVM}/30-9/exits": "7\n",
        f"{KVM}/30-9/halt_exits": "3\n",
        f"{KVM}/30-9/pages_2m": "12\n",
        f"{KVM}/30-9/halt_wait_ns": "",
        # Whoever reads this walks the guest's memory.
        f"{KVM}/30-9/mmu_rmaps_stat": "Rmap_Count:\t0\t1\n",
        f"{KVM}/30-9/vcpu0/exits": "1\n",
        f"{KVM}/31-4/exits": "5\n",
        f"{KVM}/31-5/exits": "6\n",
        f"{KVM}/32-4/exits": "1\n",
        f"{KVM}/x-4/exits": "1\n",
    }
    machines = (KvmCounters(30, {"exits": 7, "halt_exits": 3, "pages_2m": 12}), KvmCounters(31, {"exits": 11}))
    assert read(grow(tmp_path, files), [31, 30, 40]) == machines


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(grow(tmp_path, {"sys/kernel/debug/": ""}), [30])
    assert caught.value.reason == "absent"


def test_what_is_no_number(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{KVM}/30-9/exits": "many\n", f"{KVM}/30-9/halt_exits": "1\n", f"{KVM}/31-9/exits": "2\n"})
    assert read(root, [30, 31]) == (KvmCounters(30, {"halt_exits": 1}), KvmCounters(31, {"exits": 2}))
    assert malformed(root) == [f"{KVM}/30-9/exits"]
