"""Metrics of memory nodes: their sizes, how near they are, and the memory devices that become nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.facts.sys_node import Access
from agent.model.physical import Node, Physical
from exporters.metrics.family import Column, Family, LabelValues, Row, Sample, declared, from_columns, from_rows, gauge, info, labelled


def node_families(physical: Physical) -> Iterator[Family]:
    yield from from_rows(_NODES, physical)
    yield from from_columns(_BY_NODE, [(node.os_index,) for node in physical.nodes], physical.nodes)


def _distances(physical: Physical) -> Iterable[Sample]:
    return [((node.os_index, target), distance) for node in physical.nodes for target, distance in node.distances.items()]


def _accesses(physical: Physical) -> Iterator[tuple[LabelValues, Access]]:
    """What firmware states of a node, by class of initiators."""
    for node in physical.nodes:
        for number, access in node.access.items():
            yield (node.os_index, number, access.initiators), access


def _latencies(physical: Physical) -> Iterator[Sample]:
    for labels, access in _accesses(physical):
        for operation, nanoseconds in (("read", access.read_latency_ns), ("write", access.write_latency_ns)):
            yield (*labels, operation), None if nanoseconds is None else nanoseconds / 1e9


def _bandwidths(physical: Physical) -> Iterator[Sample]:
    for labels, access in _accesses(physical):
        yield (*labels, "read"), access.read_bandwidth_bytes
        yield (*labels, "write"), access.write_bandwidth_bytes


def _side_caches(physical: Physical) -> Iterable[Sample]:
    return [((node.os_index, level), cache.size_bytes) for node in physical.nodes for level, cache in node.side_caches.items()]


def _pools(physical: Physical) -> Iterable[Sample]:
    return [((node.os_index, pool.page_bytes), pool.total_pages) for node in physical.nodes for pool in node.hugepages]


_NODES: tuple[Row[Physical], ...] = (
    info(
        "strata_node_info",
        "The memory nodes, their own CPUs, and the nearest ones (local_cpus), which a node without CPUs has, too",
        "/sys/devices/system/node/nodeN/cpulist, accessN and distance",
        lambda physical: [((node.os_index, node.cpus, node.local_cpus, node.kind), 1) for node in physical.nodes],
        labels=("node", "cpus", "local_cpus", "kind"),
    ),
    gauge(
        "strata_node_distance",
        "Relative distance from a node to the memory of another one, as firmware states it (10 is local)",
        "SLIT distance",
        "/sys/devices/system/node/nodeN/distance",
        _distances,
        labels=("node", "target"),
    ),
    gauge(
        "strata_node_access_latency_seconds",
        "Latency of a node's memory for the initiators that reach it best, as firmware states it (HMAT)",
        "seconds",
        "/sys/devices/system/node/nodeN/accessN/initiators",
        _latencies,
        labels=("node", "class", "initiators", "operation"),
    ),
    gauge(
        "strata_node_access_bandwidth_bytes_per_second",
        "Bandwidth of a node's memory for the initiators that reach it best, as firmware states it (HMAT)",
        "bytes per second",
        "/sys/devices/system/node/nodeN/accessN/initiators",
        _bandwidths,
        labels=("node", "class", "initiators", "operation"),
    ),
    gauge(
        "strata_node_side_cache_size_bytes",
        "Memory that caches a node's memory",
        "bytes",
        "/sys/devices/system/node/nodeN/memory_side_cache/indexN/size",
        _side_caches,
        labels=("node", "level"),
    ),
    gauge(
        "strata_node_hugepages",
        "Explicit huge pages in a node's pool, free ones among them",
        "pages",
        "/sys/devices/system/node/nodeN/hugepages/hugepages-NkB/nr_hugepages",
        _pools,
        labels=("node", "page_bytes"),
    ),
    gauge(
        "strata_dax_device_size_bytes",
        "Memory that is mapped directly, or (driver kmem) is memory of a node",
        "bytes",
        "/sys/bus/dax/devices/daxN.N/size",
        lambda physical: [((dax.name, dax.target_node, dax.backing, dax.driver), dax.size_bytes) for dax in physical.dax],
        labels=("device", "node", "backing", "driver"),
    ),
    gauge(
        "strata_pmem_region_size_bytes",
        "Regions of persistent memory",
        "bytes",
        "/sys/bus/nd/devices/regionN/size",
        lambda physical: [((region.name, region.target_node), region.size_bytes) for region in physical.pmem],
        labels=("region", "node"),
    ),
)

_BY_NODE: tuple[Column[Node], ...] = labelled(
    ("node",),
    gauge(
        "strata_node_memory_bytes",
        "Memory of a node",
        "bytes",
        "MemTotal of /sys/devices/system/node/nodeN/meminfo",
        lambda node: node.memory_bytes,
    ),
    gauge(
        "strata_node_memory_free_bytes",
        "Free memory of a node",
        "bytes",
        "MemFree of /sys/devices/system/node/nodeN/meminfo",
        lambda node: node.free_bytes,
    ),
    gauge(
        "strata_node_tier",
        "The kernel's memory tier of a node: a smaller number is faster",
        "tier",
        "/sys/devices/virtual/memory_tiering/memory_tierN/nodelist",
        lambda node: node.tier,
    ),
)

NODE_METRICS = declared(_NODES, _BY_NODE)
