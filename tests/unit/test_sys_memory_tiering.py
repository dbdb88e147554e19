"""collectors/sys_memory_tiering.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.values import CpuSet
from collectors.root import SysRoot, Unavailable
from collectors.sys_memory_tiering import TIERING, read
from tests.unit.tree import grow, malformed


def test_tiers(tmp_path: Path) -> None:
    files = {f"{TIERING}/memory_tier4/nodelist": "0-1\n", f"{TIERING}/memory_tier22/nodelist": "2\n", f"{TIERING}/memory_tier9/uevent": ""}
    assert read(grow(tmp_path, files)) == {4: CpuSet((0, 1)), 22: CpuSet((2,))}


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))


def test_bad(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{TIERING}/memory_tier4/nodelist": "two\n", f"{TIERING}/memory_tier9/nodelist": "1\n"})
    assert read(root) == {9: CpuSet((1,))}
    assert malformed(root) == [f"{TIERING}/memory_tier4/nodelist"]
