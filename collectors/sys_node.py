"""NUMA nodes: /sys/devices/system/node. Source: Documentation/ABI/stable/sysfs-devices-node."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from agent.model.facts.sys_node import Access, SideCache
from agent.model.values import CpuSet, Fact, is_number, number_or_none
from collectors.root import SysRoot
from collectors.text import (
    Malformed,
    MalformedLines,
    cpu_list,
    cpu_mask,
    flat_keyed,
    kibibytes,
    newline_separated,
    numbers,
    space_separated,
    unsigned,
)

NODE = "sys/devices/system/node"

_MIB = 1 << 20
"""The kernel's bandwidths are in MiB a second (Documentation/admin-guide/mm/numaperf.rst)."""


class SysfsNode(Fact, frozen=True, kw_only=True):
    """One node. `distances` has a column for each *online* node, in ascending order of their numbers (SLIT, local is 10)."""

    os_index: int
    cpus: CpuSet | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    distances: tuple[int, ...] = ()
    numastat: dict[str, int] = {}
    access: dict[int, Access] = {}
    side_caches: dict[int, SideCache] = {}


class Nodes(Fact, frozen=True):
    nodes: tuple[SysfsNode, ...]
    online: CpuSet | None = None
    has_memory: CpuSet | None = None


def read(root: SysRoot) -> Nodes:
    numbers = CpuSet(int(name[4:]) for name in root.names(NODE) if name[:4] == "node" and is_number(name[4:]))
    return Nodes(
        tuple(_node(root, number) for number in numbers),
        online=root.parse(f"{NODE}/online", cpu_list),
        has_memory=root.parse(f"{NODE}/has_memory", cpu_list),
    )


def count(root: SysRoot, nodes: Nodes) -> Nodes:
    """The same nodes with counters and free memory read again; the rest stays until something is plugged."""
    return replace(nodes, nodes=tuple(_counted(root, node) for node in nodes.nodes))


def _counted(root: SysRoot, node: SysfsNode) -> SysfsNode:
    directory = f"{NODE}/node{node.os_index}"
    meminfo = root.parse(f"{directory}/meminfo", parse_meminfo) or {}
    return replace(
        node,
        memory_bytes=meminfo.get("MemTotal"),
        free_bytes=meminfo.get("MemFree"),
        numastat=root.parse(f"{directory}/numastat", flat_keyed) or {},
    )


def _node(root: SysRoot, number: int) -> SysfsNode:
    directory = f"{NODE}/node{number}"
    # The list of a node without CPUs is an empty line: an empty set, not an unknown one.
    cpus = root.parse(f"{directory}/cpulist", cpu_list, blank=True)
    node = SysfsNode(
        os_index=number,
        cpus=cpus if cpus is not None else root.parse(f"{directory}/cpumap", cpu_mask),
        distances=root.parse(f"{directory}/distance", lambda text: numbers(space_separated(text))) or (),
        access={class_: access for class_ in (0, 1) if (access := _access(root, f"{directory}/access{class_}/initiators")) is not None},
        side_caches=_side_caches(root, f"{directory}/memory_side_cache"),
    )
    return _counted(root, node)


_INDEXING: dict[int, Literal["direct", "indexed"]] = {0: "direct", 1: "indexed"}
_POLICIES: dict[int, Literal["write-back", "write-through"]] = {0: "write-back", 1: "write-through"}


def _access(root: SysRoot, directory: str) -> Access | None:
    names = root.names(directory)
    if not names:
        return None
    # The link is read because a recording has no other trace of it.
    linked = ((root.link(f"{directory}/{name}") or name).rpartition("/")[2] for name in names if name.startswith("node"))

    def stated(name: str, unit: int = 1) -> int | None:
        number = root.parse(f"{directory}/{name}", unsigned)
        return number_or_none(number * unit) if number else None

    return Access(
        initiators=CpuSet(int(name[4:]) for name in linked if is_number(name[4:])),
        read_latency_ns=stated("read_latency"),
        write_latency_ns=stated("write_latency"),
        read_bandwidth_bytes=stated("read_bandwidth", _MIB),
        write_bandwidth_bytes=stated("write_bandwidth", _MIB),
    )


def _side_caches(root: SysRoot, directory: str) -> dict[int, SideCache]:
    """By level: indexN is the N-th in the way of an access."""
    levels = [name[5:] for name in root.names(directory) if name.startswith("index") and is_number(name[5:])]
    return {int(level): _side_cache(root, f"{directory}/index{level}") for level in levels}


def _side_cache(root: SysRoot, directory: str) -> SideCache:
    indexing, policy = (root.parse(f"{directory}/{name}", unsigned) for name in ("indexing", "write_policy"))
    return SideCache(
        root.parse(f"{directory}/size", unsigned),
        root.parse(f"{directory}/line_size", unsigned) or None,
        None if indexing is None else _INDEXING.get(indexing, "other"),
        None if policy is None else _POLICIES.get(policy, "other"),
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """ "Node 0 MemTotal:  13592792 kB" -> bytes; counts without a unit stay counts."""
    values = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        words = line.split()
        try:
            if words[:1] != ["Node"]:
                raise Malformed("no node")
            (count,) = numbers(words[3:4])
            values[words[2].removesuffix(":")] = kibibytes(words[3]) if words[-1] == "kB" else count
        except (ValueError, Malformed):
            # Before Linux 2.6.30 the file began with an empty line.
            malformed.add(number, line, "'Node N Name: value'")
    return malformed.checked(values)
