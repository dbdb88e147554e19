"""collectors/sys_mm.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.sys_mm import Ksm, Thp, Zswap
from collectors.root import SysRoot
from collectors.sys_mm import MemoryManagement, chosen, read
from tests.unit.tree import grow


@pytest.mark.parametrize(
    ("text", "choice"),
    [("always [madvise] never\n", "madvise"), ("[always] x", "always"), ("a b [c]", "c"), ("a b", None), ("[]", None), ("", None)],
)
def test_choices(text: str, choice: str | None) -> None:
    assert chosen(text) == choice


def test_everything(tmp_path: Path) -> None:
    thp, ksm, zswap = "sys/kernel/mm/transparent_hugepage", "sys/kernel/mm/ksm", "sys/module/zswap/parameters"
    root = grow(
        tmp_path,
        {
            f"{thp}/enabled": "always [madvise] never\n",
            f"{thp}/defrag": "always defer [defer+madvise] madvise never\n",
            f"{thp}/shmem_enabled": "always within_size advise [never] deny force\n",
            f"{thp}/hpage_pmd_size": "2097152\n",
            f"{thp}/use_zero_page": "1\n",
            f"{thp}/khugepaged/defrag": "0\n",
            f"{thp}/khugepaged/pages_to_scan": "4096\n",
            f"{thp}/khugepaged/scan_sleep_millisecs": "10000\n",
            f"{thp}/khugepaged/pages_collapsed": "7\n",
            f"{thp}/khugepaged/full_scans": "8\n",
            f"{thp}/hugepages-64kB/enabled": "always [inherit] madvise never\n",
            f"{thp}/hugepages-128kB/enabled": "always inherit madvise [never]\n",
            f"{thp}/hugepages-xkB/enabled": "[always]\n",
            **{f"{ksm}/{name}": f"{number}\n" for number, name in enumerate(("run", "pages_shared", "pages_sharing"))},
            f"{ksm}/general_profit": "-4096\n",
            f"{ksm}/merge_across_nodes": "1\n",
            f"{zswap}/enabled": "N\n",
            f"{zswap}/compressor": "lzo-rle\n",
            f"{zswap}/max_pool_percent": "20\n",
            f"{zswap}/shrinker_enabled": "Y\n",
            "sys/kernel/mm/numa/demotion_enabled": "true\n",
            "sys/kernel/mm/mempolicy/weighted_interleave/node0": "3\n",
            "sys/kernel/mm/mempolicy/weighted_interleave/auto": "false\n",
        },
    )
    assert read(root) == MemoryManagement(
        thp=Thp(
            enabled="madvise",
            defrag="defer+madvise",
            shmem_enabled="never",
            huge_page_bytes=2 << 20,
            zero_page=True,
            khugepaged_defrag=False,
            khugepaged_pages_to_scan=4096,
            khugepaged_scan_sleep_msec=10000,
            khugepaged_pages_collapsed=7,
            khugepaged_full_scans=8,
            sizes={64 << 10: "inherit"},
        ),
        ksm=Ksm(run=0, pages_shared=1, pages_sharing=2, general_profit_bytes=-4096, merge_across_nodes=True),
        zswap=Zswap(enabled=False, compressor="lzo-rle", max_pool_percent=20, accept_threshold_percent=None, shrinker_enabled=True),
        demotion_enabled=True,
        interleave_weights={0: 3},
    )


def test_a_compressor_that_is_no_name(tmp_path: Path) -> None:
    assert read(grow(tmp_path, {"sys/module/zswap/parameters/compressor": 'x"\n{y}'})) == MemoryManagement()


def test_nothing(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path)) == MemoryManagement()
