"""SMBIOS structures of memory, as firmware writes them: DMTF DSP0134, 7.17 (type 16), 7.18 (17), 7.20 (19) and 7.21 (20)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

DDR4, DDR5, NON_VOLATILE, UNKNOWN_TYPE = 0x1A, 0x22, 0x1F, 0x02
DRAM, OPTANE, UNKNOWN_TECHNOLOGY = 0x03, 0x07, 0x02
_DIMM, _NOT_GIVEN = 0x09, 0xFFFE


@dataclass(frozen=True, kw_only=True)
class Dimm:
    """One slot. `megabytes`: 0 where it is empty, None where firmware does not know."""

    handle: int
    array: int
    locator: str
    bank: str
    megabytes: int | None = 0
    type: int = UNKNOWN_TYPE
    technology: int = UNKNOWN_TECHNOLOGY
    speed: int = 0  # MT/s
    configured_speed: int = 0
    millivolts: int = 0
    ranks: int = 0
    total_width: int = 72
    data_width: int = 64
    manufacturer: str = "NO DIMM"
    serial: str = "NO DIMM"
    part: str = "NO DIMM"


def memory_array(handle: int, slots: int, gigabytes: int) -> bytes:
    """Type 16: slots on the board for system memory, with multi-bit ECC."""
    return _structure(16, handle, struct.pack("<BBBLHHQ", 3, 3, 6, 0x80000000, _NOT_GIVEN, slots, gigabytes << 30))


def memory_device(dimm: Dimm) -> bytes:
    """Type 17, of SMBIOS 3.3."""
    # From 32767 MiB on the size stands in a field of its own; 0xFFFF is not known.
    size = 0xFFFF if dimm.megabytes is None else min(dimm.megabytes, 0x7FFF)
    extended = (dimm.megabytes or 0) if size == 0x7FFF else 0
    volatile = 0 if dimm.type == NON_VOLATILE else (dimm.megabytes or 0) << 20
    lasting = (dimm.megabytes or 0) << 20 if dimm.type == NON_VOLATILE else 0
    widths = (dimm.total_width, dimm.data_width)
    body = struct.pack("<HHHHHBBBBBHH", dimm.array, _NOT_GIVEN, *widths, size, _DIMM, 0, 1, 2, dimm.type, 0x80, dimm.speed)
    body += struct.pack("<BBBBBLHHHH", 3, 4, 0, 5, dimm.ranks, extended, dimm.configured_speed, *[dimm.millivolts] * 3)
    mode = 0x10 if lasting else 0x08  # byte-accessible persistent, volatile
    body += struct.pack("<BHBHHHHQQQQLL", dimm.technology, mode, 0, 0, 0, 0, 0, lasting, volatile, 0, 0, 0, 0)
    return _structure(17, dimm.handle, body, dimm.locator, dimm.bank, dimm.manufacturer, dimm.serial, dimm.part)


def array_address(handle: int, array: int, start: int, end: int, devices: int) -> bytes:
    """Type 19: the bytes from `start` to before `end` are this array's."""
    return _structure(19, handle, struct.pack("<LLHBQQ", start >> 10, (end >> 10) - 1, array, devices, 0, 0))


def device_address(handle: int, device: int, mapped: int, start: int, end: int, interleave: int = 0) -> bytes:
    """Type 20: ... are this device's, alone or as the n-th of those that take turns."""
    body = struct.pack("<LLHHBBBQQ", start >> 10, (end >> 10) - 1, device, mapped, 1, interleave, 1 if interleave else 0, 0, 0)
    return _structure(20, handle, body)


def _structure(kind: int, handle: int, body: bytes, *strings: str) -> bytes:
    """Header, formatted part, strings, and two NUL bytes at the end (6.1)."""
    texts = b"".join(text.encode() + b"\0" for text in strings) or b"\0"
    return struct.pack("<BBH", kind, 4 + len(body), handle) + body + texts + b"\0"
