"""collectors/proc_sys_sched.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.values import UNLIMITED, Limit
from collectors.proc_sys_sched import KERNEL, Sched, read
from collectors.root import SysRoot, Unavailable
from tests.unit.tree import grow


def test_a_kernel_of_today(tmp_path: Path) -> None:
    values = {"sched_rt_runtime_us": 950000, "sched_rt_period_us": 1000000, "sched_autogroup_enabled": 1, "sched_schedstats": 0}
    root = grow(tmp_path, {f"{KERNEL}/{name}": f"{value}\n" for name, value in values.items()})
    assert read(root) == Sched(rt_runtime_usec=Limit(950000), rt_period_usec=1000000, autogroup=True, schedstats=False)


def test_real_time_without_a_bound(tmp_path: Path) -> None:
    assert read(grow(tmp_path, {f"{KERNEL}/sched_rt_runtime_us": "-1\n"})).rt_runtime_usec == UNLIMITED


def test_before_debugfs_had_them(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{KERNEL}/sched_latency_ns": "24000000\n", f"{KERNEL}/sched_nr_migrate": "32\n"})
    assert read(root) == Sched(latency_ns=24000000, nr_migrate=32)


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))
