"""Compressed memory as a block device: /sys/devices/virtual/block/zramN. Source: Documentation/admin-guide/blockdev/zram.rst."""

from __future__ import annotations

from agent.model.facts.sys_zram import Zram
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, numbers, unsigned

BLOCK = "sys/devices/virtual/block"


def read(root: SysRoot) -> tuple[Zram, ...]:
    names = root.directories(BLOCK)
    if not names:
        raise Unavailable("absent", BLOCK, "modprobe zram, if this host is to swap into compressed memory")
    return tuple(_zram(root, int(name[4:])) for name in names if name[:4] == "zram" and name[4:].isdecimal() and len(name) < 10)


def _zram(root: SysRoot, number: int) -> Zram:
    path = f"{BLOCK}/zram{number}"
    stat = root.parse(f"{path}/mm_stat", parse_mm_stat) or (None, None, None)
    return Zram(
        number=number,
        disk_bytes=root.parse(f"{path}/disksize", unsigned),
        original_bytes=stat[0],
        compressed_bytes=stat[1],
        memory_used_bytes=stat[2],
    )


def parse_mm_stat(text: str) -> tuple[int, int, int]:
    """orig_data_size, compr_data_size and mem_used_total head the line; kernels add to its end."""
    words = text.split()
    if len(words) < 3:
        raise Malformed(f"expected at least three sizes, got {text[:60]!r}")
    original, compressed, used = numbers(words[:3])
    return original, compressed, used
