"""collectors/hugepages.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.hugepages import HugePagePool
from collectors.hugepages import HOST, NODE, HugePagePools, read
from collectors.root import SysRoot, Unavailable
from tests.unit.tree import grow, malformed

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
    assert read(root) == HugePagePools(
        host=(
            HugePagePool(page_bytes=2 * MIB, total_pages=12, free_pages=None, surplus_pages=1, overcommit_pages=4, reserved_pages=2),
            HugePagePool(page_bytes=1024 * MIB, total_pages=0, free_pages=0),
        ),
        by_node={
            2: (HugePagePool(page_bytes=2 * MIB, total_pages=7, free_pages=3),),
            10: (HugePagePool(page_bytes=2 * MIB, total_pages=5, free_pages=None),),
        },
    )


def test_a_pool_is_there_once(tmp_path: Path) -> None:
    """Digits of other scripts and leading zeros make the same number again."""
    names = ("node2/hugepages/hugepages-2048kB", "node2/hugepages/hugepages-02048kB", "node2/hugepages/hugepages-2\u0660\u0664\u0668kB")
    more = ("node02/hugepages/hugepages-2048kB", "node\u0662/hugepages/hugepages-2048kB")
    root = grow(tmp_path, {f"{NODE}/{name}/nr_hugepages": "7\n" for name in (*names, *more)})
    assert read(root) == HugePagePools(by_node={2: (HugePagePool(page_bytes=2 * MIB, total_pages=7),)})


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert caught.value.reason == "absent"


@pytest.mark.parametrize("text", ["many\n", "1.5\n"])
def test_bad_counts(tmp_path: Path, text: str) -> None:
    here = f"{HOST}/hugepages-2048kB"
    root = grow(tmp_path, {f"{here}/nr_hugepages": text, f"{here}/free_hugepages": "3\n"})
    assert read(root) == HugePagePools((HugePagePool(page_bytes=2 * MIB, free_pages=3),))
    assert malformed(root) == [f"{here}/nr_hugepages"]
