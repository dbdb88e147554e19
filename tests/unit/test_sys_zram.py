"""collectors/sys_zram.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.sys_zram import Zram
from collectors.root import SysRoot, Unavailable
from collectors.sys_zram import parse_mm_stat, read
from collectors.text import Malformed
from tests.unit.tree import grow

B = "sys/devices/virtual/block"


def test_devices(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            f"{B}/loop0/size": "1\n",
            f"{B}/zram0/disksize": "4294967296\n",
            f"{B}/zram0/mm_stat": " 8192 120 4096 0 8192 1 0 0 0\n",
            f"{B}/zram12/": "",
            f"{B}/zramx/disksize": "1\n",
        },
    )
    assert read(root) == (
        Zram(number=0, disk_bytes=4 << 30, original_bytes=8192, compressed_bytes=120, memory_used_bytes=4096),
        Zram(number=12),
    )


def test_none_is_an_answer(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))
    assert read(grow(tmp_path, {f"{B}/loop0/": ""})) == ()


@pytest.mark.parametrize("text", ["", "1 2", "1 2 x", "1 2 -3"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(Malformed):
        parse_mm_stat(text)
