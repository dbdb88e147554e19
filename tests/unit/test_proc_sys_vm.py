"""collectors/proc_sys_vm.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.proc_sys_vm import MemoryPolicy
from collectors.proc_sys_vm import read
from collectors.root import SysRoot, Unavailable
from tests.unit.tree import grow, malformed


def test_everything(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {"proc/sys/vm/swappiness": "60\n", "proc/sys/vm/page-cluster": "3\n", "proc/sys/kernel/numa_balancing": "2\n"},
    )
    assert read(root) == MemoryPolicy(swappiness=60, page_cluster=3, numa_balancing=2)


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))


def test_a_bad_value(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/sys/vm/swappiness": "much\n", "proc/sys/vm/page-cluster": "3\n"})
    assert read(root) == MemoryPolicy(page_cluster=3)
    assert malformed(root) == ["proc/sys/vm/swappiness"]
