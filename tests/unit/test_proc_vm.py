"""collectors/proc_vm.py."""

from __future__ import annotations

from collections.abc import Callable
from mmap import PAGESIZE
from pathlib import Path

import pytest

from agent.model.facts.proc_vm import Zone
from collectors.proc_vm import Buddy, ProcMemory, ZoneSpan, parse_buddyinfo, parse_meminfo, parse_zoneinfo, read
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow

ZONES = """Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 12
  pages free     3840
        boost    0
        min      9
        low      12
        high     15
        spanned  4095
        present  3998
        managed  3840
        protection: (0, 2963, 23780)
      nr_free_pages 3840
  pagesets
    cpu: 0
              count:    0
              high:     4
              batch:    1
              high_min: 4
  node_unreclaimable:  0
  start_pfn:           1
Node 1, zone   Normal
  pages free     0
        min      1
        high     9
  pagesets
    cpu: 0
              high 77
"""


def test_meminfo() -> None:
    text = "MemTotal:       24684096 kB\nHugePages_Total:       4\nHugepagesize:       2048 kB\nActive(anon):          0 kB\n"
    assert parse_meminfo(text) == {"MemTotal": 24684096 << 10, "Hugepagesize": 2 << 20, "Active(anon)": 0}
    assert parse_meminfo("") == {}


def test_zones() -> None:
    assert parse_zoneinfo(ZONES) == (
        ZoneSpan(
            Zone(
                node=0,
                name="DMA",
                free_pages=3840,
                min_pages=9,
                low_pages=12,
                high_pages=15,
                present_pages=3998,
                managed_pages=3840,
            ),
            start_page=1,
            spanned_pages=4095,
        ),
        ZoneSpan(Zone(node=1, name="Normal", free_pages=0, min_pages=1, low_pages=None, high_pages=9)),
    )
    assert parse_zoneinfo("") == ()


def test_buddies() -> None:
    text = "Node 0, zone      DMA      1      1      0\nNode 1, zone   Normal   2163      0      7\n"
    assert parse_buddyinfo(text) == (Buddy(0, "DMA", (1, 1, 0)), Buddy(1, "Normal", (2163, 0, 7)))


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_meminfo, "MemTotal 1 kB\n"),
        (parse_meminfo, "MemTotal:\n"),
        (parse_meminfo, "MemTotal: -1 kB\n"),
        (parse_meminfo, f"MemTotal: {'9' * 5000} kB\n"),
        (parse_zoneinfo, "Node 0\n"),
        (parse_zoneinfo, "Node x, zone DMA\n"),
        (parse_zoneinfo, "Node 0, zone DMA\n  pages free x\n"),
        (parse_zoneinfo, f"Node 0, zone DMA\n  min {'9' * 5000}\n"),
        (parse_buddyinfo, "Node 0, zone DMA\n"),
        (parse_buddyinfo, "Node 0, zone DMA 1 x\n"),
        (parse_buddyinfo, "Node x, zone DMA 1 2\n"),
        (parse_buddyinfo, f"Node 0, zone DMA {'9' * 5000}\n"),
    ],
)
def test_bad_texts(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_meminfo_is_enough(tmp_path: Path) -> None:
    assert read(grow(tmp_path, {"proc/meminfo": "MemTotal: 1 kB\n"})) == ProcMemory(meminfo_bytes={"MemTotal": 1024}, page_bytes=PAGESIZE)
    root = grow(tmp_path, {"proc/vmstat": "nr_free_pages 7\n", "proc/zoneinfo": ZONES, "proc/buddyinfo": ""})
    found = read(root)
    assert (found.vmstat, len(found.zones), found.buddies) == ({"nr_free_pages": 7}, 2, ())


def test_no_meminfo(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))
