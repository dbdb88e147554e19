"""/proc/PID/maps: the mappings of a process' address space."""

from __future__ import annotations

import re
from typing import NamedTuple

from collectors.text import Malformed, newline_separated


class Vma(NamedTuple):
    """One mapping: the addresses [start, end), "rwxp" or "rwxs" with "-" for what is not allowed, and the name that the kernel shows."""

    start: int
    end: int
    perms: str
    path: str


def parse_maps(text: str) -> list[Vma]:
    """ "7f00-8f00 r-xp 00001000 fe:01 12  /usr/bin/x (deleted)": the mappings in ascending order.

    A path keeps its spaces, " (deleted)" and the kernel's \\012 for a newline.
    """
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
