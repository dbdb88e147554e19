"""collectors/sys_dax.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.sys_dax import DaxDevice
from collectors.root import SysRoot, Unavailable
from collectors.sys_dax import BUS, DEVICES, MAX_DEVICES, parse_backing, read
from tests.unit.tree import grow, malformed


def test_devices(tmp_path: Path) -> None:
    there = "sys/devices/platform/hmem.1/dax1.0"
    root = grow(
        tmp_path,
        {
            f"{there}/size": "536870912\n",
            f"{there}/target_node": "4\n",
            f"{there}/numa_node": "1\n",
            f"{there}/uevent": "MAJOR=253\nDRIVER=kmem\nMODALIAS=dax:t0\n",
            f"{DEVICES}/dax0.0/target_node": "-1\n",
        },
    )
    (tmp_path / DEVICES / "dax1.0").symlink_to(f"../../../../{there}")
    assert read(root) == (
        DaxDevice(name="dax0.0"),
        DaxDevice(name="dax1.0", size_bytes=512 << 20, target_node=4, node=1, driver="kmem", backing="hmem"),
    )


@pytest.mark.parametrize(
    ("path", "backing"),
    [
        ("../../../devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0012:00/ndbus0/region1/dax1.0/dax1.0", "pmem"),
        ("../../../devices/platform/hmem.3/dax3.0", "hmem"),
        ("../../../devices/platform/ACPI0017:00/root0/decoder0.0/region0/dax_region0/dax0.0", "cxl"),
        ("../../../devices/platform/else/dax0.0", None),
        ("", None),
    ],
)
def test_backing(path: str, backing: str | None) -> None:
    assert parse_backing(path) == backing


def test_no_devices_and_no_bus(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))
    assert read(grow(tmp_path, {f"{BUS}/pci/": ""})) == ()


def test_too_many(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{DEVICES}/dax{number}.0/": "" for number in range(MAX_DEVICES + 1)})
    assert len(read(root)) == MAX_DEVICES
    assert [refusal.reason for refusal in root.refusals] == ["unsupported"]


@pytest.mark.parametrize("name", ["size", "target_node", "numa_node"])
def test_bad(tmp_path: Path, name: str) -> None:
    root = grow(tmp_path, {f"{DEVICES}/dax0.0/{name}": "much\n", f"{DEVICES}/dax1.0/size": "7\n"})
    assert [device.size_bytes for device in read(root)] == [None, 7]
    assert malformed(root) == [f"{DEVICES}/dax0.0/{name}"]
