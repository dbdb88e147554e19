"""The guest's memory inside a QEMU process: /proc/PID/smaps. Source: Documentation/filesystems/proc.rst, section 1.1."""

from __future__ import annotations

from collections.abc import Iterable

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

    So the first run of adjoining mappings whose sizes add up to the memory's is the guest's.
    """
    maps = _mappings(text)
    # Where each mapping ends, and where the run of adjoining mappings that it is in begins.
    ends, begins, begin = {}, [], 0
    for index, (low, high, _, _) in enumerate(maps):
        begin = begin if index and maps[index - 1][1] == low else index
        begins.append(begin)
        ends[high] = index
    for first, (start, _, _, _) in enumerate(maps):
        last = ends.get(start + memory_bytes)
        if last is not None and last >= first and begins[last] <= first:
            run = maps[first : last + 1]
            return GuestMemory(pid, memory_bytes, sum(entry[2] for entry in run), sum(entry[3] for entry in run))
    return None


def _mappings(text: str) -> list[tuple[int, int, int, int]]:
    """Start, end, resident bytes, bytes in huge pages of every mapping."""
    maps: list[tuple[int, int, int, int]] = []
    for number, line in enumerate(newline_separated(text), 1):
        head = line.split(" ", 1)[0]
        if not maps and head.endswith(":"):
            raise Malformed(f"expected a mapping, got {line[:60]!r}", number)
        if head == "Rss:":
            low, high, _, huge = maps[-1]
            maps[-1] = (low, high, size_bytes(line[4:]), huge)
        elif head in ("AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:"):
            low, high, resident, huge = maps[-1]
            maps[-1] = (low, high, resident, huge + size_bytes(line[len(head) :]))
        elif not head.endswith(":"):
            first, _, last = head.partition("-")
            maps.append((convert(_hex, first, number), convert(_hex, last, number), 0, 0))
    return maps


def _hex(text: str) -> int:
    return int(text[:20], 16)
