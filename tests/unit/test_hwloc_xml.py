from __future__ import annotations

from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from agent.model.facts.dmi import Dmi
from agent.model.facts.hugepages import HugePagePool
from agent.model.facts.sys_node import Access, SideCache
from agent.model.host import Identity
from agent.model.physical import Assembly, Cache, CpuKind, Node, Package
from agent.model.values import CpuSet
from exporters.views.hwloc_xml import mask, render
from tests.unit.machines import host, regular


def parsed(document: bytes) -> ElementTree.Element:
    assert document.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n<topology version="2.0">')
    return ElementTree.fromstring(document)  # noqa: S314


def infos(element: ElementTree.Element) -> dict[str, str]:
    return {info.attrib["name"]: info.attrib["value"] for info in element.findall("info")}


@pytest.mark.parametrize(
    ("cpus", "text"),
    [((), "0x00000000"), ((0, 1), "0x00000003"), ((31, 32), "0x00000001,0x80000000"), ((64,), "0x00000001,0x00000000,0x00000000")],
)
def test_masks(cpus: tuple[int, ...], text: str) -> None:
    assert mask(CpuSet(cpus)) == text


def test_objects_and_their_sets() -> None:
    top = parsed(render(host(regular(2, 1, 1, 2))))
    objects = [(each.attrib["type"], each.get("os_index"), each.attrib["cpuset"], each.attrib["nodeset"]) for each in top.iter("object")]
    assert objects == [
        ("Machine", None, "0x0000000f", "0x00000003"),
        ("Package", "0", "0x00000005", "0x00000001"),
        ("NUMANode", "0", "0x00000005", "0x00000001"),
        *(("L3Cache", None, "0x00000005", "0x00000001"), ("L2Cache", None, "0x00000005", "0x00000001")),
        *(("L1Cache", None, "0x00000005", "0x00000001"), ("Core", "0", "0x00000005", "0x00000001")),
        *(("PU", "0", "0x00000001", "0x00000001"), ("PU", "2", "0x00000004", "0x00000001")),
        ("Package", "1", "0x0000000a", "0x00000002"),
        ("NUMANode", "1", "0x0000000a", "0x00000002"),
        *(("L3Cache", None, "0x0000000a", "0x00000002"), ("L2Cache", None, "0x0000000a", "0x00000002")),
        *(("L1Cache", None, "0x0000000a", "0x00000002"), ("Core", "0", "0x0000000a", "0x00000002")),
        *(("PU", "1", "0x00000002", "0x00000002"), ("PU", "3", "0x00000008", "0x00000002")),
    ]
    numbers = [each.attrib["gp_index"] for each in top.iter("object")]
    assert len(set(numbers)) == len(numbers)
    matrix = top.find("distances2")
    assert matrix is not None
    assert [each.text for each in matrix] == ["0 1 ", "10 32 ", "32 10 "]
    assert all(each.attrib["length"] == str(len(each.text or "")) for each in matrix)


def test_caches_and_memory_have_their_numbers_or_none() -> None:
    physical = regular(1, 1, 2, 1)
    exact = Cache(level=3, type="Unified", cpus=CpuSet((0, 1)), size_bytes=32 << 20, line_bytes=64, ways=16, sets=32768, id=5)
    node = Node(
        os_index=0,
        cpus=CpuSet((0, 1)),
        memory_bytes=1 << 30,
        local_cpus=CpuSet((0, 1)),
        hugepages=(HugePagePool(page_bytes=2 << 20, total_pages=3), HugePagePool(page_bytes=1 << 30)),
    )
    top = parsed(render(host(replace(physical, caches=(exact, Cache(level=1, type="Instruction", cpus=CpuSet((0,)))), nodes=(node,)))))
    cache = next(each for each in top.iter("object") if each.attrib["type"] == "L3Cache")
    assert {
        name: cache.attrib[name] for name in ("cache_size", "depth", "cache_linesize", "cache_associativity", "cache_type", "os_index")
    } == {
        "cache_size": "33554432",
        "depth": "3",
        "cache_linesize": "64",
        "cache_associativity": "16",
        "cache_type": "0",
        "os_index": "5",
    }
    bare = next(each for each in top.iter("object") if each.attrib["type"] == "L1iCache")
    assert "cache_size" not in bare.attrib
    memory = next(each for each in top.iter("object") if each.attrib["type"] == "NUMANode")
    assert memory.attrib["local_memory"] == str(1 << 30)
    assert [dict(page.attrib) for page in memory.findall("page_type")] == [{"size": "2097152", "count": "3"}]


def test_hostile_names_are_escaped_or_replaced() -> None:
    evil = '"/><object type="Core"/>&\x00\x1b\ud800\uffff鲸\n'
    physical = replace(regular(1, 1, 1, 1), packages=(Package(cpus=CpuSet((0,)), os_index=0, vendor=evil, model_name=evil),))
    one = replace(host(physical), identity=Identity(hostname=evil, kernel=evil, architecture=evil, smbios=Dmi(sys_vendor=evil)))
    top = parsed(render(one))
    kept = '"/><object type="Core"/>&\ufffd\ufffd\ufffd\ufffd鲸\n'
    machine = top.find("object")
    assert machine is not None
    assert infos(machine) | {"Backend": "", "OSName": ""} == {
        **dict.fromkeys(("OSRelease", "HostName", "Architecture", "DMISysVendor"), kept),
        "Backend": "",
        "OSName": "",
    }
    assert sum(each.attrib["type"] == "Core" for each in top.iter("object")) == 1


def test_what_has_no_place_is_left_out_and_said() -> None:
    physical = regular(2, 1, 2, 1)
    caches = (
        *physical.caches,
        Cache(level=3, type="Unified", cpus=CpuSet((1, 2))),
        Cache(level=9, type="Unified", cpus=CpuSet((0, 1))),
        Cache(level=1, type="Odd", cpus=CpuSet((0,))),
    )
    top = parsed(render(host(replace(physical, caches=caches))))
    machine = top.find("object")
    assert machine is not None
    said = [info.attrib["value"] for info in machine.findall("info") if info.attrib["name"] == "StratascopeLeftOut"]
    assert said == ["L3 Unified cache of CPUs 1-2", "L9 Unified cache of CPUs 0-1", "L1 Odd cache of CPUs 0"]
    assert sum(each.attrib["type"] == "L3Cache" for each in top.iter("object")) == 2


def test_a_node_keeps_its_own_cpus_beside_hwlocs() -> None:
    physical = regular(2, 1, 2, 1)
    top = parsed(
        render(
            host(
                replace(
                    physical,
                    nodes=(
                        *physical.nodes,
                        Node(os_index=2, cpus=CpuSet((1, 2)), local_cpus=CpuSet((1, 2))),
                        Node(os_index=3, cpus=CpuSet()),
                    ),
                )
            )
        )
    )
    nodes = {each.attrib["os_index"]: each for each in top.iter("object") if each.attrib["type"] == "NUMANode"}
    assert [nodes[number].attrib["cpuset"] for number in "23"] == ["0x0000000f", "0x0000000f"]
    assert [infos(nodes[number]) for number in "0123"] == [{}, {}, {"StratascopeCpus": "1-2"}, {"StratascopeCpus": "none"}]
    # Their distances are not known, and half a matrix is none.
    assert top.find("distances2") is None


def test_kinds_begin_with_the_slowest() -> None:
    kinds = (
        CpuKind(cpus=CpuSet((0,)), name="cpu_core", capacity=1024, max_freq_hz=5_000_000_000),
        CpuKind(cpus=CpuSet((1,)), base_freq_hz=2_000_000_000),
    )
    top = parsed(render(host(replace(regular(1, 1, 2, 1), cpu_kinds=kinds))))
    assert [(kind.attrib["cpuset"], kind.attrib["forced_efficiency"], infos(kind)) for kind in top.findall("cpukind")] == [
        ("0x00000002", "0", {"FrequencyBaseMHz": "2000"}),
        ("0x00000001", "1", {"CoreType": "cpu_core", "LinuxCapacity": "1024", "FrequencyMaxMHz": "5000"}),
    ]


def test_the_format_wants_cpus_and_a_node() -> None:
    physical = regular(1, 1, 1, 1)
    top = parsed(render(host(replace(physical, nodes=()))))
    assert [each.get("local_memory") for each in top.iter("object") if each.attrib["type"] == "NUMANode"] == [None]
    with pytest.raises(ValueError, match="no CPU is known"):
        render(host(replace(physical, cpus=replace(physical.cpus, online=CpuSet()))))


def test_what_firmware_says_of_memory_goes_along() -> None:
    access = Access(initiators=CpuSet((0,)), read_latency_ns=100, read_bandwidth_bytes=10 << 30)
    side = {1: SideCache(1 << 30, 64), 2: SideCache()}
    node = Node(
        os_index=0,
        cpus=CpuSet(),
        memory_bytes=4 << 30,
        free_bytes=None,
        kind="pmem",
        kind_origin="measured",
        local_cpus=CpuSet((0, 1)),
        access={0: Access(initiators=CpuSet((0,)), read_latency_ns=1), 1: access},
        side_caches=side,
    )
    top = parsed(render(host(replace(regular(1, 1, 2, 1), nodes=(node,)))))
    caches = [each for each in top.iter("object") if each.attrib["type"] == "MemCache"]
    assert [(each.attrib["depth"], each.get("cache_size"), each[0].attrib["type"]) for each in caches] == [
        ("1", str(1 << 30), "MemCache"),
        ("2", None, "NUMANode"),
    ]
    assert caches[1][0].attrib["subtype"] == "NVM"
    said = {
        each.attrib["name"]: (each.attrib["flags"], each[0].attrib["value"], each[0].attrib["initiator_cpuset"])
        for each in top.iter("memattr")
    }
    assert said == {"ReadBandwidth": ("5", "10240", "0x00000003"), "ReadLatency": ("6", "100", "0x00000003")}


def test_books_and_drawers_are_groups() -> None:
    physical = regular(4, 1, 1, 1)
    books = (Assembly(CpuSet((0, 1)), 1), Assembly(CpuSet((2, 3)), 2))
    top = parsed(render(host(replace(physical, books=books))))
    groups = [
        (each.attrib["subtype"], each.attrib["os_index"], len(each.findall("object"))) for each in top.iter("object") if each.get("subtype")
    ]
    assert groups == [("Book", "1", 2), ("Book", "2", 2)]
