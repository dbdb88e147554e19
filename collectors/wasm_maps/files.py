"""/proc/PID/maps, numa_maps and smaps as text (fs/proc/task_mmu.c; Documentation/filesystems/proc.rst, section 1.1)."""

from __future__ import annotations

import re
from typing import NamedTuple

from collectors.text import Malformed, integer, newline_separated


class Vma(NamedTuple):
    start: int
    end: int
    perms: str
    path: str


def parse_maps(text: str) -> list[Vma]:
    """proc/PID/maps, in its order. A path keeps its spaces, " (deleted)" and the kernel's \\012 for a newline."""
    rows = _VMA.findall(text)
    if len(rows) == text.count("\n") + (not text.endswith("\n")):
        # As the kernel writes it; what is not is read line by line, to say where.
        vmas = [Vma(int(low, 16), int(high, 16), perms, path) for low, high, perms, path in rows]
        if all(start < end for start, end, _, _ in vmas):
            return vmas
    vmas = []
    for number, line in enumerate(newline_separated(text), 1):
        fields = line.split(None, 5)
        try:
            low, _, high = fields[0].partition("-")
            start, end, perms = int(low, 16), int(high, 16), fields[1]
        except (IndexError, ValueError):
            raise Malformed(f"expected 'start-end perms ...', got {line[:60]!r}", number) from None
        if not 0 <= start < end <= 1 << 64:
            raise Malformed(f"not a range of addresses: {line[:60]!r}", number)
        vmas.append(Vma(start, end, perms, fields[5] if len(fields) > 5 else ""))
    return vmas


_VMA = re.compile(r"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) (\S+) [0-9a-f]+ \S+ \d+(?: +(\S[^\n]*)?)?$", re.MULTILINE | re.ASCII)


def parse_numa_maps(text: str) -> dict[int, dict[int, int]]:
    """proc/PID/numa_maps: resident bytes by node of each VMA, under its start. Names in it hold no blank and no "="."""
    stats: dict[int, dict[int, int]] = {}
    for number, line in enumerate(newline_separated(text), 1):
        address, _, rest = line.partition(" ")
        pages: dict[int, int] = {}
        page_kib = 0
        try:
            start = int(address, 16)
            if " N" not in rest:
                stats[start] = {}
                continue
            counts, _, size = rest.rpartition(" kernelpagesize_kB=")
            each = _PAGES.findall(counts)
            if each and len(each) == counts.count(" N") and size.isdecimal() and size.isascii() and len(size) < 10:
                bytes_each = int(size) << 10
                stats[start] = {int(node): int(count) * bytes_each for node, count in each}
                continue
            for node, count in _NODE.findall(rest):
                pages[integer(node)] = integer(count)
            if found := _PAGE_SIZE.search(rest):
                page_kib = integer(found[1])
        except (ValueError, Malformed):
            raise Malformed(f"expected 'address policy N0=pages ...', got {line[:60]!r}", number) from None
        if pages and not page_kib:
            raise Malformed(f"pages without their size: {line[:60]!r}", number)
        stats[start] = {node: count * page_kib << 10 for node, count in pages.items()}
    return stats


_PAGES = re.compile(r" N([0-9]{1,6})=([0-9]{1,15})(?![^ ])")
_NODE = re.compile(r" N([0-9]+)=(\S*)")
_PAGE_SIZE = re.compile(r" kernelpagesize_kB=(\S*)")


class Usage(NamedTuple):
    """Bytes of one VMA, or of the whole process: resident, of that in huge pages, and in swap; None where the kernel does not say."""

    resident: int = 0
    huge: int | None = None
    swapped: int | None = None


_KEYS = {"Rss": "resident", "AnonHugePages": "huge", "Swap": "swapped"}


def parse_smaps(text: str) -> dict[int, Usage]:
    """proc/PID/smaps: each VMA's usage, under its start."""
    stats: dict[int, Usage] = {}
    start: int | None = None
    for number, line in enumerate(newline_separated(text), 1):
        key, colon, value = line.partition(":")
        try:
            if key in _KEYS and colon:
                if start is not None:
                    stats[start] = stats[start]._replace(**{_KEYS[key]: integer(value.removesuffix(" kB")) << 10})
            elif line[:1] in _DIGITS:
                start = int(line.partition("-")[0], 16)
                stats[start] = Usage()
        except (ValueError, Malformed):
            raise Malformed(f"expected a VMA or '{key[:20]}: number kB', got {line[:60]!r}", number) from None
    return stats


def parse_swapped(text: str) -> int | None:
    """VmSwap of proc/PID/status: anonymous memory of the process in swap, in bytes."""
    for number, line in enumerate(newline_separated(text), 1):
        if line.startswith("VmSwap:"):
            try:
                return integer(line[7:].removesuffix(" kB")) << 10
            except Malformed:
                raise Malformed(f"expected 'VmSwap: number kB', got {line[:60]!r}", number) from None
    return None


def parse_rollup(text: str) -> Usage | None:
    """proc/PID/smaps_rollup: the whole process as one VMA."""
    return next(iter(parse_smaps(text).values()), None)


_DIGITS = frozenset("0123456789abcdef")
