"""collectors/hugepages.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.hugepages import HOST, NODE, HugePagePool, read
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow

MIB = 1 << 20


def test_pools(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            f"{HOST}/hugepages-1048576kB/nr_hugepages": "0\n",
            f"{HOST}/hugepages-1048576kB/free_hugepages": "0\n",
            f"{HOST}/hugepages-2048kB/nr_hugepages": "12\n",
            f"{HOST}/other/nr_hugepages": "1\n",
            f"{NODE}/node10/hugepages/hugepages-2048kB/nr_hugepages": "5\n",
            f"{NODE}/node2/hugepages/hugepages-2048kB/nr_hugepages": "7\n",
            f"{NODE}/node2/hugepages/hugepages-2048kB/free_hugepages": "3\n",
            f"{NODE}/node3/cpulist": "",
            f"{NODE}/nodex/hugepages/hugepages-2048kB/nr_hugepages": "9\n",
        },
    )
    assert read(root) == (
        HugePagePool(2 * MIB, None, 12, None),
        HugePagePool(1024 * MIB, None, 0, 0),
        HugePagePool(2 * MIB, 2, 7, 3),
        HugePagePool(2 * MIB, 10, 5, None),
    )


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert caught.value.reason == "absent"


@pytest.mark.parametrize("text", ["many\n", "1.5\n"])
def test_bad_counts(tmp_path: Path, text: str) -> None:
    with pytest.raises(Malformed, match="nr_hugepages"):
        read(grow(tmp_path, {f"{HOST}/hugepages-2048kB/nr_hugepages": text}))
