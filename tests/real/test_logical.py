"""This host's scheduler and memory in our words and in those of sysctl, swapon, zramctl and lscpu."""

from __future__ import annotations

import subprocess

import pytest

from agent.config import Config
from agent.model.logical import Logical
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from tests.lab import oracles
from tests.need import need, which

pytestmark = pytest.mark.real

SOURCES = ("kernel_config", "proc_cpuinfo", "proc_swaps", "proc_sys", "proc_sys_sched", "proc_sys_vm", "sys_cpu", "sys_mm", "sys_zram")


@pytest.fixture(scope="module")
def logical() -> Logical:
    return take_snapshot(Session(root=SysRoot("/"), config=Config(only=SOURCES))).logical


def said(*command: str) -> str:
    need(command[0])
    return subprocess.run([which(command[0]) or "", *command[1:]], capture_output=True, text=True, timeout=60, check=True).stdout


def test_sysctl(logical: Logical) -> None:
    policy, scheduler = logical.memory.policy, logical.cpu.scheduler
    assert policy is not None
    assert scheduler is not None
    ours = {
        "vm.swappiness": policy.swappiness,
        "vm.overcommit_memory": policy.overcommit_memory,
        "vm.overcommit_ratio": policy.overcommit_ratio,
        "vm.min_free_kbytes": policy.min_free_kbytes,
        "vm.page-cluster": policy.page_cluster,
        "kernel.sched_rt_runtime_us": None if scheduler.rt_runtime_usec is None else int(scheduler.rt_runtime_usec),
        "kernel.sched_rt_period_us": scheduler.rt_period_usec,
        "kernel.sched_rr_timeslice_ms": scheduler.rr_timeslice_msec,
    }
    known = {name: value for name, value in ours.items() if value is not None}
    assert {"vm.swappiness", "kernel.sched_rt_period_us"} <= known.keys()
    assert dict(zip(known, map(int, said("sysctl", "-n", *known).split()), strict=True)) == known


def test_swap(logical: Logical) -> None:
    rows = [row.split() for row in said("swapon", "--show=SIZE,USED,PRIO", "--bytes", "--noheadings", "--raw").splitlines()]
    assert logical.memory.swaps is not None
    assert [[str(swap.size_bytes), str(swap.used_bytes), str(swap.priority)] for swap in logical.memory.swaps] == rows


def test_zram(logical: Logical) -> None:
    # A device that was not set up yet is not in zramctl's table.
    rows = said("zramctl", "--output", "NAME,DISKSIZE", "--bytes", "--noheadings", "--raw").splitlines()
    assert [f"/dev/zram{device.number} {device.disk_bytes}" for device in logical.memory.zram or () if device.disk_bytes] == rows


def test_address_sizes(logical: Logical) -> None:
    fields = oracles.lscpu_fields(said("lscpu", "-J"))
    bits = (logical.cpu.physical_address_bits, logical.cpu.virtual_address_bits)
    assert fields.get("Address sizes") == (None if None in bits else "{} bits physical, {} bits virtual".format(*bits))
