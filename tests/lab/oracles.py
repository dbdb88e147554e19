"""What lscpu, lstopo, numactl and dmidecode say, as sets of kernel CPU numbers."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Set = frozenset[int]


@dataclass(frozen=True)
class Node:
    cpus: Set
    memory_bytes: int


@dataclass(frozen=True)
class Hwloc:
    """`objects` has the CPU sets of each type; lists, because two objects may have the same set."""

    objects: dict[str, list[Set]]
    sizes: dict[tuple[str, Set], int]
    nodes: dict[int, Node]


@dataclass(frozen=True)
class Numactl:
    cpus: dict[int, Set]
    distances: dict[int, dict[int, int]]


def lscpu(text: str) -> dict[str, set[Set]]:
    """The partitions of the online CPUs by core, socket and node, of `lscpu -p=CPU,CORE,SOCKET,NODE`."""
    groups: dict[str, dict[str, set[int]]] = {name: defaultdict(set) for name in ("core", "socket", "node")}
    for line in text.splitlines():
        if not line.startswith("#"):
            cpu, *numbers = line.split(",")
            for name, number in zip(groups, numbers, strict=True):
                groups[name][number].add(int(cpu))
    return {name: {frozenset(cpus) for cpus in its.values()} for name, its in groups.items()}


def lscpu_fields(text: str) -> dict[str, str]:
    """`lscpu -J`: fields within fields, each under its name without the colon."""
    found: dict[str, str] = {}
    ahead: list[dict[str, Any]] = list(json.loads(text)["lscpu"])
    while ahead:
        entry = ahead.pop()
        found[entry["field"].removesuffix(":")] = entry["data"]
        ahead += entry.get("children", ())
    return found


def hwloc(text: str) -> Hwloc:
    """`lstopo --of xml`."""
    objects: dict[str, list[Set]] = defaultdict(list)
    sizes = {}
    nodes = {}
    for thing in ET.fromstring(text).iter("object"):  # noqa: S314
        kind, cpus = thing.get("type", ""), _mask(thing.get("cpuset", ""))
        objects[kind].append(cpus)
        if "cache_size" in thing.attrib:
            sizes[kind, cpus] = int(thing.attrib["cache_size"])
        if kind == "NUMANode":
            nodes[int(thing.attrib["os_index"])] = Node(cpus, int(thing.get("local_memory", "0")))
    return Hwloc(dict(objects), sizes, nodes)


def numactl(text: str) -> Numactl:
    """`numactl -H`: "node 0 cpus: 0 1", and a table whose head names its columns."""
    cpus = {int(node): frozenset(map(int, list_.split())) for node, list_ in re.findall(r"^node (\d+) cpus:(.*)$", text, re.MULTILINE)}
    table = text.partition("node distances:\n")[2].splitlines()
    columns = [int(word) for word in table[0].split()[1:]]
    distances = {}
    for row in table[1:]:
        node, _, values = row.partition(":")
        distances[int(node)] = dict(zip(columns, map(int, values.split()), strict=True))
    return Numactl(cpus, distances)


def dmidecode(text: str) -> dict[str, dict[str, str]]:
    """The first structure of each kind of `dmidecode -q`: "BIOS Information" -> {"Vendor": "SeaBIOS"}."""
    found: dict[str, dict[str, str]] = {}
    for block in text.split("\n\n"):
        lines: Sequence[str] = block.strip("\n").splitlines()
        if lines:
            values = (line[1:].partition(": ") for line in lines[1:] if line.startswith("\t") and not line.startswith("\t\t"))
            found.setdefault(lines[0], {name: value for name, colon, value in values if colon})
    return found


def _mask(text: str) -> Set:
    """hwloc's bitmap: "0x0000000f,0xffffffff", the most significant word first."""
    value = 0
    for word in text.split(","):
        value = value << 32 | int(word or "0", 16)
    return frozenset(bit for bit in range(value.bit_length()) if value >> bit & 1)
