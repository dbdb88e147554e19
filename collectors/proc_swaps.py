"""Swap areas: /proc/swaps. Source: mm/swapfile.c, swap_show(); a name is whatever its file is called."""

from __future__ import annotations

import re

from agent.model.facts.proc_swaps import Swap
from collectors.root import SysRoot
from collectors.text import Malformed, MalformedLines, integer, kibibytes, newline_separated, printable

_ESCAPED = re.compile(r"\\([0-3][0-7]{2})")


def read(root: SysRoot) -> tuple[Swap, ...]:
    return root.require_parsed("proc/swaps", parse)


def parse(text: str) -> tuple[Swap, ...]:
    """ "/dev/dm-1  partition  8388604  0  -2"; sizes are KiB, and blanks in a name are \\040 (fs/seq_file.c, mangle_path())."""
    swaps = []
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text)[1:], 2):
        try:
            name, kind, *sizes, last = line.split()
            size, used = (kibibytes(text) for text in sizes)
            priority = integer(last)
        except (ValueError, Malformed):
            malformed.add(number, line, "'name type size used priority'")
            continue
        swaps.append(Swap(name=printable(_ESCAPED.sub(_character, name)), type=kind, size_bytes=size, used_bytes=used, priority=priority))
    return malformed.checked(tuple(swaps))


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
