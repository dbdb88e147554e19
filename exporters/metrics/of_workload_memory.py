"""Metrics of the memory of all kinds of workloads. Files named without a directory are those of the workload's control group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.workload import Workload
from exporters.metrics.family import Column, Family, Row, Sample, counter, declared, from_columns, from_rows, gauge, labelled


def workload_memory_families(workloads: tuple[Workload, ...]) -> Iterator[Family]:
    yield from from_columns(_BY_WORKLOAD, [(workload.id,) for workload in workloads], workloads)
    yield from from_rows(_WORKLOADS, workloads)


def _events(workloads: tuple[Workload, ...]) -> Iterable[Sample]:
    return [((workload.id, event), count) for workload in workloads for event, count in workload.memory.events.items()]


def _by_node(workloads: tuple[Workload, ...]) -> Iterable[Sample]:
    return [((workload.id, node), size) for workload in workloads for node, size in workload.placement.memory_by_node.items()]


_BY_WORKLOAD: tuple[Column[Workload], ...] = labelled(
    ("workload",),
    gauge(
        "strata_workload_memory_limit_bytes",
        "Tightest memory limit of a workload's control group and all above it (+Inf: unlimited)",
        "bytes",
        "memory.max (cgroup v1: memory.limit_in_bytes)",
        lambda workload: workload.memory.limit_bytes,
    ),
    gauge(
        "strata_workload_memory_current_bytes",
        "Memory charged to a workload's control group",
        "bytes",
        "memory.current (cgroup v1: memory.usage_in_bytes)",
        lambda workload: workload.memory.current_bytes,
    ),
    gauge(
        "strata_workload_memory_resident_bytes",
        "Resident memory of a workload's one process (several share pages: of these there is no such number)",
        "bytes",
        "VmRSS of /proc/PID/status",
        lambda workload: workload.memory.resident_bytes,
    ),
    gauge(
        "strata_workload_memory_allotted_bytes",
        "Memory that a guest or a sandbox sees: guest memory, or the size of all linear memories",
        "bytes",
        "libvirt, /proc/PID/maps",
        lambda workload: workload.memory.allotted_bytes,
    ),
    gauge(
        "strata_workload_memory_backing_bytes",
        "What is resident on the host of the memory that a guest or a sandbox sees",
        "bytes",
        "/proc/PID/smaps and numa_maps",
        lambda workload: workload.memory.backing_bytes,
    ),
    gauge(
        "strata_workload_memory_backing_swapped_bytes",
        "What the host has swapped out of the memory that a guest or a sandbox sees",
        "bytes",
        "Swap of /proc/PID/smaps",
        lambda workload: workload.memory.backing_swapped_bytes,
        level="full",
    ),
    gauge(
        "strata_workload_memory_peak_bytes",
        "The most memory that was ever charged to a workload's control group",
        "bytes",
        "memory.peak (cgroup v1: memory.max_usage_in_bytes)",
        lambda workload: workload.memory.peak_bytes,
        level="full",
    ),
    gauge(
        "strata_workload_memory_swap_bytes",
        "Swap that a workload's control group uses",
        "bytes",
        "memory.swap.current (cgroup v1: memory.memsw.usage_in_bytes less memory.usage_in_bytes)",
        lambda workload: workload.memory.swap_bytes,
    ),
    gauge(
        "strata_workload_memory_anon_bytes",
        "Anonymous memory of a workload's control group",
        "bytes",
        "anon of memory.stat (cgroup v1: total_rss)",
        lambda workload: workload.memory.anon_bytes,
        level="full",
    ),
    gauge(
        "strata_workload_memory_file_bytes",
        "Page cache of a workload's control group, shared memory counted",
        "bytes",
        "file of memory.stat (cgroup v1: total_cache)",
        lambda workload: workload.memory.file_bytes,
        level="full",
    ),
    gauge(
        "strata_workload_memory_kernel_bytes",
        "Memory of the kernel that is charged to a workload's control group",
        "bytes",
        "kernel of memory.stat (cgroup v1: memory.kmem.usage_in_bytes)",
        lambda workload: workload.memory.kernel_bytes,
        level="full",
    ),
    gauge(
        "strata_workload_memory_remote_ratio",
        "Share of a workload's memory on nodes that have none of its CPUs",
        "ratio",
        "computed from its memory by node and its CPUs",
        lambda workload: workload.placement.remote_memory_ratio,
    ),
    counter(
        "strata_workload_page_faults_total",
        "Page faults of a workload's control group",
        "events",
        "pgfault of memory.stat (cgroup v1: total_pgfault)",
        lambda workload: workload.memory.page_faults,
        level="full",
    ),
    counter(
        "strata_workload_major_page_faults_total",
        "Page faults of a workload's control group that waited for a device",
        "events",
        "pgmajfault of memory.stat (cgroup v1: total_pgmajfault)",
        lambda workload: workload.memory.major_faults,
        level="full",
    ),
    counter(
        "strata_workload_refaults_total",
        "Page faults on pages that were reclaimed a short while before",
        "events",
        "workingset_refault_anon and _file of memory.stat (cgroup v1: with total_ before them)",
        lambda workload: workload.memory.refaults,
        level="full",
    ),
    counter(
        "strata_workload_reclaimed_pages_total",
        "Pages that were reclaimed from a workload's control group",
        "pages",
        "pgsteal of memory.stat (cgroup v2 only)",
        lambda workload: workload.memory.reclaimed_pages,
        level="full",
    ),
)

_WORKLOADS: tuple[Row[tuple[Workload, ...]], ...] = (
    counter(
        "strata_workload_memory_events_total",
        "Memory events of a workload's control group and those below it, under the kernel's names",
        "events",
        "memory.events (cgroup v1: memory.failcnt as max, oom_kill of memory.oom_control)",
        _events,
        labels=("workload", "event"),
    ),
    gauge(
        "strata_workload_memory_node_bytes",
        "A workload's memory on each node",
        "bytes",
        "memory.numa_stat (machines and sandboxes: /proc/PID/numa_maps)",
        _by_node,
        labels=("workload", "node"),
    ),
)

WORKLOAD_MEMORY_METRICS = declared(_BY_WORKLOAD, _WORKLOADS)
