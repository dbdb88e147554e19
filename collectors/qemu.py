"""The guest's memory inside a QEMU process: /proc/PID/smaps and numa_maps. Source: Documentation/filesystems/proc.rst, section 1.1.

Either file takes milliseconds of a walk over the process's pages, many for a large guest: for metrics, which are asked for again and
again, a few machines are walked each time and the rest is what the last walk found, with its age.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from agent.model.values import MAX_ID, Detail, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, convert, newline_separated, size_bytes

# The kernel walks every resident page for either file: about 6 ms a GiB of 4 KiB pages. Above this the walks are not made.
MAX_RESIDENT_BYTES = 2 << 30

MAX_CELLS = 128
AGAIN_SECONDS = 30.0
AT_ONCE_SECONDS = 0.02
"""No walk is begun later than this in a pass for metrics."""

_ON_NODE = re.compile(r"N(\d{1,5})=(\d{1,15})")
_PAGE = re.compile(r"kernelpagesize_kB=(\d{1,9})")


class GuestMemory(Fact, frozen=True, kw_only=True):
    """The mappings that back guest RAM. Bytes; `hugetlb_bytes` are explicit huge pages, which a process's resident size leaves out.

    `process_by_node` is of all mappings: the guest's, and the monitor's own.
    """

    pid: int
    mapped_bytes: int
    resident_bytes: int
    huge_bytes: int
    hugetlb_bytes: int = 0
    swapped_bytes: int | None = None
    ksm_bytes: int | None = None
    spans: tuple[tuple[int, int], ...] = ()
    by_node: dict[int, int] | None = None
    process_by_node: dict[int, int] | None = None
    seconds_ago: float = 0.0


class Machine(NamedTuple):
    """A QEMU process, since when it runs, the sizes of its guest's memory (one for each cell) and what of the process is resident."""

    pid: int
    start_ticks: int | None
    sizes: tuple[int, ...]
    resident_bytes: int


MachineKey = tuple[int, int | None, tuple[int, ...]]
"""What tells a machine from the next one of its pid: pid, start, and the sizes of its memory."""


@dataclass(slots=True)
class WalkCache:
    """What the last walk of each machine found, and when that was (time.monotonic)."""

    walks: dict[MachineKey, tuple[float, GuestMemory | None]] = field(default_factory=dict)


def read(root: SysRoot, cache: WalkCache, machines: Sequence[Machine], detail: Detail = "document") -> tuple[GuestMemory, ...]:
    """What backs the guests' memory, where it can be read.

    For a document all machines are walked now. For metrics, those that were walked longest ago, as far as the time goes; the others are as
    the last walk found them.
    """
    if detail == "document":
        return tuple(memory for machine in machines if (memory := _walk(root, machine)) is not None)
    began = time.monotonic()
    keys: dict[Machine, MachineKey] = {machine: (machine.pid, machine.start_ticks, machine.sizes) for machine in machines}
    cache.walks = {key: cache.walks[key] for key in keys.values() if key in cache.walks}
    for machine in sorted(machines, key=lambda machine: cache.walks.get(keys[machine], (0.0, None))[0]):
        walked_at, _ = cache.walks.get(keys[machine], (-AGAIN_SECONDS, None))
        if began - walked_at < AGAIN_SECONDS or time.monotonic() - began > AT_ONCE_SECONDS:
            break
        cache.walks[keys[machine]] = (time.monotonic(), _walk(root, machine))
    now = time.monotonic()
    return tuple(replace(memory, seconds_ago=round(now - walked_at, 6)) for walked_at, memory in cache.walks.values() if memory is not None)


def _walk(root: SysRoot, machine: Machine) -> GuestMemory | None:
    path = f"proc/{machine.pid}/smaps"
    if machine.resident_bytes > MAX_RESIDENT_BYTES:
        root.note(path, "unsupported", f"more than {MAX_RESIDENT_BYTES >> 30} GiB resident: too slow to walk")
        return None
    text = root.text(path)
    memory = parse(text, machine.pid, machine.sizes) if text else None
    if memory is None:
        return None
    table = root.text(f"proc/{machine.pid}/numa_maps")
    by_node, process_by_node = parse_nodes(table, memory.spans) if table else (None, None)
    return replace(memory, by_node=by_node, process_by_node=process_by_node)


def parse(text: str, pid: int, sizes: Sequence[int]) -> GuestMemory | None:
    """QEMU maps RAM as one mapping of exactly the machine's size, or one a cell; advice on parts of it splits it into neighbours.

    So the first run of adjoining mappings, all open for writing, whose sizes add up to the memory's is the guest's. A heap arena of
    glibc takes 64 MiB of addresses, as small guests do, but most of it is closed.
    """
    maps = [mapping for mapping in _mappings(text) if mapping.writable]
    # Where each mapping ends, and where the run of adjoining mappings that it is in begins.
    ends, begins, begin = {}, [], 0
    for index, mapping in enumerate(maps):
        begin = begin if index and maps[index - 1].end == mapping.start else index
        begins.append(begin)
        ends[mapping.end] = index
    if len(sizes) > MAX_CELLS:
        return None
    taken: set[int] = set()
    spans: list[tuple[int, int]] = []
    for size in sorted(sizes, reverse=True):
        for first, mapping in enumerate(maps):
            last = ends.get(mapping.start + size)
            if last is not None and last >= first and begins[last] <= first and taken.isdisjoint(range(first, last + 1)):
                taken.update(range(first, last + 1))
                spans.append((mapping.start, mapping.start + size))
                break
        else:
            return None
    parts = [maps[index] for index in sorted(taken)]
    if not parts:
        return None
    swapped, merged = [part.swapped for part in parts], [part.merged for part in parts]
    return GuestMemory(
        pid=pid,
        mapped_bytes=sum(sizes),
        resident_bytes=sum(part.resident for part in parts),
        huge_bytes=sum(part.huge for part in parts),
        hugetlb_bytes=sum(part.hugetlb for part in parts),
        swapped_bytes=None if None in swapped else sum(size for size in swapped if size is not None),
        ksm_bytes=None if None in merged else sum(size for size in merged if size is not None),
        spans=tuple(sorted(spans)),
    )


def parse_nodes(text: str, spans: Sequence[tuple[int, int]]) -> tuple[dict[int, int], dict[int, int]]:
    """Bytes by node of the mappings that begin within `spans`, and of all: "7f00 default anon=3 N0=2 N1=1 kernelpagesize_kB=4"."""
    within: dict[int, int] = {}
    every: dict[int, int] = {}
    for number, line in enumerate(newline_separated(text), 1):
        head, _, rest = line.partition(" ")
        start = convert(_hex, head, number)
        found = (within, every) if any(low <= start < high for low, high in spans) else (every,)
        page = _PAGE.search(rest)
        for match in _ON_NODE.finditer(rest):
            if page is None or int(match[1]) >= MAX_ID:
                raise Malformed(f"expected nodes and the size of a page, got {line[:60]!r}", number)
            for by_node in found:
                by_node[int(match[1])] = by_node.get(int(match[1]), 0) + int(match[2]) * (int(page[1]) << 10)
    return within, every


class _Mapping(Fact, frozen=True, kw_only=True):
    start: int
    end: int
    writable: bool
    resident: int = 0
    huge: int = 0
    hugetlb: int = 0
    swapped: int | None = None
    merged: int | None = None


def _mappings(text: str) -> list[_Mapping]:
    maps: list[_Mapping] = []
    for number, line in enumerate(newline_separated(text), 1):
        head, _, rest = line.partition(" ")
        if not head.endswith(":"):
            first, _, last = head.partition("-")
            maps.append(_Mapping(start=convert(_hex, first, number), end=convert(_hex, last, number), writable=rest.startswith("rw")))
        elif not maps:
            raise Malformed(f"expected a mapping, got {line[:60]!r}", number)
        elif head == "Rss:":
            maps[-1] = replace(maps[-1], resident=size_bytes(rest))
        elif head in ("AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:"):
            maps[-1] = replace(maps[-1], huge=maps[-1].huge + size_bytes(rest))
        elif head in ("Shared_Hugetlb:", "Private_Hugetlb:"):
            maps[-1] = replace(maps[-1], hugetlb=maps[-1].hugetlb + size_bytes(rest))
        elif head == "Swap:":
            maps[-1] = replace(maps[-1], swapped=size_bytes(rest))
        elif head == "KSM:":
            maps[-1] = replace(maps[-1], merged=size_bytes(rest))
    return maps


def _hex(text: str) -> int:
    return int(text[:20], 16)
