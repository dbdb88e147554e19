"""collectors/qemu.py: the guest's memory in a process's map."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from collectors import qemu
from collectors.qemu import MAX_RESIDENT_BYTES, GuestMemory, parse
from collectors.text import Malformed
from tests.unit.tree import grow

MIB = 1 << 20
AT = 0x7F00_0000_0000


def smaps(*mappings: tuple[int, int, int, int], at: int = AT) -> str:
    """Offset in MiB, size in MiB, resident kB, huge kB."""
    return "".join(
        f"{at + low * MIB:x}-{at + (low + size) * MIB:x} rw-p 00000000 00:00 0 \n"
        f"Size: {size << 10:>15} kB\nRss: {resident:>15} kB\nPss: {resident:>15} kB\nAnonHugePages: {huge:>10} kB\n"
        "ShmemPmdMapped:        0 kB\nFilePmdMapped:         0 kB\nTHPeligible:    1\nVmFlags: rd wr mr mw me ac dc \n"
        for low, size, resident, huge in mappings
    )


@pytest.mark.parametrize(
    ("mappings", "memory"),
    [
        ([], None),
        ([(0, 64, 100, 0)], (100, 0)),
        ([(0, 63, 100, 0)], None),
        ([(0, 65, 100, 0)], None),
        # Advice on a part of it splits the mapping in two, or three.
        ([(0, 40, 100, 20), (40, 24, 7, 2)], (107, 22)),
        ([(0, 1, 1, 0), (1, 62, 2, 2), (63, 1, 4, 0)], (7, 2)),
        # A hole is no part of a guest's memory.
        ([(0, 40, 100, 0), (41, 24, 7, 0)], None),
        # Its neighbours are not the guest's, above and below.
        ([(0, 2, 9, 9), (2, 64, 100, 64), (66, 2, 9, 9)], (100, 64)),
        ([(0, 2, 9, 9), (2, 32, 1, 0), (34, 32, 2, 2), (66, 5, 9, 9)], (3, 2)),
        ([(0, 2, 9, 9), (10, 64, 5, 0)], (5, 0)),
        # The first that fits.
        ([(0, 64, 1, 0), (100, 64, 2, 0)], (1, 0)),
    ],
)
def test_the_guest_is_found(mappings: list[tuple[int, int, int, int]], memory: tuple[int, int] | None) -> None:
    found = parse(smaps(*mappings), 7, 64 * MIB)
    assert found == (None if memory is None else GuestMemory(7, 64 * MIB, memory[0] << 10, memory[1] << 10))


def test_every_kind_of_huge_page_counts() -> None:
    text = "1000-3000 rw-s 0 0:1 2 /memfd:x (deleted)\nRss: 8 kB\nAnonHugePages: 1 kB\nShmemPmdMapped: 2 kB\nFilePmdMapped: 4 kB\n"
    assert parse(text, 1, 0x2000) == GuestMemory(1, 0x2000, 8 << 10, 7 << 10)


@pytest.mark.parametrize(
    "text", ["Rss: 1 kB\n", "x\n", "1000-\n", "1000-2000 r\nRss: x\n", "1000-2000 r\nAnonHugePages:\n", "1000-2000 r\n\n"]
)
def test_bad_maps(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text, 1, MIB)


def test_many_neighbours_cost_little() -> None:
    text = "".join(f"{page << 12:x}-{page + 1 << 12:x} rw-p 0 0 0\n" for page in range(60_000))
    began = time.process_time()
    assert parse(text, 1, (1 << 40) + 1) is None
    assert parse(text, 1, 59_999 << 12) == GuestMemory(1, 59_999 << 12, 0, 0)
    assert time.process_time() - began < 3


def test_reading(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/1/smaps": smaps((0, 64, 4, 0)), "proc/2/smaps": smaps((0, 1, 4, 0)), "proc/4/smaps": ""})
    machines = [(1, 64 * MIB, 4096), (2, 64 * MIB, 4096), (3, 64 * MIB, 4096), (4, 64 * MIB, 4096), (1, 64 * MIB, MAX_RESIDENT_BYTES + 1)]
    assert qemu.read(root, machines) == (GuestMemory(1, 64 * MIB, 4096, 0),)
    assert [(refusal.path, refusal.reason) for refusal in root.refusals] == [("proc/1/smaps", "unsupported")]
