"""NUMA nodes: /sys/devices/system/node. Source: Documentation/ABI/stable/sysfs-devices-node."""

from __future__ import annotations

from agent.model.values import CpuSet, Fact, is_number
from collectors.sysroot import SysRoot
from collectors.text import Malformed, cpu_list, cpu_mask, integer, newline_separated, space_separated

NODE = "sys/devices/system/node"


class Node(Fact, frozen=True):
    """One node. `distances` has a column for each *online* node, in ascending order of their numbers (SLIT, local is 10)."""

    os_index: int
    cpus: CpuSet | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    distances: tuple[int, ...] = ()
    numastat: dict[str, int] = {}


class Nodes(Fact, frozen=True):
    nodes: tuple[Node, ...]
    online: CpuSet | None = None
    has_memory: CpuSet | None = None


def read(root: SysRoot) -> Nodes:
    numbers = CpuSet(int(name[4:]) for name in root.names(NODE) if name[:4] == "node" and is_number(name[4:]))
    return Nodes(
        tuple(_node(root, number) for number in numbers),
        online=root.parse(f"{NODE}/online", cpu_list),
        has_memory=root.parse(f"{NODE}/has_memory", cpu_list),
    )


def _node(root: SysRoot, number: int) -> Node:
    directory = f"{NODE}/node{number}"
    meminfo = root.parse(f"{directory}/meminfo", parse_meminfo) or {}
    # The list of a node without CPUs is an empty line: an empty set, not an unknown one.
    cpus = root.parse(f"{directory}/cpulist", cpu_list, blank=True)
    return Node(
        number,
        cpus=cpus if cpus is not None else root.parse(f"{directory}/cpumap", cpu_mask),
        memory_bytes=meminfo.get("MemTotal"),
        free_bytes=meminfo.get("MemFree"),
        distances=root.parse(f"{directory}/distance", lambda text: tuple(integer(word) for word in space_separated(text))) or (),
        numastat=root.parse(f"{directory}/numastat", parse_numastat) or {},
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """ "Node 0 MemTotal:  13592792 kB" -> bytes; counts without a unit stay counts."""
    values = {}
    for number, line in enumerate(newline_separated(text), 1):
        words = line.split()
        if not words:
            # Before Linux 2.6.30 the file began with an empty line.
            continue
        if len(words) < 4 or words[0] != "Node" or not words[3].isdecimal():
            raise Malformed(f"expected 'Node N Name: value', got {line[:60]!r}", number)
        values[words[2].removesuffix(":")] = integer(words[3]) << 10 if words[-1] == "kB" else integer(words[3])
    return values


def parse_numastat(text: str) -> dict[str, int]:
    values = {}
    for number, line in enumerate(newline_separated(text), 1):
        name, _, value = line.partition(" ")
        if not value.strip().isdecimal():
            raise Malformed(f"expected 'name count', got {line[:60]!r}", number)
        values[name] = integer(value)
    return values
