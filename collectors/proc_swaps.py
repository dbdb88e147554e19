"""Swap areas: /proc/swaps. Source: mm/swapfile.c, swap_show(); a name is whatever its file is called."""

from __future__ import annotations

import re

from agent.model.facts.proc_swaps import Swap
from collectors.root import SysRoot
from collectors.text import Malformed, integer, newline_separated, numbers, printable

_ESCAPED = re.compile(r"\\([0-3][0-7]{2})")


def read(root: SysRoot) -> tuple[Swap, ...]:
    return parse(root.require("proc/swaps"))


def parse(text: str) -> tuple[Swap, ...]:
    """ "/dev/dm-1  partition  8388604  0  -2"; sizes are KiB, and blanks in a name are \\040 (fs/seq_file.c, mangle_path())."""
    swaps = []
    for number, line in enumerate(newline_separated(text)[1:], 2):
        words = line.split()
        if len(words) != 5:
            raise Malformed(f"expected 'name type size used priority', got {line[:60]!r}", number)
        size, used = numbers(words[2:4], number)
        swaps.append(
            Swap(
                name=printable(_ESCAPED.sub(_character, words[0])),
                type=words[1],
                size_bytes=size << 10,
                used_bytes=used << 10,
                priority=integer(words[4]),
            )
        )
    return tuple(swaps)


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
