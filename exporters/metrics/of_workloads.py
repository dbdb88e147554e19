"""Metrics of all kinds of workloads: identity, placement, CPU time, throttling, pressure, tasks.

Ids are on value series, names and images on `_info` series. Files named without a directory are those of the workload's control group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.workload import Workload
from exporters.metrics.family import (
    Column,
    Family,
    Row,
    Sample,
    counter,
    declared,
    from_columns,
    from_rows,
    gauge,
    info,
    labelled,
    seconds,
)


def workload_families(workloads: tuple[Workload, ...]) -> Iterator[Family]:
    yield from from_rows(_WORKLOADS, workloads)
    yield from from_columns(_BY_WORKLOAD, [(workload.id,) for workload in workloads], workloads)


def _identities(workloads: tuple[Workload, ...]) -> Iterable[Sample]:
    return [
        (
            (
                workload.id,
                workload.paradigm,
                workload.runtime,
                workload.name,
                workload.image,
                workload.parent,
                workload.execution_mode,
                workload.memory_mode,
            ),
            1,
        )
        for workload in workloads
    ]


def _pods(workloads: tuple[Workload, ...]) -> Iterable[Sample]:
    return [
        ((workload.id, workload.pod.name, workload.pod.namespace, workload.pod.uid, workload.pod.qos), 1)
        for workload in workloads
        if workload.pod
    ]


def _labels(workloads: tuple[Workload, ...]) -> Iterable[Sample]:
    return [((workload.id, label, value), 1) for workload in workloads for label, value in workload.labels.items()]


def _placements(workloads: tuple[Workload, ...]) -> Iterable[Sample]:
    return [
        ((workload.id, workload.placement.allowed_cpus, workload.placement.allowed_nodes), 1)
        for workload in workloads
        if workload.placement.allowed_cpus is not None
    ]


def _run_delay(workload: Workload) -> float | None:
    """A sum over processes falls when one of them ends, and would be taken for a counter that begins anew."""
    return seconds(workload.cpu.process_delay_ns, 1e9) if workload.processes == 1 else None


_WORKLOADS: tuple[Row[tuple[Workload, ...]], ...] = (
    info(
        "strata_workload_info",
        "The workloads: their ids are on every other series of theirs",
        "the container engine, libvirt, /proc and /sys/fs/cgroup",
        _identities,
        labels=("workload", "paradigm", "runtime", "name", "image", "parent", "execution_mode", "memory_mode"),
    ),
    info(
        "strata_workload_pod_info",
        "The Kubernetes pod of a container",
        "annotations of the container's OCI bundle, else the names of its control groups",
        _pods,
        labels=("workload", "pod", "namespace", "uid", "qos"),
    ),
    info(
        "strata_workload_label_info",
        "Labels of containers: only those that --label names, as labels may hold secrets",
        "the container engine",
        _labels,
        labels=("workload", "label", "value"),
    ),
    info(
        "strata_workload_placement_info",
        "CPUs and memory nodes that a workload may use",
        "cpuset.cpus.effective and cpuset.mems.effective, /proc/PID/status, libvirt's affinity of vCPUs",
        _placements,
        labels=("workload", "cpus", "nodes"),
    ),
)

_BY_WORKLOAD: tuple[Column[Workload], ...] = labelled(
    ("workload",),
    gauge(
        "strata_workload_nodes_spanned",
        "Memory nodes that have one of the CPUs that a workload may use",
        "objects",
        "computed from its CPUs and /sys/devices/system/node/nodeN/cpulist",
        lambda workload: None if workload.placement.nodes_spanned is None else len(workload.placement.nodes_spanned),
        level="full",
    ),
    gauge(
        "strata_workload_sharing_workloads",
        "Other workloads that may run on the same cores, those around it and in it not counted",
        "workloads",
        "computed from the CPUs of all workloads",
        lambda workload: workload.placement.sharing_workloads,
    ),
    gauge(
        "strata_workload_cpu_limit_cpus",
        "Tightest CPU quota over period of a workload's control group and all above it (+Inf: unlimited)",
        "CPUs",
        "cpu.max (cgroup v1: cpu.cfs_quota_us and cpu.cfs_period_us)",
        lambda workload: workload.cpu.limit_cpus,
    ),
    counter(
        "strata_workload_cpu_seconds_total",
        "CPU time of a workload's control group",
        "seconds",
        "usage_usec of cpu.stat (cgroup v1: cpuacct.usage)",
        lambda workload: seconds(workload.cpu.usage_usec, 1e6),
    ),
    counter(
        "strata_workload_run_delay_seconds_total",
        "Time that the threads of a workload's one process waited for a CPU, runnable, those that have ended, too",
        "seconds",
        "cpu_delay_total of taskstats (Documentation/accounting/taskstats.rst)",
        _run_delay,
    ),
    counter(
        "strata_workload_cpu_periods_total",
        "Periods of a CPU quota in which a workload ran",
        "periods",
        "nr_periods of cpu.stat",
        lambda workload: workload.cpu.periods,
    ),
    counter(
        "strata_workload_cpu_throttled_periods_total",
        "Throttled periods of a CPU quota",
        "periods",
        "nr_throttled of cpu.stat",
        lambda workload: workload.cpu.throttled_periods,
    ),
    counter(
        "strata_workload_cpu_throttled_seconds_total",
        "Throttled time summed over run queues, which may exceed wall time",
        "seconds",
        "throttled_usec of cpu.stat (cgroup v1: throttled_time)",
        lambda workload: seconds(workload.cpu.throttled_usec, 1e6),
    ),
    counter(
        "strata_workload_pressure_cpu_waiting_seconds_total",
        "Time in which some task of a workload waited for a CPU",
        "seconds",
        "total of some in cpu.pressure",
        lambda workload: seconds(workload.cpu.pressure_some_usec, 1e6),
    ),
    counter(
        "strata_workload_pressure_cpu_stalled_seconds_total",
        "Time in which all tasks of a workload waited for a CPU",
        "seconds",
        "total of full in cpu.pressure",
        lambda workload: seconds(workload.cpu.pressure_full_usec, 1e6),
        level="full",
    ),
    counter(
        "strata_workload_pressure_memory_waiting_seconds_total",
        "Time in which some task of a workload waited for memory",
        "seconds",
        "total of some in memory.pressure",
        lambda workload: seconds(workload.memory.pressure_some_usec, 1e6),
    ),
    counter(
        "strata_workload_pressure_memory_stalled_seconds_total",
        "Time in which all tasks of a workload waited for memory",
        "seconds",
        "total of full in memory.pressure",
        lambda workload: seconds(workload.memory.pressure_full_usec, 1e6),
        level="full",
    ),
    counter(
        "strata_workload_pressure_io_waiting_seconds_total",
        "Time in which some task of a workload waited for input or output",
        "seconds",
        "total of some in io.pressure",
        lambda workload: seconds(workload.io_pressure_some_usec, 1e6),
        level="full",
    ),
    counter(
        "strata_workload_pressure_io_stalled_seconds_total",
        "Time in which all tasks of a workload waited for input or output",
        "seconds",
        "total of full in io.pressure",
        lambda workload: seconds(workload.io_pressure_full_usec, 1e6),
        level="full",
    ),
    counter(
        "strata_workload_pressure_irq_stalled_seconds_total",
        "Time in which interrupts kept all tasks of a workload from running",
        "seconds",
        "total of full in irq.pressure",
        lambda workload: seconds(workload.cpu.irq_pressure_full_usec, 1e6),
        level="full",
    ),
    counter(
        "strata_workload_cpu_user_seconds_total",
        "CPU time of a workload's control group in user mode",
        "seconds",
        "user_usec of cpu.stat (cgroup v1: cpuacct.usage_user)",
        lambda workload: seconds(workload.cpu.user_usec, 1e6),
        level="full",
    ),
    counter(
        "strata_workload_cpu_system_seconds_total",
        "CPU time of a workload's control group in the kernel",
        "seconds",
        "system_usec of cpu.stat (cgroup v1: cpuacct.usage_sys)",
        lambda workload: seconds(workload.cpu.system_usec, 1e6),
        level="full",
    ),
    gauge(
        "strata_workload_tasks",
        "Tasks of a workload's control group, threads counted",
        "tasks",
        "pids.current",
        lambda workload: workload.pids.current if workload.pids else None,
        level="full",
    ),
    gauge(
        "strata_workload_tasks_limit",
        "Tightest limit on the tasks of a workload's control group and all above it (+Inf: unlimited)",
        "tasks",
        "pids.max",
        lambda workload: workload.pids.limit if workload.pids else None,
        level="full",
    ),
)

WORKLOAD_METRICS = declared(_WORKLOADS, _BY_WORKLOAD)
