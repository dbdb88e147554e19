"""The guest's memory inside a QEMU process: /proc/PID/smaps. Source: Documentation/filesystems/proc.rst, section 1.1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from agent.model.values import Fact
from collectors.sysroot import SysRoot
from collectors.text import Malformed, convert, newline_separated, size_bytes

# The kernel walks every resident page for smaps: about 6 ms a GiB of 4 KiB pages. Above this the walk is not made.
MAX_RESIDENT_BYTES = 2 << 30


class GuestMemory(Fact, frozen=True):
    """The mapping that backs guest RAM. Bytes."""

    pid: int
    mapped_bytes: int
    resident_bytes: int
    huge_bytes: int


def read(root: SysRoot, machines: Iterable[tuple[int, int, int]]) -> tuple[GuestMemory, ...]:
    """For each (pid, guest memory bytes, resident bytes of the process): what backs the guest's memory, where it can be read."""
    found = []
    for pid, memory_bytes, resident_bytes in machines:
        path = f"proc/{pid}/smaps"
        if resident_bytes > MAX_RESIDENT_BYTES:
            root.note(path, "unsupported", f"more than {MAX_RESIDENT_BYTES >> 30} GiB resident: too slow to walk")
        elif (text := root.text(path)) and (memory := parse(text, pid, memory_bytes)) is not None:
            found.append(memory)
    return tuple(found)


def parse(text: str, pid: int, memory_bytes: int) -> GuestMemory | None:
    """QEMU maps RAM as one mapping of exactly the machine's size; advice on parts of it splits it into neighbours.

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
    for first, mapping in enumerate(maps):
        last = ends.get(mapping.start + memory_bytes)
        if last is not None and last >= first and begins[last] <= first:
            run = maps[first : last + 1]
            return GuestMemory(pid, memory_bytes, sum(part.resident for part in run), sum(part.huge for part in run))
    return None


class _Mapping(NamedTuple):
    start: int
    end: int
    writable: bool
    resident: int = 0
    huge: int = 0


def _mappings(text: str) -> list[_Mapping]:
    maps: list[_Mapping] = []
    for number, line in enumerate(newline_separated(text), 1):
        head, _, rest = line.partition(" ")
        if not head.endswith(":"):
            first, _, last = head.partition("-")
            maps.append(_Mapping(convert(_hex, first, number), convert(_hex, last, number), rest.startswith("rw")))
        elif not maps:
            raise Malformed(f"expected a mapping, got {line[:60]!r}", number)
        elif head == "Rss:":
            maps[-1] = maps[-1]._replace(resident=size_bytes(rest))
        elif head in ("AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:"):
            maps[-1] = maps[-1]._replace(huge=maps[-1].huge + size_bytes(rest))
    return maps


def _hex(text: str) -> int:
    return int(text[:20], 16)
