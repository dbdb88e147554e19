"""collectors/proc_sys.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.proc_sys import Kernel, parse_loadavg, read
from collectors.root import SysRoot
from collectors.text import Malformed
from tests.unit.tree import grow, malformed


def test_everything(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            "proc/sys/kernel/hostname": "box\n",
            "proc/sys/kernel/osrelease": "6.1.0-x\n",
            "proc/sys/kernel/arch": "aarch64\n",
            "proc/sys/kernel/random/boot_id": "c0ffee\n",
            "proc/uptime": "12345.67 99.00\n",
            "proc/loadavg": "0.10 1.00 2.50 3/456 789\n",
            "proc/sys/kernel/version": "#1 SMP PREEMPT_DYNAMIC\n",
            "sys/devices/system/clocksource/clocksource0/available_clocksource": "arch_sys_counter jiffies\n",
            "sys/hypervisor/type": "xen\n",
        },
    )
    clocks = ("arch_sys_counter", "jiffies")
    version = "#1 SMP PREEMPT_DYNAMIC"
    assert read(root) == Kernel(
        hostname="box",
        release="6.1.0-x",
        architecture="aarch64",
        boot_id="c0ffee",
        uptime_seconds=12345.67,
        load_average=(0.1, 1.0, 2.5),
        clocksources=clocks,
        hypervisor_type="xen",
        version=version,
    )


def test_another_root_is_not_this_host(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path)) == Kernel()
    assert read(grow(tmp_path, {"proc/sys/kernel/hostname": "\n", "proc/uptime": "\n"})) == Kernel()


@pytest.mark.parametrize("text", ["", "1 2", "a b c", "nan 1 1", "1 inf 1", "1,0 1 1", "-1 1 1", "1 1 4194305", "1 18446744073709551615 1"])
def test_bad_averages(text: str) -> None:
    with pytest.raises(Malformed):
        parse_loadavg(text)


def test_as_many_run_as_there_can_be() -> None:
    assert parse_loadavg("0.00 4194304.00 1 9/9 9\n") == (0.0, 4194304.0, 1.0)


@pytest.mark.parametrize("text", ["x", "nan", "-", "1e999 3"])
def test_bad_uptime(tmp_path: Path, text: str) -> None:
    root = grow(tmp_path, {"proc/uptime": text, "proc/loadavg": "1 2 3\n"})
    kernel = read(root)
    assert (kernel.uptime_seconds, kernel.load_average) == (None, (1, 2, 3))
    assert malformed(root) == ["proc/uptime"]
