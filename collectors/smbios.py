"""Memory devices as firmware lists them: types 16, 17, 19 and 20 of /sys/firmware/dmi/tables/DMI, which only root may read.

Source: DMTF DSP0134, System Management BIOS Reference Specification 3.7, sections 6.1 (structures), 7.17, 7.18, 7.20 and 7.21.
Which fields a structure has follows from its length, so the version of the table is not asked. Serial numbers and asset tags
identify a unit: they are not decoded, and a recording does not get them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agent.model.values import MAX_NUMBER, Fact, number_or_none
from collectors.root import SysRoot
from collectors.text import Malformed

TABLE = "sys/firmware/dmi/tables/DMI"

ARRAY, DEVICE, ARRAY_ADDRESS, DEVICE_ADDRESS, END = 16, 17, 19, 20, 127
_KEPT = {ARRAY, DEVICE, ARRAY_ADDRESS, DEVICE_ADDRESS, END}
_SERIAL, _ASSET = 0x18, 0x19
_SHOWN = (0x10, 0x11, 0x17, 0x1A)  # the strings of a device that are decoded

_CORRECTIONS = ("", "Other", "Unknown", "None", "Parity", "Single-bit ECC", "Multi-bit ECC", "CRC")
_FORMS = (
    *("", "Other", "Unknown", "SIMM", "SIP", "Chip", "DIP", "ZIP", "Proprietary Card", "DIMM", "TSOP", "Row Of Chips", "RIMM"),
    *("SODIMM", "SRIMM", "FB-DIMM", "Die", "CAMM"),
)
_TYPES = (
    *("", "Other", "Unknown", "DRAM", "EDRAM", "VRAM", "SRAM", "RAM", "ROM", "Flash", "EEPROM", "FEPROM", "EPROM", "CDRAM", "3DRAM"),
    *("SDRAM", "SGRAM", "RDRAM", "DDR", "DDR2", "DDR2 FB-DIMM", "", "", "", "DDR3", "FBD2", "DDR4", "LPDDR", "LPDDR2", "LPDDR3", "LPDDR4"),
    *("Logical non-volatile device", "HBM", "HBM2", "DDR5", "LPDDR5", "HBM3"),
)
_TECHNOLOGIES = ("", "Other", "Unknown", "DRAM", "NVDIMM-N", "NVDIMM-F", "NVDIMM-P", "Intel Optane persistent memory", "MRDIMM")
# What firmware writes where it has nothing to say.
_BLANK = {"", "not specified", "unknown", "no dimm", "none", "n/a", "undefined", "empty", "[empty]", "module manufacturer", "partnum"}


class MemoryArray(Fact, frozen=True, kw_only=True):
    """Type 16: what a group of devices is for and how it corrects errors. `devices` counts its places, empty ones, too."""

    handle: int
    system_memory: bool
    error_correction: str | None = None
    maximum_bytes: int | None = None
    devices: int | None = None


class MemoryDevice(Fact, frozen=True, kw_only=True):
    """Type 17: one place for a memory device; `size_bytes` 0 is an empty one. Speeds are MT/s."""

    handle: int
    array: int
    size_bytes: int | None = None
    locator: str | None = None
    bank: str | None = None
    form: str | None = None
    type: str | None = None
    technology: str | None = None
    manufacturer: str | None = None
    part_number: str | None = None
    total_width_bits: int | None = None
    data_width_bits: int | None = None
    ranks: int | None = None
    rated_mts: int | None = None
    configured_mts: int | None = None
    minimum_mv: int | None = None
    maximum_mv: int | None = None
    configured_mv: int | None = None


class AddressRange(Fact, frozen=True):
    """Types 19 and 20: physical addresses from `start` to before `end` that the array or device `owner` answers."""

    owner: int
    start: int
    end: int


class Smbios(Fact, frozen=True):
    """In the order of the table; some firmware gives two structures the same handle."""

    arrays: tuple[MemoryArray, ...] = ()
    devices: tuple[MemoryDevice, ...] = ()
    array_ranges: tuple[AddressRange, ...] = ()
    device_ranges: tuple[AddressRange, ...] = ()


class Structure(NamedTuple):
    """`data` begins with the header: offsets are those of the specification. `strings` are numbered from 1."""

    kind: int
    handle: int
    data: bytes
    strings: tuple[bytes, ...]

    def number(self, offset: int, size: int) -> int | None:
        """None where the structure is too short to have the field."""
        return int.from_bytes(self.data[offset : offset + size], "little") if offset + size <= len(self.data) else None

    def text(self, offset: int) -> str | None:
        index = self.number(offset, 1)
        if not index or index > len(self.strings):
            return None
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in self.strings[index - 1]).strip()
        return None if text.lower() in _BLANK else text


def read(root: SysRoot) -> Smbios:
    try:
        return parse_table(root.require_raw(TABLE, anonymous))
    except Malformed as error:
        raise Malformed(error.detail, path=TABLE) from None


def parse_table(table: bytes) -> Smbios:
    all_structures = list(structures(table))
    by_kind = {kind: [structure for structure in all_structures if structure.kind == kind] for kind in _KEPT}
    return Smbios(
        tuple(map(_array, by_kind[ARRAY])),
        tuple(map(_device, by_kind[DEVICE])),
        tuple(filter(None, (_range(structure, 0x0F) for structure in by_kind[ARRAY_ADDRESS]))),
        tuple(filter(None, (_range(structure, 0x13) for structure in by_kind[DEVICE_ADDRESS]))),
    )


def structures(table: bytes) -> Iterator[Structure]:
    """Each is a header, its fields, its strings and two zeros; the table ends with type 127."""
    place, count = 0, 0
    while place < len(table):
        kind, length, handle = table[place], table[place + 1 : place + 2], table[place + 2 : place + 4]
        fields = place + (length[0] if length else 0)
        end = table.find(b"\0\0", fields)
        if fields < place + 4 or end < 0:
            raise Malformed(f"the structure at byte {place} is cut off, or too short for its header")
        count += 1
        if count > 1 << 16:
            raise Malformed(f"more than {1 << 16} structures")
        strings = tuple(table[fields:end].split(b"\0")) if end > fields else ()
        yield Structure(kind, int.from_bytes(handle, "little"), table[place:fields], strings)
        if kind == END:
            return
        place = end + 2


def anonymous(table: bytes) -> bytes:
    """The table without what identifies a unit: of the other types nothing, of memory devices neither serial number nor asset tag."""
    pieces = []
    for structure in structures(table):
        if structure.kind in _KEPT:
            hidden = {structure.number(offset, 1) for offset in (_SERIAL, _ASSET)} if structure.kind == DEVICE else set()
            # Firmware may let two fields share a string, such as "Unknown".
            hidden -= {structure.number(offset, 1) for offset in _SHOWN}
            strings = [b"-" if place in hidden else text for place, text in enumerate(structure.strings, 1)]
            pieces.append(structure.data + (b"\0".join(strings) + b"\0\0" if strings else b"\0\0"))
    return b"".join(pieces)


def _array(structure: Structure) -> MemoryArray:
    kibibytes = structure.number(0x07, 4)
    # 0x80000000: it does not fit, and is in the extended field.
    maximum_bytes = structure.number(0x0F, 8) if kibibytes == 0x80000000 else (kibibytes or 0) << 10
    return MemoryArray(
        handle=structure.handle,
        system_memory=structure.number(0x05, 1) == 3,
        error_correction=_named(_CORRECTIONS, structure.number(0x06, 1)),
        maximum_bytes=number_or_none(maximum_bytes) or None,
        devices=structure.number(0x0D, 2),
    )


def _device(structure: Structure) -> MemoryDevice:
    array = structure.number(0x04, 2)
    if array is None:
        raise Malformed(f"memory device 0x{structure.handle:04x} is too short to name its array")
    attributes = structure.number(0x1B, 1)
    return MemoryDevice(
        handle=structure.handle,
        array=array,
        size_bytes=_size_bytes(structure),
        locator=structure.text(0x10),
        bank=structure.text(0x11),
        form=_named(_FORMS, structure.number(0x0E, 1)),
        type=_named(_TYPES, structure.number(0x12, 1)),
        technology=_named(_TECHNOLOGIES, structure.number(0x28, 1)),
        manufacturer=structure.text(0x17),
        part_number=structure.text(0x1A),
        total_width_bits=_stated(structure.number(0x08, 2)),
        data_width_bits=_stated(structure.number(0x0A, 2)),
        ranks=None if attributes is None else attributes & 0xF or None,
        rated_mts=_speed(structure, 0x15, 0x54),
        configured_mts=_speed(structure, 0x20, 0x58),
        minimum_mv=structure.number(0x22, 2) or None,
        maximum_mv=structure.number(0x24, 2) or None,
        configured_mv=structure.number(0x26, 2) or None,
    )


def _size_bytes(structure: Structure) -> int | None:
    """The top bit says KiB, else MiB; 0xFFFF is unknown, and what does not fit is in the extended size (in MiB)."""
    size = structure.number(0x0C, 2)
    if size is None or size == 0xFFFF:
        return None
    if size == 0x7FFF:
        extended = structure.number(0x1C, 4)
        return None if extended is None else (extended & 0x7FFFFFFF) << 20
    return (size & 0x7FFF) << (10 if size & 0x8000 else 20)


def _speed(structure: Structure, offset: int, extended: int) -> int | None:
    """MT/s; 0 is unknown, and what does not fit is in the extended field."""
    speed = structure.number(offset, 2)
    if speed == 0xFFFF:
        speed = (structure.number(extended, 4) or 0) & 0x7FFFFFFF
    return speed or None


def _stated(width: int | None) -> int | None:
    return None if width == 0xFFFF else width or None


def _range(structure: Structure, extended: int) -> AddressRange | None:
    """Addresses in KiB, the last one included; where they do not fit, both are in the extended fields, in bytes."""
    start, last, owner = structure.number(0x04, 4), structure.number(0x08, 4), structure.number(0x0C, 2)
    if start is None or last is None or owner is None:
        raise Malformed(f"address range 0x{structure.handle:04x} is too short for its addresses")
    if start == 0xFFFFFFFF:
        first_byte, last_byte = structure.number(extended, 8), structure.number(extended + 8, 8)
    else:
        first_byte, last_byte = start << 10, (last << 10) + 1023
    if first_byte is None or last_byte is None or not first_byte < last_byte < MAX_NUMBER:
        return None
    return AddressRange(owner, first_byte, last_byte + 1)


def _named(names: tuple[str, ...], number: int | None) -> str | None:
    name = names[number] if number is not None and number < len(names) else ""
    return None if name in ("", "Unknown") else name
