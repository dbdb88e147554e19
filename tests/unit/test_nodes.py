"""agent/normalise/nodes.py on small trees, read by the real readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.sys_node import Access, SideCache
from agent.model.values import CpuSet
from tests.unit.small_machines import CPU, NODE, cache, look, node, regular


def test_a_kernel_without_nodes_has_one(tmp_path: Path) -> None:
    found = look(tmp_path, regular(1, 2, 1) | {"proc/meminfo": "MemTotal: 1024 kB\nMemFree: 12 kB\n"})
    (node,) = found.nodes
    assert (node.os_index, str(node.cpus), node.memory_bytes, node.free_bytes, node.origin) == (0, "0-1", 1 << 20, 12 << 10, "synthesised")
    assert (found.memory.architecture, found.memory.total_bytes, found.architecture) == ("uma", 1 << 20, "smp")


@pytest.mark.parametrize("files", [{"proc/vmstat": "numa_hit 1\n"}, {"proc/zoneinfo": "Node 1, zone   Normal\n  pages free     1\n"}])
def test_nodes_that_are_not_shown_are_not_one_node(tmp_path: Path, files: dict[str, str]) -> None:
    found = look(tmp_path, regular(1, 2, 1) | {"proc/meminfo": "MemTotal: 1024 kB\n", **files})
    assert (found.nodes, found.memory.architecture, found.architecture) == ((), None, None)


def test_nodes_without_memory_and_without_cpus(tmp_path: Path) -> None:
    files = regular(1, 4, 1) | node(0, "0-1", 1024) | node(1, "2-3", 0) | node(2, "", 4096) | node(3, "", None) | {"sys/bus/pci/": ""}
    found = look(tmp_path, files)
    assert [(n.os_index, str(n.cpus), n.memory_bytes, n.kind, n.kind_origin) for n in found.nodes] == [
        (0, "0-1", 1 << 20, "dram", "inferred"),
        (1, "2-3", 0, "unknown", None),
        (2, "", 4 << 20, "unknown", None),
        (3, "", None, None, None),
    ]
    assert (found.architecture, found.memory.architecture) == ("numa", "numa")


@pytest.mark.parametrize(
    ("online", "distance", "distances"),
    [
        ("0,8,252\n", "10 20 80", {0: 10, 8: 20, 252: 80}),
        (None, "10 20 80", {0: 10, 8: 20, 252: 80}),
        # Columns that cannot be named are left out: no number is put on the wrong node.
        ("0,8\n", "10 20 80", {}),
        ("0,8,252\n", "10 20", {}),
        ("0,8,252\n", "", {}),
    ],
)
def test_sparse_nodes(tmp_path: Path, online: str | None, distance: str, distances: dict[int, int]) -> None:
    files = node(0, "0", 1, distance) | node(8, "1", 1) | node(252, "", 1)
    files |= {f"{NODE}/online": online} if online else {}
    assert look(tmp_path, files | {f"{CPU}/online": "0-1\n"}).nodes[0].distances == distances


def test_huge_pages_belong_to_their_node(tmp_path: Path) -> None:
    files = node(0, "0", 1) | node(1, "1", 1) | {f"{CPU}/online": "0-1\n"}
    files[f"{NODE}/node1/hugepages/hugepages-2048kB/nr_hugepages"] = "7\n"
    assert [[(p.page_bytes, p.total_pages, p.free_pages) for p in n.hugepages] for n in look(tmp_path, files).nodes] == [
        [],
        [(2 << 20, 7, None)],
    ]


def access(number: int, class_: int, initiator: int | None = None, **figures: int) -> dict[str, str]:
    here = f"{NODE}/node{number}/access{class_}/initiators"
    files = {f"{here}/{name}": f"{value}\n" for name, value in figures.items()}
    return files | ({} if initiator is None else {f"{here}/node{initiator}/": ""})


def test_reach(tmp_path: Path) -> None:
    files = node(0, "0-1", 1) | node(1, "2-3", 1) | node(2, "", 1) | {f"{CPU}/online": "0-3\n"}
    files |= access(2, 0, 0, read_latency=350, write_latency=360, read_bandwidth=20480, write_bandwidth=10240)
    files |= {f"{NODE}/node0/memory_side_cache/index1/{name}": text for name, text in (("size", "10485760"), ("indexing", "1"))}
    files |= {f"{NODE}/node0/memory_side_cache/index1/{name}": text for name, text in (("line_size", "0"), ("write_policy", "9"))}
    files |= {"sys/devices/virtual/memory_tiering/memory_tier4/nodelist": "0-1\n"}
    first, second, third = look(tmp_path, files).nodes
    assert third.access == {
        0: Access(
            initiators=CpuSet((0,)),
            read_latency_ns=350,
            write_latency_ns=360,
            read_bandwidth_bytes=20480 << 20,
            write_bandwidth_bytes=10240 << 20,
        )
    }
    assert first.side_caches == {1: SideCache(10 << 20, None, "indexed", "other")}
    assert [one.tier for one in (first, second, third)] == [4, 4, None]


TABLE = ("10 20 17", "20 10 28", "17 28 10")
ALIKE = ("10 20 20", "20 10 20", "20 20 10")


@pytest.mark.parametrize(
    ("more", "distances", "cpus", "evidence"),
    [
        (access(2, 1, 1) | access(2, 0, 0), TABLE, "2-3", "access1"),
        (access(2, 0, 1), TABLE, "2-3", "access0"),
        # A generic initiator has no CPUs.
        (access(2, 0, 2), TABLE, "0-1", "distance"),
        ({}, TABLE, "0-1", "distance"),
        ({}, ALIKE, None, None),
        ({}, ("", "", ""), None, None),
    ],
)
def test_where_memory_without_cpus_is(
    tmp_path: Path, more: dict[str, str], distances: tuple[str, ...], cpus: str | None, evidence: str | None
) -> None:
    files = node(0, "0-1", 1, distances[0]) | node(1, "2-3", 1, distances[1]) | node(2, "", 1, distances[2]) | more
    found = look(tmp_path, files | {f"{CPU}/online": "0-3\n"}).nodes
    assert [(str(one.local_cpus), one.local_cpus_evidence) for one in found[:2]] == [("0-1", "own"), ("2-3", "own")]
    assert (found[2].local_cpus and str(found[2].local_cpus), found[2].local_cpus_evidence) == (cpus, evidence)


@pytest.mark.parametrize(("listed", "cpus", "evidence"), [("2-3", "2-3", "pci"), ("", "0-1", "distance"), (None, "0-1", "distance")])
def test_a_gpus_memory_is_where_the_gpu_is(tmp_path: Path, listed: str | None, cpus: str, evidence: str) -> None:
    device = "sys/bus/pci/devices/0004:05:00.0"
    files = node(0, "0-1", 1, TABLE[0]) | node(1, "2-3", 1, TABLE[1]) | node(2, "", 1, TABLE[2]) | {f"{CPU}/online": "0-3\n"}
    files |= {"proc/driver/nvidia/gpus/0004:05:00.0/numa_status": "Node: 2\n", f"{device}/class": "0x030200\n"}
    files |= {} if listed is None else {f"{device}/local_cpulist": f"{listed}\n"}
    found = look(tmp_path, files).nodes[2]
    assert (str(found.local_cpus), found.local_cpus_evidence, found.kind) == (cpus, evidence, "gpu")


@pytest.mark.parametrize(("distances", "alike"), [(TABLE, False), (ALIKE, True), (("10 20 20", "20 10 20", ""), None)])
def test_distances_that_tell_nothing(tmp_path: Path, distances: tuple[str, ...], alike: bool | None) -> None:
    files = node(0, "0", 1, distances[0]) | node(1, "1", 1, distances[1]) | node(2, "2", 1, distances[2])
    assert look(tmp_path, files | {f"{CPU}/online": "0-2\n"}).memory.distances_alike is alike


def test_two_distances_cannot_be_alike(tmp_path: Path) -> None:
    files = node(0, "0", 1, "10 20") | node(1, "1", 1, "20 10") | {f"{CPU}/online": "0-1\n"}
    assert look(tmp_path, files).memory.distances_alike is None


def dax(number: int, target: int, size: int | None = 1 << 30, driver: str = "kmem") -> dict[str, str]:
    here = f"sys/bus/dax/devices/dax{number}.0"
    sized = {} if size is None else {f"{here}/size": f"{size}\n"}
    return {f"{here}/target_node": f"{target}\n", f"{here}/uevent": f"DRIVER={driver}\n", **sized}


PARENTS = {"pmem": "devices/ndbus0/region0/dax1.0/dax1.0", "hmem": "devices/platform/hmem.1/dax1.0", "cxl": "region0/dax_region0/dax1.0"}
BUS = {"sys/bus/pci/": ""}
SLOW, FAST = ({"read_bandwidth": value} for value in (1000, 20000))


@pytest.mark.parametrize(
    ("parent", "cpus", "more", "kind", "origin"),
    [
        ("pmem", "", dax(1, 1), "pmem", None),
        ("cxl", "", dax(1, 1), "cxl", None),
        ("hmem", "", dax(1, 1), "unknown", None),
        ("hmem", "", dax(1, 1) | access(0, 1, **SLOW) | access(1, 1, **FAST), "hbm", "inferred"),
        # Set aside by firmware and no faster: not to be told from a slow card.
        ("hmem", "", dax(1, 1) | access(0, 1, **SLOW) | access(1, 1, **SLOW), "unknown", None),
        # Not made memory of the node, or of another one.
        ("pmem", "", dax(1, 1, driver="device_dax"), "unknown", None),
        ("pmem", "", dax(1, 2), "unknown", None),
        # Beside CPUs: all of the node's memory, or less of it.
        ("pmem", "1", dax(1, 1), "pmem", None),
        ("pmem", "1", dax(1, 1, 1 << 20), "dram", "inferred"),
        ("pmem", "1", dax(1, 1, None), None, None),
        (None, "", BUS, "unknown", None),
        (None, "", {}, None, None),
        (None, "", BUS | access(0, 1, **SLOW) | access(1, 1, **FAST), "hbm", "inferred"),
        # Fast memory beside CPUs is theirs.
        (None, "1", BUS | access(0, 1, **SLOW) | access(1, 1, **FAST), "dram", "inferred"),
        (None, "", {"proc/driver/nvidia/gpus/0004:05:00.0/numa_status": "Node: 1\n"}, "gpu", None),
    ],
)
def test_what_memory_is(tmp_path: Path, parent: str | None, cpus: str, more: dict[str, str], kind: str | None, origin: str | None) -> None:
    files = node(0, "0", 1 << 20) | node(1, cpus, 1 << 20) | {f"{CPU}/online": "0-1\n"} | more
    links = {"sys/bus/dax/devices/dax1.0": f"../../../{PARENTS[parent]}"} if parent else {}
    found = look(tmp_path, files, links).nodes
    assert found[0].kind == "dram"
    assert (found[1].kind, found[1].kind_origin) == (kind, origin)
    assert (found[1].kind_evidence is None) == (kind in (None, "unknown"))


def identity(vendor: str, family: int, model: int, cpus: int, flags: str = "") -> dict[str, str]:
    block = f"vendor_id : {vendor}\ncpu family : {family}\nmodel : {model}\nflags : {flags}\n\n"
    return {"proc/cpuinfo": "".join(f"processor : {number}\n{block}" for number in range(cpus))}


INTEL, AMD = ("GenuineIntel", 6, 143), ("AuthenticAMD", 25, 17)


@pytest.mark.parametrize(
    ("who", "flags", "spans", "name"),
    [
        (INTEL, "", ("0-1", "2-3"), "SNC2"),
        (INTEL, "", ("0", "1", "2", "3"), "SNC4"),
        (("GenuineIntel", 6, 79), "", ("0-1", "2-3"), "COD"),
        (AMD, "", ("0-1", "2-3"), "NPS2"),
        (AMD, "", ("0", "1", "2", "3"), "NPS4"),
        (("AuthenticAMD", 21, 1), "", ("0-1", "2-3"), None),
        (("0x41", 8, 1), "", ("0-1", "2-3"), None),
        (INTEL, "hypervisor", ("0-1", "2-3"), None),
        (INTEL, "", ("0-3",), None),
        # A node is missing, or two overlap.
        (INTEL, "", ("0-1", "2"), None),
        (INTEL, "", ("0-2", "2-3"), None),
    ],
)
def test_packages_whose_memory_is_divided(
    tmp_path: Path, who: tuple[str, int, int], flags: str, spans: tuple[str, ...], name: str | None
) -> None:
    files = regular(1, 4, 1) | identity(*who, 4, flags)
    for number, span in enumerate(spans):
        files |= node(number, span, 1)
    (package,) = look(tmp_path, files).packages
    assert (package.numa_clustering, package.numa_clustering_origin) == (name, name and "inferred")


def test_caches_as_nodes(tmp_path: Path) -> None:
    files = regular(1, 8, 1) | identity(*AMD, 8)
    for number in range(8):
        files |= node(number, str(number), 1) | cache(number, 0, 3, str(number))
    (package,) = look(tmp_path, files).packages
    assert package.numa_clustering == "L3 as NUMA domain"
