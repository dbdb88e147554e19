"""collectors/sys_mm.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.sys_mm import MemoryPolicy, chosen, read
from collectors.sysroot import SysRoot
from tests.unit.tree import grow


@pytest.mark.parametrize(
    ("text", "choice"),
    [("always [madvise] never\n", "madvise"), ("[always] x", "always"), ("a b [c]", "c"), ("a b", None), ("[]", None), ("", None)],
)
def test_choices(text: str, choice: str | None) -> None:
    assert chosen(text) == choice


def test_everything(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
            "sys/kernel/mm/transparent_hugepage/defrag": "always defer [defer+madvise] madvise never\n",
            "sys/kernel/mm/ksm/run": "0\n",
            "sys/kernel/mm/ksm/pages_shared": "3\n",
            "sys/kernel/mm/ksm/pages_sharing": "9\n",
            "sys/module/zswap/parameters/enabled": "N\n",
            "proc/sys/vm/swappiness": "60\n",
            "proc/sys/vm/overcommit_memory": "1\n",
            "proc/sys/vm/zone_reclaim_mode": "0\n",
            "proc/sys/kernel/numa_balancing": "1\n",
        },
    )
    assert read(root) == MemoryPolicy("madvise", "defer+madvise", 0, 3, 9, False, 60, 1, 0, 1)


def test_nothing(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path)) == MemoryPolicy()
