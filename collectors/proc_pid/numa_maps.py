"""/proc/PID/numa_maps: on which memory nodes the pages of each mapping are. There is no such file without CONFIG_NUMA."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.model.values import MAX_ADDRESS_SPACE, MAX_ID
from collectors.text import Malformed, newline_separated

_NODE_PAGES = re.compile(r" N([0-9]{1,6})=([0-9]{1,15})(?![^ ])")


def parse_numa_maps(text: str) -> dict[int, dict[int, int]]:
    """ "7f00 default anon=3 N0=2 N1=1 kernelpagesize_kB=4": resident bytes by node of each mapping, by its start.

    Explicit huge pages are counted, too. The names of files hold no blank and no "=": the kernel escapes them.
    """
    by_start: dict[int, dict[int, int]] = {}
    for number, line in enumerate(newline_separated(text), 1):
        address, _, rest = line.partition(" ")
        try:
            start = int(address, 16)
            if " N" not in rest:
                by_start[start] = {}
                continue
            counts, _, page_kib = rest.rpartition(" kernelpagesize_kB=")
            pages = _NODE_PAGES.findall(counts)
            if not pages or len(pages) != counts.count(" N") or not (page_kib.isdecimal() and page_kib.isascii()) or len(page_kib) > 9:
                raise ValueError
            page_bytes = int(page_kib) << 10
            by_start[start] = {int(node): int(count) * page_bytes for node, count in pages}
            if max(by_start[start]) >= MAX_ID or max(by_start[start].values()) > MAX_ADDRESS_SPACE:
                raise ValueError
        except ValueError:
            raise Malformed(f"expected 'address policy N0=pages ... kernelpagesize_kB=size', got {line[:60]!r}", number) from None
    return by_start


def sum_by_node(counts: Iterable[dict[int, int]]) -> dict[int, int]:
    """Of several mappings together."""
    total: dict[int, int] = {}
    for by_node in counts:
        for node, size in by_node.items():
            total[node] = total.get(node, 0) + size
    return total
