"""collectors/sys_pci.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.sys_pci import Link, PciDevice
from agent.model.values import CpuSet
from collectors.root import SysRoot
from collectors.root.recorder import Recorder
from collectors.sys_pci import DEVICES, PciFunction, kind_of, parse_driver, parse_id, parse_node, parse_speed, read
from collectors.text import Malformed
from tests.unit.tree import grow


def device(address: str, code: str, **more: str) -> dict[str, str]:
    return {f"{DEVICES}/{address}/{name}": f"{text}\n" for name, text in {"class": code, **more}.items()}


def test_a_network_card_behind_a_link(tmp_path: Path) -> None:
    here = "sys/devices/pci0000:80/0000:80:01.0/0000:81:00.0"
    files = {
        "class": "0x020000",
        "vendor": "0x8086",
        "device": "0x1592",
        "numa_node": "1",
        "local_cpulist": "4-7",
        "uevent": "DRIVER=ice\nPCI_CLASS=20000\nPCI_ID=8086:1592",
        "current_link_speed": "8.0 GT/s PCIe",
        "current_link_width": "8",
        "max_link_speed": "16.0 GT/s PCIe",
        "max_link_width": "16",
        "msi_irqs/131": "msix",
        "msi_irqs/99": "msix",
    }
    grow(tmp_path / "host", {f"{DEVICES}/": "", **{f"{here}/{name}": f"{text}\n" for name, text in files.items()}})
    (tmp_path / "host" / DEVICES / "0000:81:00.0").symlink_to("../../../devices/pci0000:80/0000:80:01.0/0000:81:00.0")
    expected = PciDevice(
        address="0000:81:00.0",
        kind="network",
        class_code="0x020000",
        vendor="0x8086",
        device="0x1592",
        driver="ice",
        node=1,
        cpus=CpuSet((4, 5, 6, 7)),
        link=Link(8.0, 8),
        max_link=Link(16.0, 16),
    )
    assert read(SysRoot(tmp_path / "host")) == (PciFunction(expected, (99, 131)),)
    (tmp_path / "copy").mkdir()
    recorder = Recorder(tmp_path / "host", tmp_path / "copy", 0.0, "test")
    read(recorder)
    recorder.close()
    assert read(SysRoot(tmp_path / "copy")) == (PciFunction(expected, (99, 131)),)


def test_firmware_that_says_nothing(tmp_path: Path) -> None:
    silent = {"numa_node": "-1", "local_cpulist": "", "current_link_speed": "Unknown", "current_link_width": "0", "max_link_width": "255"}
    files = device("10000:e1:00.0", "0x010802", uevent="PCI_CLASS=10802", local_cpus="00000000,00000000", **silent)
    assert read(grow(tmp_path, files)) == (PciFunction(PciDevice(address="10000:e1:00.0", kind="storage", class_code="0x010802")),)


def test_a_mask_where_there_is_no_list(tmp_path: Path) -> None:
    assert read(grow(tmp_path, device("0004:05:00.0", "0x030200", local_cpus="00000000,0000000f")))[0].device.cpus == CpuSet(range(4))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x010802, "storage"),
        (0x020000, "network"),
        (0x030000, "display"),
        (0x120000, "accelerator"),
        (0x0B4000, "accelerator"),
        (0x0B3000, None),
        (0x060400, None),
        (0xFFFF00, None),
        (-1, None),
    ],
)
def test_kinds(code: int, kind: str | None) -> None:
    assert kind_of(code) == kind


def test_other_devices_are_left_alone(tmp_path: Path) -> None:
    files = {**device("0000:00:00.0", "0x060000", vendor="x"), **device("0000:00:1g.0", "0x020000"), f"{DEVICES}/0000:00:02.0/": ""}
    assert read(grow(tmp_path, files)) == ()


def test_none(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path)) == ()


def test_values() -> None:
    assert parse_driver("PCI_CLASS=1\n") is None
    assert (parse_speed("2.5 GT/s"), parse_speed("64.0 GT/s PCIe"), parse_speed("Unknown speed")) == (2.5, 64.0, None)
    assert (parse_id("0x1af4\n"), parse_node("0\n"), parse_node("-1\n")) == ("0x1af4", 0, None)


@pytest.mark.parametrize(
    ("parse", "text"), [(parse_speed, "8.0"), (parse_speed, "x GT/s"), (parse_id, "0x10000"), (parse_id, "-1"), (parse_node, "-2")]
)
def test_bad_values(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(Malformed):
        parse(text)


def test_interrupts_of_old_kernels_are_directories(tmp_path: Path) -> None:
    files = device("0000:00:03.0", "0x020000")
    files |= {f"{DEVICES}/0000:00:03.0/msi_irqs/{irq}/mode": "msix\n" for irq in (41, 9, 40)}
    root = grow(tmp_path, files)
    assert [function.irqs for function in read(root)] == [(9, 40, 41)]
    assert root.refusals == []
