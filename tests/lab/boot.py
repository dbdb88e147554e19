"""Machines of a few bytes: boot sectors, firmware, and the definitions of domains that start with them."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

IDLE = b"\xfb\xf4\xeb\xfd"  # sti; hlt; jmp to hlt
BUSY = b"\xeb\xfe"  # jmp to itself


def boot_sector(code: bytes) -> bytes:
    return code.ljust(510, b"\0") + b"\x55\xaa"


def boot_disk(path: Path, code: bytes = IDLE) -> Path:
    """A disk whose boot sector runs `code` for ever, on the first vCPU alone. SeaBIOS boots none of less than a cylinder (504 KiB)."""
    path.write_bytes(boot_sector(code))
    os.truncate(path, 1 << 20)
    return path


# cli; cld; es = ss = 0; sp = 7c00h; ds = f000h; copies 512 bytes from ds:100h to es:7c00h; ds = 0; jumps to 0:7c00h
_BOOT = bytes.fromhex("fafc 31c0 8ec0 8ed0 bc007c b800f0 8ed8 be0001 bf007c b90001 f3a5 8ed9 ea007c0000")


def firmware(path: Path, code: bytes = IDLE) -> Path:
    """`path`.rom, which is at its boot sector's `code` at once. What SeaBIOS does before takes seconds where KVM is emulated.

    64 KiB, which lie at f0000h; the processor begins 16 bytes before their end with a jump to f000h:0.
    """
    begin = b"\xea\x00\x00\x00\xf0"
    path = path.with_suffix(".rom")
    path.write_bytes((_BOOT.ljust(0x100, b"\0") + boot_sector(code)).ljust(0xFFF0, b"\0") + begin.ljust(16, b"\0"))
    return path


def domain_xml(name: str, starts: Path, *, vcpus: int = 2, memory_mib: int = 64, pins: Mapping[int, str] | None = None) -> str:
    """A machine that starts with this firmware, or SeaBIOS from this disk: KVM where it opens, else TCG. `pins` gives a vCPU its CPUs."""
    domain = ET.Element("domain", type="kvm" if kvm() else "qemu")
    ET.SubElement(domain, "name").text = name
    ET.SubElement(domain, "memory", unit="MiB").text = str(memory_mib)
    ET.SubElement(domain, "vcpu").text = str(vcpus)
    tune = ET.SubElement(domain, "cputune")
    for vcpu, cpus in (pins or {}).items():
        ET.SubElement(tune, "vcpupin", vcpu=str(vcpu), cpuset=cpus)
    boot = ET.SubElement(domain, "os")
    ET.SubElement(boot, "type", arch="x86_64").text = "hvm"
    devices = ET.SubElement(domain, "devices")
    if starts.suffix == ".rom":
        ET.SubElement(boot, "loader", readonly="yes", type="rom").text = str(starts)
    else:
        image = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(image, "driver", name="qemu", type="raw")
        ET.SubElement(image, "source", file=str(starts))
        ET.SubElement(image, "target", dev="vda", bus="virtio")
    return ET.tostring(domain, encoding="unicode", short_empty_elements=False)


def kvm() -> bool:
    """Whether /dev/kvm opens."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
