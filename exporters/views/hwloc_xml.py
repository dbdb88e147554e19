"""The physical model as a topology of hwloc 2, for `lstopo -i FILE` and everything that is built on hwloc.

Format: hwloc/hwloc2.dtd. Objects have their CPUs and memory nodes as masks. What has no place in a tree is left out, and listed in an info
of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from msgspec.structs import replace

from agent.model.facts.sys_node import Access
from agent.model.host import Host
from agent.model.physical import Assembly, Cache, CpuGroup, Node, Package, Physical
from agent.model.values import CpuSet
from exporters.views.tree import MachineObject, machine

_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n'
# Characters that XML 1.0 does not allow, not even escaped (section 2.2, Char).
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# The levels that hwloc has names for.
_CACHES = {(level, "") for level in range(1, 6)} | {(level, "i") for level in range(1, 4)}
_SUBTYPES = {"dram": "DRAM", "hbm": "HBM", "pmem": "NVM", "cxl": "CXL-DRAM", "gpu": "GPUMemory"}
_CACHE_TYPES = {"Unified": "0", "Data": "1", "Instruction": "2"}
# Names and flags (1 more is better, 2 less is, 4 by initiator) of hwloc/memattrs.h, and the units: MiB/s, ns.
_MEMORY = (
    ("ReadBandwidth", "5", "read_bandwidth_bytes", 1 << 20),
    ("WriteBandwidth", "5", "write_bandwidth_bytes", 1 << 20),
    ("ReadLatency", "6", "read_latency_ns", 1),
    ("WriteLatency", "6", "write_latency_ns", 1),
)
# HWLOC_DISTANCES_KIND_FROM_OS | HWLOC_DISTANCES_KIND_MEANS_LATENCY of hwloc/distances.h
_SLIT = "5"


def render(host: Host) -> bytes:
    """One document. Raises ValueError where no CPU is known: hwloc has no machine without one."""
    physical = replace(host.physical, caches=tuple(cache for cache in host.physical.caches if _cache_type(cache)))
    if not physical.cpus.online:
        raise ValueError("no CPU is known, and hwloc has no machine without one")
    tree = machine(physical)
    top = Element("topology", version="2.0")
    numbers = iter(range(1, 1 << 62))
    nodes = CpuSet(node.os_index for node in physical.nodes) or CpuSet((0,))
    root = _object(top, "Machine", tree.root.cpus, nodes, numbers)
    root.set("complete_cpuset", mask(physical.cpus.online | (physical.cpus.offline or CpuSet())))
    root.set("allowed_cpuset", mask(physical.cpus.online))
    root.set("allowed_nodeset", mask(nodes))
    for name, value in _about(host):
        _info(root, name, value)
    nameless = (MachineObject(kind="cache", cpus=cache.cpus, record=cache) for cache in host.physical.caches if not _cache_type(cache))
    for item in (*tree.left_out, *nameless):
        _info(root, "StratascopeLeftOut", f"{item.name} of CPUs {item.cpus}")
    if not physical.nodes:
        # The format requires a node. Its memory is not known.
        _object(root, "NUMANode", tree.root.cpus, nodes, numbers, os_index="0")
    _inside(root, tree.root, CpuSet(), numbers)
    _distances(top, physical.nodes)
    _attributes_of_memory(top, physical)
    _kinds(top, physical)
    indent(top)
    return _HEAD + tostring(top, encoding="unicode").encode() + b"\n"


def mask(cpus: CpuSet) -> str:
    """ "0x00000001,0x00000003": 32 bits a group, the most significant first."""
    groups = max(1, (cpus.mask.bit_length() + 31) // 32)
    return ",".join(f"0x{cpus.mask >> 32 * group & 0xFFFFFFFF:08x}" for group in reversed(range(groups)))


def _text(value: str) -> str:
    return _ILLEGAL.sub("\ufffd", value)


def _info(parent: Element, name: str, value: str | None) -> None:
    if value:
        SubElement(parent, "info", name=name, value=_text(value))


def _object(parent: Element, kind: str, cpus: CpuSet, nodes: CpuSet, numbers: Iterator[int], **attributes: str | None) -> Element:
    sets = {"cpuset": mask(cpus), "complete_cpuset": mask(cpus), "nodeset": mask(nodes), "complete_nodeset": mask(nodes)}
    present = {name: value for name, value in attributes.items() if value is not None}
    return SubElement(parent, "object", {"type": kind, **sets, "gp_index": str(next(numbers)), **present})


def _about(host: Host) -> Iterator[tuple[str, str | None]]:
    """Infos of the machine, under hwloc's names where it has them."""
    identity, smbios = host.identity, host.identity.smbios
    yield "Backend", "Stratascope"
    yield "OSName", "Linux"
    yield "OSRelease", identity.kernel
    yield "HostName", identity.hostname
    yield "Architecture", identity.architecture
    if smbios:
        yield "DMISysVendor", smbios.sys_vendor
        yield "DMIProductName", smbios.product_name
        yield "DMIProductVersion", smbios.product_version
        yield "DMIBoardVendor", smbios.board_vendor
        yield "DMIBoardName", smbios.board_name
        yield "DMIBIOSVendor", smbios.bios_vendor
        yield "DMIBIOSVersion", smbios.bios_version
        yield "DMIChassisType", smbios.chassis_type


def _type(item: MachineObject) -> str:
    if isinstance(item.record, Cache):
        return _cache_type(item.record)
    return {"machine": "Machine", "package": "Package", "die": "Die", "core": "Core", "thread": "PU"}.get(item.kind, "Group")


def _cache_type(cache: Cache) -> str:
    """ "L1Cache" (data), "L1iCache" (instructions), "L3Cache"; "" where hwloc has no name."""
    suffix = "i" if cache.type == "Instruction" else ""
    return f"L{cache.level}{suffix}Cache" if (cache.level, suffix) in _CACHES and cache.type in _CACHE_TYPES else ""


def _inside(parent: Element, item: MachineObject, outside: CpuSet, numbers: Iterator[int]) -> None:
    """Adds what lies in an object: the memory beside its children first, which is the format's order, then the children."""
    for node in item.nodes:
        _node(parent, node, item.cpus, numbers)
    outside = outside | CpuSet(node.os_index for node in item.nodes)
    for inner in item.children:
        element = _object(parent, _type(inner), inner.cpus, outside | inner.memory, numbers, **_attributes(inner))
        _package(element, inner.record)
        _inside(element, inner, outside, numbers)


def _attributes(item: MachineObject) -> dict[str, str | None]:
    attributes = {"os_index": None if item.number is None or item.number < 0 else str(item.number)}
    match item.record:
        case Cache() as cache:
            return attributes | {
                "cache_size": _number(cache.size_bytes),
                "depth": str(cache.level),
                "cache_linesize": _number(cache.line_bytes),
                "cache_associativity": _number(cache.ways),
                "cache_type": _CACHE_TYPES[cache.type],
            }
        case CpuGroup() | Assembly() if item.kind in ("cluster", "book", "drawer"):
            return attributes | {"subtype": item.kind.capitalize()}
    return attributes


def _package(element: Element, thing: object) -> None:
    if isinstance(thing, Package):
        _info(element, "CPUVendor", thing.vendor)
        _info(element, "CPUFamilyNumber", thing.family)
        _info(element, "CPUModelNumber", thing.model)
        _info(element, "CPUModel", thing.model_name)
        _info(element, "CPUStepping", thing.stepping)


def _node(parent: Element, node: Node, cpus: CpuSet, numbers: Iterator[int]) -> None:
    nodes = CpuSet((node.os_index,))
    # Level 1, which is looked up first, lies outside.
    for level, cache in sorted(node.side_caches.items()):
        sizes = {"cache_size": _number(cache.size_bytes), "cache_linesize": _number(cache.line_bytes)}
        parent = _object(parent, "MemCache", cpus, nodes, numbers, depth=str(level), cache_type="0", **sizes)
    element = _object(
        parent,
        "NUMANode",
        cpus,
        nodes,
        numbers,
        os_index=str(node.os_index),
        local_memory=_number(node.memory_bytes),
        subtype=_SUBTYPES.get(node.kind or "") if node.kind_origin != "inferred" else None,
    )
    for pool in node.hugepages:
        if pool.total_pages is not None:
            SubElement(element, "page_type", size=str(pool.page_bytes), count=str(pool.total_pages))
    if node.cpus is not None and node.cpus != cpus:
        # hwloc gives memory the CPUs of the object it hangs on.
        _info(element, "StratascopeCpus", str(node.cpus) or "none")


def _attributes_of_memory(top: Element, physical: Physical) -> None:
    """Latency and bandwidth of each node's memory for the CPUs near it."""
    targets = {element.get("os_index"): element for element in top.iter("object") if element.get("type") == "NUMANode"}
    for name, flags, field, unit in _MEMORY:
        values = []
        for node in physical.nodes:
            access = node.access.get(1) or node.access.get(0) or Access(initiators=CpuSet())
            value, element = getattr(access, field), targets[str(node.os_index)]
            if value is not None and node.local_cpus:
                near = {"target_obj_gp_index": element.get("gp_index", ""), "initiator_cpuset": element.get("cpuset", "")}
                values.append(near | {"value": str(value // unit)})
        if values:
            attribute = SubElement(top, "memattr", name=name, flags=flags)
            for entry in values:
                SubElement(attribute, "memattr_value", {"target_obj_type": "NUMANode"} | entry)


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _distances(top: Element, nodes: tuple[Node, ...]) -> None:
    """The matrix of SLIT distances, where it is complete."""
    numbers = [node.os_index for node in nodes]
    if len(nodes) < 2 or any(number not in node.distances for node in nodes for number in numbers):
        return
    matrix = SubElement(top, "distances2", type="NUMANode", nbobjs=str(len(nodes)), kind=_SLIT, name="NUMALatency", indexing="os")
    _numbers(matrix, "indexes", numbers)
    for node in nodes:
        _numbers(matrix, "u64values", [node.distances[number] for number in numbers])


def _numbers(parent: Element, name: str, numbers: Iterable[int]) -> None:
    text = "".join(f"{number} " for number in numbers)
    SubElement(parent, name, length=str(len(text))).text = text


def _kinds(top: Element, physical: Physical) -> None:
    """The kinds of CPUs. hwloc's efficiency rises from the slowest; `cpu_kinds` begin with the fastest."""
    for efficiency, kind in enumerate(reversed(physical.cpu_kinds)):
        element = SubElement(top, "cpukind", cpuset=mask(kind.cpus), forced_efficiency=str(efficiency))
        _info(element, "CoreType", kind.name)
        _info(element, "LinuxCapacity", _number(kind.capacity))
        _info(element, "FrequencyMaxMHz", _number(kind.max_freq_hz and kind.max_freq_hz // 1_000_000))
        _info(element, "FrequencyBaseMHz", _number(kind.base_freq_hz and kind.base_freq_hz // 1_000_000))
