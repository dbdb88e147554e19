"""collectors/sys_node.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.model.facts.sys_node import Access, SideCache
from agent.model.values import CpuSet
from collectors.root import SysRoot
from collectors.sys_node import NODE, Nodes, SysfsNode, parse_meminfo, read
from collectors.text import Malformed, flat_keyed
from tests.unit.tree import grow, malformed


def test_nothing(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path)) == Nodes(())


def test_nodes(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            f"{NODE}/online": "0,8,252\n",
            f"{NODE}/has_memory": "0,252\n",
            f"{NODE}/node8/cpulist": "4-7\n",
            f"{NODE}/node8/meminfo": "Node 8 MemTotal:       0 kB\nNode 8 HugePages_Total:  3\n",
            f"{NODE}/node0/cpulist": "0-3\n",
            f"{NODE}/node0/distance": "10 20 80\n",
            f"{NODE}/node0/meminfo": "\nNode 0 MemTotal:    1024 kB\nNode 0 MemFree:    512 kB\n",
            f"{NODE}/node0/numastat": "numa_hit 5\nnuma_miss 0\n",
            f"{NODE}/node252/cpulist": "\n",
            f"{NODE}/node3/cpumap": "00000000,00000003\n",
            f"{NODE}/nodes/": "",
            f"{NODE}/power/": "",
        },
    )
    assert read(root) == Nodes(
        (
            SysfsNode(
                os_index=0,
                cpus=CpuSet(range(4)),
                memory_bytes=1 << 20,
                free_bytes=1 << 19,
                distances=(10, 20, 80),
                numastat={"numa_hit": 5, "numa_miss": 0},
            ),
            SysfsNode(os_index=3, cpus=CpuSet((0, 1))),
            SysfsNode(os_index=8, cpus=CpuSet(range(4, 8)), memory_bytes=0),
            SysfsNode(os_index=252, cpus=CpuSet()),
        ),
        online=CpuSet((0, 8, 252)),
        has_memory=CpuSet((0, 252)),
    )


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_meminfo, "MemTotal: 1 kB\n"),
        (parse_meminfo, "Node 0 MemTotal: x kB\n"),
        (parse_meminfo, "Node 0 MemTotal:\n"),
        (parse_meminfo, f"Node 0 MemTotal: {'9' * 5000} kB\n"),
        (flat_keyed, "numa_hit\n"),
        (flat_keyed, "numa_hit x\n"),
        (flat_keyed, f"numa_hit {'9' * 5000}\n"),
    ],
)
def test_bad_texts(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(("name", "text"), [("distance", "10 x"), ("meminfo", "x"), ("numastat", "x"), ("cpulist", "x"), ("cpumap", "x")])
def test_bad_files(tmp_path: Path, name: str, text: str) -> None:
    root = grow(tmp_path, {f"{NODE}/node0/{name}": text, f"{NODE}/node1/cpulist": "4\n"})
    assert [(node.os_index, node.cpus) for node in read(root).nodes] == [(0, None), (1, CpuSet((4,)))]
    assert malformed(root) == [f"{NODE}/node0/{name}"]


def test_what_firmware_says_of_reach(tmp_path: Path) -> None:
    here = f"{NODE}/node2"
    root = grow(
        tmp_path,
        {
            f"{NODE}/node0/cpulist": "0-3\n",
            f"{here}/access0/initiators/read_latency": "350\n",
            f"{here}/access0/initiators/write_bandwidth": "20480\n",
            # Firmware that states bandwidths only leaves the latencies 0.
            f"{here}/access0/initiators/write_latency": "0\n",
            f"{here}/access0/power/": "",
            f"{here}/access1/power/": "",
            f"{here}/memory_side_cache/index1/size": "10485760\n",
            f"{here}/memory_side_cache/index1/line_size": "64\n",
            f"{here}/memory_side_cache/index1/indexing": "0\n",
            f"{here}/memory_side_cache/index2/size": "20\n",
            f"{here}/memory_side_cache/power/": "",
        },
    )
    (tmp_path / here / "access0" / "initiators" / "node0").symlink_to("../../../node0")
    (node,) = [node for node in read(root).nodes if node.os_index == 2]
    assert node.access == {0: Access(initiators=CpuSet((0,)), read_latency_ns=350, write_bandwidth_bytes=20 << 30)}
    assert node.side_caches == {1: SideCache(10 << 20, 64, "direct", None), 2: SideCache(20)}
