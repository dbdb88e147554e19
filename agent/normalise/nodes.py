"""Memory nodes: their distances, their kind of memory, and whether the machine is NUMA."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.facts.sys_dax import DaxDevice
from agent.model.physical import Cache, MainMemory, Node, Package
from agent.model.values import CpuSet
from agent.normalise.views import nodes_disagree
from collectors import sys_node

# Haswell-EP, Broadwell-EP and Broadwell-DE divide the last-level cache, too: cluster on die (arch/x86/include/asm/intel-family.h).
_CLUSTER_ON_DIE = ("63", "79", "86")

_ZEN = 0x17


def nodes(sample: Sample, online: CpuSet) -> tuple[Node, ...]:
    """The memory nodes; one synthesised node where the kernel has no NUMA, empty where the nodes are not known."""
    meminfo = sample.host.memory.meminfo_bytes if sample.host.memory else {}
    if sample.host.nodes is None:
        return ()
    if not sample.host.nodes.nodes:
        if (not online and not meminfo) or _has_nodes(sample):
            return ()
        # A kernel without NUMA shows no node: all its memory is one node.
        size, free = meminfo.get("MemTotal"), meminfo.get("MemFree")
        return (
            Node(
                os_index=0,
                cpus=online,
                memory_bytes=size,
                free_bytes=free,
                origin="synthesised",
                local_cpus=online,
                local_cpus_evidence="own",
            ),
        )
    pools = sample.host.huge_page_pools.by_node if sample.host.huge_page_pools else {}
    columns = _columns(sample.host.nodes)
    tiers = {node: tier for tier, tier_nodes in (sample.host.memory_tiers or {}).items() for node in tier_nodes}
    # Of a node none of whose CPUs are online it is not known which it has: it is not one without CPUs.
    own = {
        node.os_index: node.cpus & online
        for node in sample.host.nodes.nodes
        if node.cpus is not None and (not node.cpus or node.cpus & online)
    }
    distances = {
        node.os_index: dict(zip(columns, node.distances, strict=True))
        for node in sample.host.nodes.nodes
        if len(columns) == len(node.distances)
    }
    addresses = {
        function.device.address: function.device.cpus & online
        for function in sample.host.pci_devices or ()
        if function.device.cpus is not None
    }
    gpu_cpus = {number: addresses.get(gpu) for number, gpu in (sample.host.gpu_nodes or {}).items()}
    fastest = _fastest(sample)
    return tuple(
        Node(
            os_index=node.os_index,
            cpus=own.get(node.os_index),
            memory_bytes=node.memory_bytes,
            free_bytes=node.free_bytes,
            **_kind(sample, node, fastest),
            tier=tiers.get(node.os_index),
            distances=distances.get(node.os_index, {}),
            access=node.access,
            **_locality(node, own, gpu_cpus.get(node.os_index), distances.get(node.os_index, {})),
            side_caches=node.side_caches,
            hugepages=pools.get(node.os_index, ()),
            numastat=node.numastat,
        )
        for node in sample.host.nodes.nodes
    )


def _has_nodes(sample: Sample) -> bool:
    """Whether the kernel has NUMA: counters in vmstat (mm/vmstat.c), or further nodes in zoneinfo. The number of nodes is only in sysfs."""
    memory = sample.host.memory
    return memory is not None and ("numa_hit" in memory.vmstat or any(span.zone.node > 0 for span in memory.zones))


def _columns(sysfs_nodes: sys_node.Nodes) -> tuple[int, ...]:
    """The node numbers that the columns of `distance` stand for: the online nodes, ascending."""
    return tuple(sysfs_nodes.online) if sysfs_nodes.online else tuple(node.os_index for node in sysfs_nodes.nodes)


def _locality(node: sys_node.SysfsNode, own: dict[int, CpuSet], gpu_cpus: CpuSet | None, distances: dict[int, int]) -> dict[str, Any]:
    """The CPUs local to a node: its own, else those near its GPU, else its best initiators, else those at the least distance."""
    if own.get(node.os_index):
        return {"local_cpus": own[node.os_index], "local_cpus_evidence": "own"}
    if node.os_index not in own:
        return {}
    if gpu_cpus:
        return {"local_cpus": gpu_cpus, "local_cpus_evidence": "pci"}
    for number in (1, 0):
        cpus = _cpus_of(node.access[number].initiators, own) if number in node.access else None
        if cpus:
            return {"local_cpus": cpus, "local_cpus_evidence": f"access{number}"}
    with_cpus = {node_index: distance for node_index, distance in distances.items() if own.get(node_index)}
    nearest = CpuSet(node_index for node_index, distance in with_cpus.items() if distance == min(with_cpus.values()))
    # Equal distances to all nodes do not tell which is local.
    if nearest and len(nearest) < len(with_cpus):
        return {"local_cpus": _cpus_of(nearest, own), "local_cpus_evidence": "distance"}
    return {}


def _cpus_of(numbers: CpuSet, own: dict[int, CpuSet]) -> CpuSet:
    return CpuSet.union(own[number] for number in numbers if number in own)


def _kind(sample: Sample, node: sys_node.SysfsNode, fastest: int | None) -> dict[str, Any]:
    """The kind of a node's memory: by the DAX driver that added it, else HBM if faster than ordinary memory, else DRAM beside CPUs."""
    if node.cpus is None or node.memory_bytes is None:
        return {}
    if not node.memory_bytes:
        return {"kind": "unknown"}
    if sample.host.gpu_nodes and node.os_index in sample.host.gpu_nodes:
        return {"kind": "gpu", "kind_evidence": f"numa_status of GPU {sample.host.gpu_nodes[node.os_index]}"}
    devices = _devices(sample, node)
    if (sample.host.dax_devices is None and not node.cpus) or any(device.size_bytes is None for device in devices):
        return {}
    brought = _brought(sample, node)
    backing = {device.backing for device in brought}
    if backing in ({"pmem"}, {"cxl"}):
        return {"kind": backing.pop(), "kind_evidence": f"{' '.join(device.name for device in brought)} of driver kmem"}
    bandwidth = _bandwidth(node)
    if fastest is not None and bandwidth is not None and bandwidth > fastest and (brought or not node.cpus):
        return {"kind": "hbm", "kind_origin": "inferred", "kind_evidence": "its bandwidth is above that of ordinary memory"}
    if node.cpus and not brought:
        return {"kind": "dram", "kind_origin": "inferred", "kind_evidence": "CPUs beside it"}
    return {"kind": "unknown"}


def _devices(sample: Sample, node: sys_node.SysfsNode) -> list[DaxDevice]:
    return [device for device in sample.host.dax_devices or () if device.target_node == node.os_index and device.driver == "kmem"]


def _brought(sample: Sample, node: sys_node.SysfsNode) -> list[DaxDevice]:
    """The DAX devices that make up all memory of a node; empty where a node with CPUs has ordinary memory, too."""
    devices = _devices(sample, node)
    size = sum(device.size_bytes or 0 for device in devices)
    return devices if not node.cpus or size >= (node.memory_bytes or 0) else []


def _bandwidth(node: sys_node.SysfsNode) -> int | None:
    access = node.access.get(1) or node.access.get(0)
    return access.read_bandwidth_bytes if access else None


def _fastest(sample: Sample) -> int | None:
    """The highest read bandwidth of nodes that have CPUs and ordinary memory, in bytes per second."""
    sysfs_nodes = sample.host.nodes.nodes if sample.host.nodes else ()
    bandwidths = [_bandwidth(node) for node in sysfs_nodes if node.cpus and not _brought(sample, node)]
    return max((bandwidth for bandwidth in bandwidths if bandwidth is not None), default=None)


def memory(sample: Sample, online: CpuSet, nodes: tuple[Node, ...]) -> MainMemory:
    """Total memory, and whether the machine is UMA or NUMA: UMA only where there is no sign of a node that is not shown."""
    meminfo = sample.host.memory.meminfo_bytes if sample.host.memory else {}
    # Nodes of unknown size count: they exist even where a recording lacks their meminfo.
    with_memory = [node for node in nodes if node.memory_bytes != 0]
    return MainMemory(
        architecture="numa" if len(with_memory) > 1 else "uma" if with_memory and not nodes_disagree(sample, online, nodes) else None,
        total_bytes=meminfo.get("MemTotal"),
        distances_alike=_alike(nodes),
    )


def _alike(nodes: tuple[Node, ...]) -> bool | None:
    numbers = {node.os_index for node in nodes}
    if len(numbers) < 3 or any(node.distances.keys() != numbers for node in nodes):
        return None
    return len({distance for node in nodes for target, distance in node.distances.items() if target != node.os_index}) == 1


def clustered(sample: Sample, packages: tuple[Package, ...], nodes: tuple[Node, ...], caches: tuple[Cache, ...]) -> tuple[Package, ...]:
    """Packages with the clustering mode that divides them into nodes (SNC, NPS). In a guest, nodes are configured and say nothing of it."""
    if sample.statics.cpuinfo is None or "hypervisor" in sample.statics.cpuinfo.flags:
        return packages
    named = ((package, _clustering(package, nodes, caches)) for package in packages)
    return tuple(
        package if name is None else replace(package, numa_clustering=name, numa_clustering_origin="inferred") for package, name in named
    )


def _clustering(package: Package, nodes: tuple[Node, ...], caches: tuple[Cache, ...]) -> str | None:
    in_package = [node.cpus for node in nodes if node.cpus and node.cpus <= package.cpus]
    count = len(in_package)
    if count < 2 or sum(map(len, in_package)) != len(package.cpus) or CpuSet(cpu for cpus in in_package for cpu in cpus) != package.cpus:
        return None
    if package.vendor == "GenuineIntel":
        return "COD" if package.model in _CLUSTER_ON_DIE else f"SNC{count}"
    family = package.family if package.family is not None and package.family.isdecimal() else "0"
    if package.vendor in ("AuthenticAMD", "HygonGenuine") and int(family[:9]) >= _ZEN:
        shared = {cache.cpus for cache in caches if cache.level == 3}
        return f"NPS{count}" if count in (2, 4) else "L3 as NUMA domain" if set(in_package) <= shared else None
    return None
