"""collectors/hugepages.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.hugepages import HOST, NODE, HugePagePool, read
from collectors.root import SysRoot, Unavailable
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
            f"{HOST}/hugepages-2048kB/surplus_hugepages": "1\n",
            f"{HOST}/hugepages-2048kB/nr_overcommit_hugepages": "4\n",
            f"{HOST}/hugepages-2048kB/resv_hugepages": "2\n",
            f"{HOST}/other/nr_hugepages": "1\n",
            f"{NODE}/node10/hugepages/hugepages-2048kB/nr_hugepages": "5\n",
            f"{NODE}/node2/hugepages/hugepages-2048kB/nr_hugepages": "7\n",
            f"{NODE}/node2/hugepages/hugepages-2048kB/free_hugepages": "3\n",
            f"{NODE}/node3/cpulist": "",
            f"{NODE}/nodex/hugepages/hugepages-2048kB/nr_hugepages": "9\n",
        },
    )
    assert read(root) == (
        HugePagePool(page_bytes=2 * MIB, node=None, total=12, free=None, surplus=1, overcommit=4, reserved=2),
        HugePagePool(page_bytes=1024 * MIB, node=None, total=0, free=0),
        HugePagePool(page_bytes=2 * MIB, node=2, total=7, free=3),
        HugePagePool(page_bytes=2 * MIB, node=10, total=5, free=None),
    )


def test_a_pool_is_there_once(tmp_path: Path) -> None:
    """Digits of other scripts and leading zeros make the same number again."""
    names = ("node2/hugepages/hugepages-2048kB", "node2/hugepages/hugepages-02048kB", "node2/hugepages/hugepages-2\u0660\u0664\u0668kB")
    more = ("node02/hugepages/hugepages-2048kB", "node\u0662/hugepages/hugepages-2048kB")
    root = grow(tmp_path, {f"{NODE}/{name}/nr_hugepages": "7\n" for name in (*names, *more)})
    assert read(root) == (HugePagePool(page_bytes=2 * MIB, node=2, total=7),)


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert caught.value.reason == "absent"


@pytest.mark.parametrize("text", ["many\n", "1.5\n"])
def test_bad_counts(tmp_path: Path, text: str) -> None:
    with pytest.raises(Malformed, match="nr_hugepages"):
        read(grow(tmp_path, {f"{HOST}/hugepages-2048kB/nr_hugepages": text}))
