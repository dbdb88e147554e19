"""collectors/sys_nd.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.sys_nd import PmemNamespace, PmemRegion
from collectors import sys_nd
from collectors.root import SysRoot, Unavailable
from collectors.sys_nd import BUS, DEVICES, read
from tests.unit.tree import grow, malformed


def test_regions(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            f"{DEVICES}/region0/size": "268435456\n",
            f"{DEVICES}/region0/numa_node": "0\n",
            f"{DEVICES}/region0/target_node": "2\n",
            f"{DEVICES}/region0/mappings": "2\n",
            f"{DEVICES}/region0/mapping0": "nmem0,0,134217728,0\n",
            f"{DEVICES}/region0/mapping1": "nmem1,0,134217728,1\n",
            f"{DEVICES}/region10/numa_node": "-1\n",
            f"{DEVICES}/regions/size": "1\n",
            f"{DEVICES}/namespace0.0/size": "268435456\n",
            f"{DEVICES}/namespace0.0/mode": "raw\n",
            f"{DEVICES}/namespace0.0/block/pmem0/size": "",
            f"{DEVICES}/namespace10.0/mode": "dax\n",
        },
    )
    assert read(root) == (
        PmemRegion(
            name="region0",
            size_bytes=256 << 20,
            node=0,
            target_node=2,
            modules=("nmem0", "nmem1"),
            namespaces=(PmemNamespace("namespace0.0", 256 << 20, "raw", "pmem0"),),
        ),
        PmemRegion(name="region10", namespaces=(PmemNamespace("namespace10.0", mode="dax"),)),
    )


def test_no_regions_and_no_bus(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))
    assert read(grow(tmp_path, {f"{BUS}/pci/": ""})) == ()


def test_hostile_numbers(tmp_path: Path) -> None:
    assert read(grow(tmp_path, {f"{DEVICES}/region0/mappings": f"{'9' * 30}\n"})) == (PmemRegion(name="region0"),)
    root = grow(tmp_path, {f"{DEVICES}/region0/mappings": "some\n", f"{DEVICES}/region1/size": "7\n"})
    assert read(root) == (PmemRegion(name="region0"), PmemRegion(name="region1", size_bytes=7))
    assert malformed(root) == [f"{DEVICES}/region0/mappings"]


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys_nd, "MAX_DEVICES", 64)
    root = grow(tmp_path, {f"{DEVICES}/region{number}/": "" for number in range(65)})
    assert len(read(root)) == 64
    assert [refusal.reason for refusal in root.refusals] == ["unsupported"]
