"""PCI devices that move data, and where they sit: /sys/bus/pci/devices. Source: Documentation/ABI/testing/sysfs-bus-pci.

Network, storage, display and accelerators; of all others only the class is read. Class codes: PCI Code and ID Assignment
Specification (include/linux/pci_ids.h).
"""

from __future__ import annotations

import re
from typing import Literal

from agent.model.facts.sys_pci import Link, PciDevice
from agent.model.values import Fact
from collectors.root import SysRoot
from collectors.text import Malformed, cpu_list, cpu_mask, cpu_number, decimal, hexadecimal, unsigned

DEVICES = "sys/bus/pci/devices"
MAX_DEVICES = 16384

# A domain has 16 bits, and 32 where a hypervisor or a volume controller makes its own (Hyper-V, VMD).
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
Kind = Literal["storage", "network", "display", "accelerator"]
_CLASSES: dict[int, Kind] = {0x01: "storage", 0x02: "network", 0x03: "display", 0x12: "accelerator"}
_COPROCESSOR = 0x0B40
_UNKNOWN_WIDTH = (0, 0xFF)


class PciFunction(Fact, frozen=True):
    """A device, and the numbers of its message-signalled interrupts."""

    device: PciDevice
    irqs: tuple[int, ...] = ()


def read(root: SysRoot) -> tuple[PciFunction, ...]:
    addresses = [name for name in root.names(DEVICES) if _ADDRESS.fullmatch(name)]
    if len(addresses) > MAX_DEVICES:
        root.note(DEVICES, "unsupported", f"{len(addresses)} devices; the first {MAX_DEVICES} were read")
    functions = []
    for address in addresses[:MAX_DEVICES]:
        code = root.parse(f"{DEVICES}/{address}/class", hexadecimal)
        if code is not None and (kind := kind_of(code)) is not None:
            functions.append(_function(root, address, kind, code))
    return tuple(functions)


def kind_of(code: int) -> Kind | None:
    """Base class, subclass and interface in a byte each."""
    return "accelerator" if code >> 8 == _COPROCESSOR else _CLASSES.get(code >> 16)


def _function(root: SysRoot, address: str, kind: Kind, code: int) -> PciFunction:
    at = f"{DEVICES}/{address}"
    cpus = root.parse(f"{at}/local_cpulist", cpu_list)
    if cpus is None:
        cpus = root.parse(f"{at}/local_cpus", cpu_mask)
    device = PciDevice(
        address=address,
        kind=kind,
        class_code=f"0x{code:06x}",
        vendor=root.parse(f"{at}/vendor", parse_id),
        device=root.parse(f"{at}/device", parse_id),
        driver=root.parse(f"{at}/uevent", parse_driver),
        node=root.parse(f"{at}/numa_node", parse_node),
        cpus=cpus or None,
        link=_link(root, at, "current"),
        max_link=_link(root, at, "max"),
    )
    return PciFunction(device, tuple(_irqs(root, at)))


def _link(root: SysRoot, at: str, which: Literal["current", "max"]) -> Link | None:
    speed, lanes = root.parse(f"{at}/{which}_link_speed", parse_speed), root.parse(f"{at}/{which}_link_width", unsigned)
    lanes = None if lanes in _UNKNOWN_WIDTH else lanes
    return None if speed is None and lanes is None else Link(speed, lanes)


def _irqs(root: SysRoot, at: str) -> list[int]:
    # Their files say "msi" or "msix"; they are read because a recording holds what is read, not what is listed.
    names = [name for name in root.names(f"{at}/msi_irqs") if name.isascii() and name.isdecimal() and len(name) < 9]
    return sorted(int(name) for name in names[:2048] if _mode(root, f"{at}/msi_irqs/{name}"))


def _mode(root: SysRoot, path: str) -> str | None:
    """ "msi" or "msix". Before Linux 1c51b50c2995 ("PCI/MSI: Export MSI mode using attributes, not kobjects") in a file of a directory."""
    mode = root.text(path)
    if mode is None and (mode := root.text(f"{path}/mode")) is not None:
        root.drop_refusal(path)
    return mode


def parse_id(text: str) -> str:
    """ "0x8086"."""
    number = hexadecimal(text)
    if not 0 <= number <= 0xFFFF:
        raise Malformed(f"expected an identifier of 16 bits, got {text[:60]!r}", 1)
    return f"0x{number:04x}"


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
