"""What lscpu, numactl and dmidecode say, as sets of kernel CPU numbers."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Set = frozenset[int]


@dataclass(frozen=True)
class Numactl:
    cpus: dict[int, Set]
    mebibytes: dict[int, int]
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


def numactl(text: str) -> Numactl:
    """`numactl -H`: "node 0 cpus: 0 1", "node 0 size: 218 MB", and a table whose head names its columns."""
    cpus = {int(node): frozenset(map(int, list_.split())) for node, list_ in re.findall(r"^node (\d+) cpus:(.*)$", text, re.MULTILINE)}
    mebibytes = {int(node): int(size) for node, size in re.findall(r"^node (\d+) size: (\d+) MB$", text, re.MULTILINE)}
    table = text.partition("node distances:\n")[2].splitlines()
    columns = [int(word) for word in table[0].split()[1:]]
    distances = {}
    for row in table[1:]:
        node, _, values = row.partition(":")
        distances[int(node)] = dict(zip(columns, map(int, values.split()), strict=True))
    return Numactl(cpus, mebibytes, distances)


def dmidecode(text: str) -> dict[str, dict[str, str]]:
    """The first structure of each kind of `dmidecode -q`: "BIOS Information" -> {"Vendor": "SeaBIOS"}."""
    found: dict[str, dict[str, str]] = {}
    for block in text.split("\n\n"):
        lines: Sequence[str] = block.strip("\n").splitlines()
        if lines:
            values = (line[1:].partition(": ") for line in lines[1:] if line.startswith("\t") and not line.startswith("\t\t"))
            found.setdefault(lines[0], {name: value for name, colon, value in values if colon})
    return found


def dmidecode_structures(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """All structures of `dmidecode -t`, by handle: "0x1100" -> ("Memory Device", {"Size": "128 MB"})."""
    found = {}
    for handle, kind, lines in re.findall(r"^Handle (0x\w+), DMI type .*\n(.*)\n((?:\t.*\n?)*)", text, re.MULTILINE):
        found[handle.lower()] = (kind, dict(line.strip().split(": ", 1) for line in lines.splitlines() if ": " in line))
    return found


def schedstat(text: str) -> dict[int, list[Set]]:
    """The scheduling domains of each CPU, from the smallest up, of /proc/schedstat in version 15: "domain0 03 ..." below "cpu0 ..."."""
    assert text.startswith("version 15\n")
    found: dict[int, list[Set]] = {}
    for line in text.splitlines():
        if line.startswith("cpu"):
            found[int(line.split()[0][3:])] = []
        elif line.startswith("domain"):
            list(found.values())[-1].append(_mask(line.split()[1]))
    return found


def _mask(text: str) -> Set:
    """The kernel's bitmap: "00000001,ffffffff", the most significant word first."""
    value = int(text.replace(",", ""), 16)
    return frozenset(bit for bit in range(value.bit_length()) if value >> bit & 1)
