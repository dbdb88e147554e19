"""A machine as a list of what it consists of, one line a thing: by hwloc and by us in the same words, so that they can be compared."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter, defaultdict

from agent.model.physical import Physical
from agent.model.values import CpuSet

Objects = dict[str, Counter[str]]

# hwloc's names of caches leave "d" and "u" out.
_CACHES = {"Data": "L{}Cache", "Unified": "L{}Cache", "Instruction": "L{}iCache"}
_ATTRIBUTES = {
    "ReadBandwidth": "read_bandwidth_bytes",
    "WriteBandwidth": "write_bandwidth_bytes",
    "ReadLatency": "read_latency_ns",
    "WriteLatency": "write_latency_ns",
}


def ours(physical: Physical) -> Objects:
    found: dict[str, list[str]] = defaultdict(list)
    online = physical.cpus.online
    found["PU"] = [str(cpu) for cpu in online]
    for name, level in (("Package", physical.packages), ("Core", physical.cores), ("Die", physical.dies), ("Cluster", physical.clusters)):
        found[name] = [f"{_number(thing.os_index)} {thing.cpus}" for thing in level]
    for name, assemblies in (("Book", physical.books), ("Drawer", physical.drawers)):
        found[name] = [f"{_number(thing.os_index)} {thing.cpus}" for thing in assemblies]
    for cache in physical.caches:
        found[_CACHES[cache.type].format(cache.level)].append(f"{cache.cpus} {cache.size_bytes or 0} bytes, line {cache.line_bytes or 0}")
    for node in physical.nodes:
        # hwloc hangs what it cannot place on the whole machine.
        near = node.local_cpus if node.local_cpus is not None else online
        found["NUMANode"].append(f"{node.os_index} near {near} {node.memory_bytes or 0} bytes")
        found["Distance"] += [
            f"{node.os_index}-{other} {distance}" for other, distance in node.distances.items() if len(node.distances) > 1
        ]
        found["MemCache"] += [f"{node.os_index} L{level} {cache.size_bytes} bytes" for level, cache in node.side_caches.items()]
        access = node.access.get(1) or node.access.get(0)
        for name, field in _ATTRIBUTES.items():
            value = getattr(access, field) if access is not None else None
            if value is not None:
                scale = 1 << 20 if name.endswith("Bandwidth") else 1
                found[name].append(f"{node.os_index} from {near} {value // scale}")
    found["CpuKind"] = [str(kind.cpus) for kind in physical.cpu_kinds]
    return {name: Counter(lines) for name, lines in found.items() if lines}


def hwlocs(text: str) -> Objects:
    """Of `lstopo --of xml`."""
    found: dict[str, list[str]] = defaultdict(list)
    root = ET.fromstring(text)  # noqa: S314
    nodes = {}
    for thing in root.iter("object"):
        kind, cpus = thing.get("type", ""), mask(thing.get("cpuset", ""))
        match kind:
            case "PU":
                found["PU"].append(thing.attrib["os_index"])
            case "Package" | "Core" | "Die":
                found[kind].append(f"{thing.get('os_index', '-')} {cpus}")
            case "Group" if thing.get("subtype") in ("Cluster", "Book", "Drawer"):
                found[thing.attrib["subtype"]].append(f"{thing.get('os_index', '-')} {cpus}")
            case "NUMANode":
                nodes[thing.get("gp_index")] = thing.attrib["os_index"]
                found[kind].append(f"{thing.attrib['os_index']} near {cpus} {thing.get('local_memory', '0')} bytes")
            case "MemCache":
                found[kind].append(f"{mask(thing.attrib['nodeset'])} L{thing.attrib['depth']} {thing.attrib['cache_size']} bytes")
            case _ if "cache_size" in thing.attrib:
                found[kind].append(f"{cpus} {thing.attrib['cache_size']} bytes, line {thing.attrib['cache_linesize']}")
    for table in root.iter("distances2"):
        if table.get("name") == "NUMALatency":
            indexes = _words(table, "indexes")
            pairs = [(row, column) for row in indexes for column in indexes]
            found["Distance"] += [f"{row}-{column} {value}" for (row, column), value in zip(pairs, _words(table, "u64values"), strict=True)]
    for attribute in root.iter("memattr"):
        if attribute.get("name") in _ATTRIBUTES:
            for value in attribute.iter("memattr_value"):
                node, near = nodes[value.get("target_obj_gp_index")], mask(value.attrib["initiator_cpuset"])
                found[attribute.attrib["name"]].append(f"{node} from {near} {value.attrib['value']}")
    kinds = [str(mask(kind.attrib["cpuset"])) for kind in root.iter("cpukind")]
    # One kind is none.
    found["CpuKind"] = kinds if len(kinds) > 1 else []
    return {name: Counter(lines) for name, lines in found.items() if lines}


def differences(mine: Objects, theirs: Objects) -> dict[str, tuple[list[str], list[str]]]:
    """By kind: what only we have, and what only hwloc has."""
    kinds = sorted(mine.keys() | theirs.keys())
    apart = {kind: (mine.get(kind, Counter()), theirs.get(kind, Counter())) for kind in kinds}
    return {
        kind: (sorted((one - other).elements()), sorted((other - one).elements())) for kind, (one, other) in apart.items() if one != other
    }


def mask(text: str) -> CpuSet:
    """hwloc's bitmap: "0x0000000f,,0xffffffff", the most significant word first."""
    return CpuSet.parse_mask(",".join(word.removeprefix("0x") for word in text.split(",")))


def pci(text: str) -> dict[str, CpuSet]:
    """`lstopo --filter io:all`: the CPUs of the object that each PCI device hangs on, whatever bridges lie between."""
    found = {}
    ahead = [(ET.fromstring(text), CpuSet())]  # noqa: S314
    while ahead:
        thing, near = ahead.pop()
        if thing.get("type") == "PCIDev":
            found[thing.get("pci_busid", "")] = near
        ahead += [(child, mask(child.attrib["cpuset"]) if "cpuset" in child.attrib else near) for child in thing]
    return found


def _words(element: ET.Element, name: str) -> list[str]:
    return [word for part in element.iter(name) for word in (part.text or "").split()]


def _number(os_index: int | None) -> str:
    return "-" if os_index is None else str(os_index)
