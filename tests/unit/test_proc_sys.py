"""collectors/proc_sys.py."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from collectors.proc_sys import Kernel, kernel_config, parse_loadavg, read
from collectors.sysroot import SysRoot
from collectors.text import Malformed
from tests.unit.tree import grow

CONFIG = b'# Linux\nCONFIG_HZ_250=y\nCONFIG_HZ=250\n# CONFIG_PSI is not set\nCONFIG_NUMA=y\nCONFIG_LOCALVERSION="-x"\n'


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
            "proc/config.gz": gzip.compress(CONFIG),
            "sys/devices/system/clocksource/clocksource0/available_clocksource": "arch_sys_counter jiffies\n",
            "sys/hypervisor/type": "xen\n",
        },
    )
    config = {"CONFIG_HZ": "250", "CONFIG_NUMA": "y"}
    clocks = ("arch_sys_counter", "jiffies")
    assert read(root) == Kernel("box", "6.1.0-x", "aarch64", "c0ffee", 12345.67, (0.1, 1.0, 2.5), 250, config, clocks, "xen")


def test_another_root_is_not_this_host(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path)) == Kernel()
    assert read(grow(tmp_path, {"proc/sys/kernel/hostname": "\n", "proc/uptime": "\n"})) == Kernel()


@pytest.mark.parametrize("text", ["", "1 2", "a b c", "nan 1 1", "1 inf 1", "1,0 1 1"])
def test_bad_averages(text: str) -> None:
    with pytest.raises(Malformed):
        parse_loadavg(text)


@pytest.mark.parametrize("text", ["x", "nan", "-", "1e999 3"])
def test_bad_uptime(tmp_path: Path, text: str) -> None:
    with pytest.raises(Malformed, match="proc/uptime"):
        read(grow(tmp_path, {"proc/uptime": text}))


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (b"", {}),
        (b"\nCONFIG_HZ=", {}),
        (b"\nCONFIG_HZ=25", {}),  # cut: it was 250
        (b"\nCONFIG_HZ=100\n", {"CONFIG_HZ": "100"}),
        (b"\nCONFIG_HZ_100=y\n", {}),
        (b'\nCONFIG_PREEMPT_RT="y"\n\xff\xfe', {"CONFIG_PREEMPT_RT": "y"}),
    ],
)
def test_configuration(tmp_path: Path, text: bytes, config: dict[str, str]) -> None:
    assert kernel_config(grow(tmp_path, {"proc/config.gz": gzip.compress(text)})) == config


def test_a_cut_archive_gives_what_it_holds(tmp_path: Path) -> None:
    packed = gzip.compress(CONFIG * 1)
    for length in range(len(packed)):
        found = kernel_config(grow(tmp_path, {"proc/config.gz": packed[:length]}))
        assert found.get("CONFIG_HZ") in (None, "250")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(b"\n" * (64 << 20) + CONFIG)
    assert kernel_config(grow(tmp_path, {"proc/config.gz": packed})) == {}


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r"config\.gz"):
        kernel_config(grow(tmp_path, {"proc/config.gz": b"CONFIG_HZ=250"}))
