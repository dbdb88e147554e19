"""collectors/smbios.py, on tables that tests/lab/smbios.py writes by the specification."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.root import SysRoot, Unavailable
from collectors.root.recorder import Recorder
from collectors.smbios import (
    TABLE,
    AddressRange,
    MemoryArray,
    MemoryDevice,
    Smbios,
    anonymous,
    parse_table,
    read,
    structures,
)
from collectors.text import Malformed
from tests.lab import smbios as firmware
from tests.unit.tree import grow

END = b"\x7f\x04\xff\xfe\0\0"
GIB = 1 << 30
DIMM = firmware.Dimm(
    handle=0x1100,
    array=0x1000,
    locator="CPU1_DIMM_A1",
    bank="P0 CHANNEL A",
    megabytes=32 << 10,
    type=firmware.DDR5,
    technology=firmware.DRAM,
    speed=5600,
    configured_speed=4800,
    millivolts=1100,
    ranks=2,
    total_width=80,
    data_width=64,
    manufacturer="Samsung",
    serial="5EC7E7",
    part="M321R4GA3",
)
PARSED = MemoryDevice(
    handle=0x1100,
    array=0x1000,
    size_bytes=32 * GIB,
    locator="CPU1_DIMM_A1",
    bank="P0 CHANNEL A",
    form="DIMM",
    type="DDR5",
    technology="DRAM",
    manufacturer="Samsung",
    part_number="M321R4GA3",
    total_width_bits=80,
    data_width_bits=64,
    ranks=2,
    rated_mts=5600,
    configured_mts=4800,
    minimum_mv=1100,
    maximum_mv=1100,
    configured_mv=1100,
)


def structure(kind: int, handle: int, fields: dict[int, bytes], length: int, *strings: str) -> bytes:
    """Fields by their offset in the specification; the rest is 0."""
    data = bytearray(struct.pack("<BBH", kind, length, handle).ljust(length, b"\0"))
    for offset, value in fields.items():
        data[offset : offset + len(value)] = value
    return bytes(data[:length]) + (b"".join(text.encode("latin-1") + b"\0" for text in strings) or b"\0") + b"\0"


def device(fields: dict[int, bytes], length: int = 0x5C, *strings: str) -> MemoryDevice:
    (found,) = parse_table(structure(17, 1, fields, length, *strings) + END).devices
    return found


def test_a_whole_table() -> None:
    table = (
        firmware.memory_array(0x1000, 16, 4096)
        + firmware.memory_device(DIMM)
        + firmware.memory_device(firmware.Dimm(handle=0x1101, array=0x1000, locator="CPU1_DIMM_A2", bank="P0 CHANNEL A"))
        + firmware.array_address(0x1200, 0x1000, 0, 32 * GIB, 1)
        + firmware.device_address(0x1300, 0x1100, 0x1200, 0, 32 * GIB)
        + END
    )
    assert parse_table(table) == Smbios(
        (MemoryArray(handle=0x1000, system_memory=True, error_correction="Multi-bit ECC", maximum_bytes=4096 * GIB, devices=16),),
        (
            PARSED,
            MemoryDevice(
                handle=0x1101,
                array=0x1000,
                size_bytes=0,
                locator="CPU1_DIMM_A2",
                bank="P0 CHANNEL A",
                form="DIMM",
                total_width_bits=72,
                data_width_bits=64,
            ),
        ),
        (AddressRange(0x1000, 0, 32 * GIB),),
        (AddressRange(0x1100, 0, 32 * GIB),),
    )


@pytest.mark.parametrize(
    ("size", "extended", "expected"),
    [
        (0, 0, 0),
        (0xFFFF, 0, None),
        (16384, 0, 16 * GIB),
        (0x8000 | 512, 0, 512 << 10),
        (0x7FFF, 32 << 10, 32 * GIB),
        (0x7FFF, 0x80000000 | 64 << 10, 64 * GIB),  # its top bit is reserved
    ],
)
def test_sizes(size: int, extended: int, expected: int | None) -> None:
    assert device({0x0C: struct.pack("<H", size), 0x1C: struct.pack("<L", extended)}).size_bytes == expected


def test_a_size_that_does_not_fit_in_a_structure_without_the_field() -> None:
    assert device({0x0C: b"\xff\x7f"}, 0x1C).size_bytes is None


@pytest.mark.parametrize(
    ("speed", "extended", "expected"), [(0, 7, None), (3200, 0, 3200), (0xFFFF, 70000, 70000), (0xFFFF, 0x80000000 | 70000, 70000)]
)
def test_speeds(speed: int, extended: int, expected: int | None) -> None:
    said = struct.pack("<H", speed)
    found = device({0x15: said, 0x54: struct.pack("<L", extended), 0x20: said, 0x58: struct.pack("<L", extended)})
    assert (found.rated_mts, found.configured_mts) == (expected, expected)


@pytest.mark.parametrize(
    ("length", "there"),
    [
        (0x15, ()),  # SMBIOS 2.1
        (0x1B, ("rated_mts", "manufacturer", "part_number")),  # 2.3
        (0x1C, ("rated_mts", "manufacturer", "part_number", "ranks")),  # 2.6
        (0x22, ("rated_mts", "manufacturer", "part_number", "ranks", "configured_mts")),  # 2.7
        (0x28, ("rated_mts", "manufacturer", "part_number", "ranks", "configured_mts", "configured_mv")),  # 2.8
        (0x54, ("rated_mts", "manufacturer", "part_number", "ranks", "configured_mts", "configured_mv", "technology")),  # 3.2
    ],
)
def test_what_a_structure_is_too_short_for_is_absent(length: int, there: tuple[str, ...]) -> None:
    whole = firmware.memory_device(DIMM)
    strings = whole[whole[1] :]
    found = parse_table(bytes([17, length]) + whole[2:length] + strings + END).devices[0]
    newer = ("rated_mts", "manufacturer", "part_number", "ranks", "configured_mts", "configured_mv", "technology")
    assert {name: getattr(found, name) for name in newer} == {name: getattr(PARSED, name) if name in there else None for name in newer}
    assert (found.locator, found.type, found.data_width_bits) == ("CPU1_DIMM_A1", "DDR5", 64)


def test_unknowns() -> None:
    found = device({0x08: b"\xff\xff", 0x0A: b"\0\0", 0x0E: b"\x02", 0x12: b"\x02", 0x1B: b"\xf0", 0x28: b"\xff"})
    assert found == MemoryDevice(handle=1, array=0, size_bytes=0)


@pytest.mark.parametrize(
    ("index", "strings", "text"),
    [
        (0, ("a",), None),
        (1, (" DIMM 0 ",), "DIMM 0"),
        (3, ("a", "b", "c"), "c"),
        (2, ("a",), None),
        (255, ("a",), None),
        (1, (), None),
        (1, ("Not Specified",), None),
        (1, ("NO DIMM",), None),
        (1, ("\x07\xffx",), "..x"),
    ],
)
def test_strings(index: int, strings: tuple[str, ...], text: str | None) -> None:
    assert device({0x10: bytes([index])}, 0x5C, *strings).locator == text


def test_addresses_that_do_not_fit_in_kibibytes() -> None:
    wide = struct.pack("<LLHBQQ", 0xFFFFFFFF, 0xFFFFFFFF, 7, 1, 8 << 40, (9 << 40) - 1)
    narrow = struct.pack("<LLHB", 0xFFFFFFFF, 0xFFFFFFFF, 7, 1)
    table = b"".join(structure(19, number, {4: body}, 4 + len(body)) for number, body in enumerate((wide, narrow))) + END
    assert parse_table(table).array_ranges == (AddressRange(7, 8 << 40, 9 << 40),)


def test_what_follows_the_end_is_nothing() -> None:
    assert parse_table(END + b"\x11\0\0\0" * 9) == Smbios()
    assert parse_table(b"") == Smbios()


@pytest.mark.parametrize(
    "table",
    [
        b"\x11",
        b"\x11\0\0\0\0\0",
        b"\x11\x03\0\0\0\0",
        b"\x11\x5c\0\0\0\0",
        b"\x11\x05\x01\0\x07\0\0",  # no array
        b"\x13\x05\x01\0\x07\0\0",  # no addresses
        firmware.memory_device(DIMM)[:-1],
        b"\x05\x04\0\0\0\0" * ((1 << 16) + 1),
    ],
)
def test_broken_tables(table: bytes) -> None:
    with pytest.raises(Malformed):
        parse_table(table)


@given(data=st.data())
def test_a_table_with_holes_is_read_or_malformed(data: st.DataObject) -> None:
    table = bytearray(firmware.memory_array(1, 2, 3) + firmware.memory_device(DIMM) * 2 + firmware.array_address(4, 1, 0, 9 * GIB, 1) + END)
    for _ in range(data.draw(st.integers(1, 6))):
        table[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.sampled_from((0, 1, 4, 17, 127, 128, 255)))
    cut = bytes(table[: data.draw(st.integers(0, len(table)))])
    try:
        found = parse_table(cut)
    except Malformed:
        return
    assert len(found.devices) <= len(cut) // 6
    assert parse_table(anonymous(cut)) == found


def test_the_broken_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(Malformed) as caught:
        read(grow(tmp_path, {TABLE: b"\x11\0"}))
    assert caught.value.path == TABLE


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert caught.value.reason == "absent"


def test_a_table_for_root_only(tmp_path: Path) -> None:
    root = grow(tmp_path, {TABLE: END})
    (tmp_path / TABLE).chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # nobody
    try:
        with pytest.raises(Unavailable) as caught:
            read(root)
    finally:
        os.seteuid(user)
    assert caught.value.reason == "denied"


def test_a_recording_does_not_get_what_identifies_a_unit(tmp_path: Path) -> None:
    system = structure(1, 9, {0x07: b"\1"}, 0x1B, "5EC7E7-SYSTEM")
    shared = firmware.memory_device(
        firmware.Dimm(handle=2, array=1, locator="DIMM 0", bank="BANK 0", megabytes=1024, manufacturer="Unknown", serial="5EC7E7", part="X")
    )
    tag = structure(17, 3, {0x10: b"\1", 0x18: b"\1", 0x19: b"\2"}, 0x1B, "DIMM 1", "5EC7E7-TAG")
    (tmp_path / "host").mkdir()
    (tmp_path / "copy").mkdir()
    grow(tmp_path / "host", {TABLE: system + firmware.memory_device(DIMM) + shared + tag + END})
    recorder = Recorder(tmp_path / "host", tmp_path / "copy", 0.0, "test")
    found = read(recorder)
    recorder.close()
    kept = (tmp_path / "copy" / TABLE).read_bytes()
    assert b"5EC7E7" not in kept
    assert [piece.kind for piece in structures(kept)] == [17, 17, 17, 127]
    assert read(SysRoot(tmp_path / "copy")) == found
    # Where firmware has one string for a serial number and for a name, the name stays.
    assert [device.locator for device in found.devices] == ["CPU1_DIMM_A1", "DIMM 0", "DIMM 1"]
