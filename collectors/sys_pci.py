"""PCI devices that move data, and where they sit: /sys/bus/pci/devices. Source: Documentation/ABI/testing/sysfs-bus-pci.

Network, storage, display and accelerators; of all others only the class is read. Class codes: PCI Code and ID Assignment
Specification (include/linux/pci_ids.h).
"""

from __future__ import annotations

import re
from typing import Literal

from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, cpu_list, cpu_mask, cpu_number, decimal, hexadecimal, integer

DEVICES = "sys/bus/pci/devices"
MAX_DEVICES = 16384

# A domain has 16 bits, and 32 where a hypervisor or a volume controller makes its own (Hyper-V, VMD).
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
Kind = Literal["storage", "network", "display", "accelerator"]
_CLASSES: dict[int, Kind] = {0x01: "storage", 0x02: "network", 0x03: "display", 0x12: "accelerator"}
_COPROCESSOR = 0x0B40
_UNKNOWN_WIDTH = (0, 0xFF)


class PciDevice(Fact, frozen=True, kw_only=True):
    """`node` and `cpus` are absent where firmware says nothing. Link speeds are GT/s a lane. `irqs` are its message-signalled ones."""

    address: str
    kind: Kind
    class_code: int
    vendor: int | None = None
    device: int | None = None
    driver: str | None = None
    node: int | None = None
    cpus: CpuSet | None = None
    link_gts: float | None = None
    link_lanes: int | None = None
    max_link_gts: float | None = None
    max_link_lanes: int | None = None
    irqs: tuple[int, ...] = ()


def read(root: SysRoot) -> tuple[PciDevice, ...]:
    addresses = [name for name in root.names(DEVICES) if _ADDRESS.fullmatch(name)]
    if len(addresses) > MAX_DEVICES:
        root.note(DEVICES, "unsupported", f"{len(addresses)} devices; the first {MAX_DEVICES} were read")
    found = []
    for address in addresses[:MAX_DEVICES]:
        code = root.parse(f"{DEVICES}/{address}/class", hexadecimal)
        if code is not None and (kind := kind_of(code)) is not None:
            found.append(_device(root, address, kind, code))
    return tuple(found)


def kind_of(code: int) -> Kind | None:
    """Base class, subclass and interface in a byte each."""
    return "accelerator" if code >> 8 == _COPROCESSOR else _CLASSES.get(code >> 16)


def _device(root: SysRoot, address: str, kind: Kind, code: int) -> PciDevice:
    at = f"{DEVICES}/{address}"
    cpus = root.parse(f"{at}/local_cpulist", cpu_list)
    if cpus is None:
        cpus = root.parse(f"{at}/local_cpus", cpu_mask)
    lanes, most = (root.parse(f"{at}/{name}_link_width", integer) for name in ("current", "max"))
    return PciDevice(
        address=address,
        kind=kind,
        class_code=code,
        vendor=root.parse(f"{at}/vendor", parse_id),
        device=root.parse(f"{at}/device", parse_id),
        driver=root.parse(f"{at}/uevent", parse_driver),
        node=root.parse(f"{at}/numa_node", parse_node),
        cpus=cpus or None,
        link_gts=root.parse(f"{at}/current_link_speed", parse_speed),
        link_lanes=None if lanes in _UNKNOWN_WIDTH else lanes,
        max_link_gts=root.parse(f"{at}/max_link_speed", parse_speed),
        max_link_lanes=None if most in _UNKNOWN_WIDTH else most,
        irqs=tuple(_irqs(root, at)),
    )


def _irqs(root: SysRoot, at: str) -> list[int]:
    # Their files say "msi" or "msix"; they are read because a recording holds what is read, not what is listed.
    names = [name for name in root.names(f"{at}/msi_irqs") if name.isascii() and name.isdecimal() and len(name) < 9]
    return sorted(int(name) for name in names[:2048] if root.text(f"{at}/msi_irqs/{name}"))


def parse_id(text: str) -> int:
    """ "0x8086"."""
    number = hexadecimal(text)
    if not 0 <= number <= 0xFFFF:
        raise Malformed(f"expected an identifier of 16 bits, got {text[:60]!r}", 1)
    return number


def parse_node(text: str) -> int | None:
    """-1 where firmware does not say."""
    return None if text.strip() == "-1" else cpu_number(text)


def parse_driver(text: str) -> str | None:
    """ "DRIVER=nvme", the first line where a driver is bound."""
    return next((line[7:] for line in text.split("\n") if line.startswith("DRIVER=")), None)


def parse_speed(text: str) -> float | None:
    """ "8.0 GT/s PCIe", "2.5 GT/s" before Linux 5.7; "Unknown" where there is no link."""
    words = text.split()
    if words[:1] == ["Unknown"]:
        return None
    if len(words) < 2 or words[1] != "GT/s":
        raise Malformed(f"expected 'N GT/s', got {text[:60]!r}", 1)
    return decimal(words[0])
