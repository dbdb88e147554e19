"""collectors/qemu.py: the guest's memory in a process's map."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from collectors import qemu
from collectors.proc_pid.smaps import parse_smaps
from collectors.qemu import MAX_RESIDENT_BYTES, GuestMemory, GuestProcess, WalkCache, guest_memory
from tests.unit.tree import grow, malformed, plant

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
    found = guest_memory(parse_smaps(smaps(*mappings)), 7, (64 * MIB,))
    assert (found and (found.mapped_bytes, found.resident_bytes, found.huge_bytes)) == (
        memory and (64 * MIB, memory[0] << 10, memory[1] << 10)
    )


def test_each_cell_has_a_mapping() -> None:
    text = smaps((0, 64, 4, 0), (100, 64, 8, 0), (200, 32, 16, 0), (300, 64, 1000, 0))
    found = guest_memory(parse_smaps(text), 7, (64 * MIB, 32 * MIB, 64 * MIB))
    assert found is not None
    assert (found.mapped_bytes, found.resident_bytes) == (160 * MIB, 28 << 10)
    assert found.spans == tuple((AT + low * MIB, AT + (low + size) * MIB) for low, size in ((0, 64), (100, 64), (200, 32)))
    assert guest_memory(parse_smaps(text), 7, (64 * MIB, 31 * MIB)) is None
    assert guest_memory(parse_smaps(text), 7, ()) is None
    assert guest_memory(parse_smaps(text), 7, (64 * MIB,) * 200) is None


def test_explicit_huge_pages_swap_and_merged_pages() -> None:
    text = "1000-3000 rw-s 0 0:1 2 /dev/hugepages/x\nRss: 0 kB\nPrivate_Hugetlb: 4 kB\nShared_Hugetlb: 4 kB\nSwap: 1 kB\nKSM: 2 kB\n"
    assert guest_memory(parse_smaps(text), 1, (0x2000,)) == GuestMemory(
        pid=1,
        mapped_bytes=0x2000,
        resident_bytes=0,
        huge_bytes=0,
        hugetlb_bytes=8 << 10,
        swapped_bytes=1 << 10,
        ksm_bytes=2 << 10,
        spans=((0x1000, 0x3000),),
    )


def test_memory_by_node(tmp_path: Path) -> None:
    nodes = (
        "1000 default file=/x mapped=1 N0=9 N2=1 kernelpagesize_kB=4\n"
        "2000 bind:1 anon=3 dirty=3 N0=2 N1=1 kernelpagesize_kB=4\n"
        "3000 default\n"
        "200000 default anon=1 N1=1 kernelpagesize_kB=2048\n"
        "400000 default anon=1 N1=1 kernelpagesize_kB=4\n"
    )
    root = grow(tmp_path, {"proc/1/smaps": "2000-400000 rw-p 0 0 0\nRss: 8 kB\n", "proc/1/numa_maps": nodes})
    (memory,) = qemu.read(root, WalkCache(), [GuestProcess(1, 1, (0x3FE000,), 4096)])
    assert memory.by_node == {0: 8 << 10, 1: (4 << 10) + (2 << 20)}
    assert memory.process_by_node == {0: 44 << 10, 1: (8 << 10) + (2 << 20), 2: 4 << 10}


def test_every_kind_of_huge_page_counts() -> None:
    text = "1000-3000 rw-s 0 0:1 2 /memfd:x (deleted)\nRss: 8 kB\nAnonHugePages: 1 kB\nShmemPmdMapped: 2 kB\nFilePmdMapped: 4 kB\n"
    assert guest_memory(parse_smaps(text), 1, (0x2000,)) == GuestMemory(
        pid=1, mapped_bytes=0x2000, resident_bytes=8 << 10, huge_bytes=7 << 10, spans=((0x1000, 0x3000),)
    )


def test_many_neighbours_cost_little() -> None:
    text = "".join(f"{page << 12:x}-{page + 1 << 12:x} rw-p 0 0 0\n" for page in range(60_000))
    began = time.process_time()
    assert guest_memory(parse_smaps(text), 1, ((1 << 40) + 1,)) is None
    assert guest_memory(parse_smaps(text), 1, (59_999 << 12,)) == GuestMemory(
        pid=1, mapped_bytes=59_999 << 12, resident_bytes=0, huge_bytes=0, spans=((0, 59_999 << 12),)
    )
    assert time.process_time() - began < 3


def test_reading(tmp_path: Path) -> None:
    nodes = f"1000 default N0=1 kernelpagesize_kB=4\n{AT:x} default anon=1 N1=1 kernelpagesize_kB=4\n"
    root = grow(
        tmp_path,
        {"proc/1/smaps": smaps((0, 64, 4, 0)), "proc/1/numa_maps": nodes, "proc/2/smaps": smaps((0, 1, 4, 0)), "proc/4/smaps": ""},
    )
    machines = [GuestProcess(pid, 1, (64 * MIB,), 4096) for pid in (1, 2, 3, 4)] + [GuestProcess(1, 1, (64 * MIB,), MAX_RESIDENT_BYTES + 1)]
    guest = GuestMemory(
        pid=1,
        mapped_bytes=64 * MIB,
        resident_bytes=4096,
        huge_bytes=0,
        spans=((AT, AT + 64 * MIB),),
        by_node={1: 4096},
        process_by_node={0: 4096, 1: 4096},
    )
    assert qemu.read(root, WalkCache(), machines) == (guest,)
    assert [(refusal.path, refusal.reason) for refusal in root.refusals] == [("proc/1/smaps", "unsupported")]


@pytest.mark.parametrize(
    ("path", "text", "by_node"),
    [
        ("proc/2/smaps", "nonsense\n", None),
        ("proc/1/smaps", smaps((0, 64, 4, 0)) + "Rss: many kB\n", {1: 4096}),
        ("proc/1/numa_maps", "nonsense\n", {1: 4096}),
        ("proc/1/numa_maps", f"{AT:x} default anon=1 N1=x kernelpagesize_kB=4\n", {1: 4096}),
    ],
)
def test_what_is_malformed_of_one_machine_costs_no_other(tmp_path: Path, path: str, text: str, by_node: dict[int, int] | None) -> None:
    nodes = f"{AT:x} default anon=1 N1=1 kernelpagesize_kB=4\n"
    files = {f"proc/{pid}/{name}": content for pid in (1, 2) for name, content in (("smaps", smaps((0, 64, 4, 0))), ("numa_maps", nodes))}
    root = grow(tmp_path, files | {path: text})
    guests = {
        guest.pid: guest.by_node for guest in qemu.read(root, WalkCache(), [GuestProcess(pid, 1, (64 * MIB,), 4096) for pid in (1, 2)])
    }
    assert guests.get(2) == by_node
    assert guests.get(1) == (None if path.startswith("proc/1/") else {1: 4096})
    assert malformed(root) == [path]


def test_walks_are_spread_over_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = [GuestProcess(pid, 1, (64 * MIB,), 4096) for pid in (1, 2, 3)]
    root = grow(tmp_path, {f"proc/{machine.pid}/smaps": smaps((0, 64, machine.pid, 0)) for machine in machines})
    cache = WalkCache()
    monkeypatch.setattr(qemu, "AT_ONCE_SECONDS", 10.0)
    assert [found.pid for found in qemu.read(root, cache, machines, "metrics")] == [1, 2, 3]
    plant(tmp_path, {"proc/2/smaps": smaps((0, 64, 50, 0))})
    again = qemu.read(root, cache, machines, "metrics")
    assert [found.resident_bytes >> 10 for found in again] == [1, 2, 3]
    assert all(found.seconds_ago > 0 for found in again)
    monkeypatch.setattr(qemu, "AGAIN_SECONDS", 0.0)
    assert [found.resident_bytes >> 10 for found in qemu.read(root, cache, machines, "metrics")] == [1, 50, 3]
    # Another process of the same number is another machine.
    assert [found.pid for found in qemu.read(root, cache, [GuestProcess(2, 7, (64 * MIB,), 4096)], "metrics")] == [2]
    assert len(cache.walks) == 1
