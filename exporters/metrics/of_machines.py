"""Metrics of virtual machines: vCPUs, the threads beside them, and what KVM counts of them (Documentation/virt/kvm/api.rst)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.device import Devices
from agent.model.runtimes import Role
from agent.model.workload import VCpu, Workload
from exporters.metrics.family import (
    Column,
    Family,
    LabelValues,
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

Numbered = list[tuple[LabelValues, VCpu]]
"""Each vCPU with its workload's id and its number."""

_BESIDE: tuple[Role, ...] = ("iothread", "emulator", "vhost", "kvm")
_PAGES = {"pages_4k": 4 << 10, "pages_2m": 2 << 20, "pages_1g": 1 << 30}
_PINNED = {True: "yes", False: "no", None: None}
_KVM = "binary_stats of KVM_GET_STATS_FD by way of libvirt, /sys/kernel/debug/kvm"


def machine_families(workloads: tuple[Workload, ...], devices: Devices) -> Iterator[Family]:
    vcpus: Numbered = [((workload.id, vcpu.number), vcpu) for workload in workloads for vcpu in workload.vcpus]
    yield from from_rows(_VCPUS, vcpus)
    yield from from_columns(_BY_VCPU, [labels for labels, _ in vcpus], [vcpu for _, vcpu in vcpus])
    yield from from_rows(_OVERCOMMIT, devices)
    yield from from_rows(_MACHINES, tuple([workload for workload in workloads if workload.guest]))


def _affinities(vcpus: Numbered) -> Iterable[Sample]:
    return [((*labels, vcpu.affinity, _PINNED[vcpu.pinned]), 1) for labels, vcpu in vcpus]


def _exits(vcpus: Numbered) -> Iterator[Sample]:
    for labels, vcpu in vcpus:
        for name, count in vcpu.kvm.items():
            if name.endswith("_exits"):
                yield (*labels, name.removesuffix("_exits")), count


def _polling(vcpus: Numbered) -> Iterator[Sample]:
    for labels, vcpu in vcpus:
        yield (*labels, "success"), seconds(vcpu.kvm.get("halt_poll_success_ns"), 1e9)
        yield (*labels, "fail"), seconds(vcpu.kvm.get("halt_poll_fail_ns"), 1e9)


def _yields(vcpus: Numbered) -> Iterator[Sample]:
    for labels, vcpu in vcpus:
        for result in ("attempted", "successful"):
            yield (*labels, result), vcpu.kvm.get(f"directed_yield_{result}")


def _threads(machines: tuple[Workload, ...]) -> Iterator[Sample]:
    """Those with a role of their own, and the monitor's first one, which is where pins of the emulator are seen."""
    for workload in machines:
        for thread in workload.threads if workload.paradigm == "virtualization" else ():
            if thread.role in ("iothread", "vhost", "kvm") or thread.tid == workload.pid:
                yield (workload.id, thread.tid, thread.role, thread.name, thread.allowed_cpus), 1


def _run_times(machines: tuple[Workload, ...]) -> Iterator[Sample]:
    for workload in machines:
        for role in _BESIDE if workload.paradigm == "virtualization" else ():
            runs = [thread.run_ns for thread in workload.threads if thread.role == role]
            counted = [run for run in runs if run is not None]
            yield (workload.id, role), sum(counted) / 1e9 if counted and len(counted) == len(runs) else None


def _mapped(machines: tuple[Workload, ...]) -> Iterator[Sample]:
    for workload in machines:
        for name, size in _PAGES.items() if workload.guest else ():
            yield (workload.id, size), workload.guest.kvm.get(name) if workload.guest else None


def _ages(machines: tuple[Workload, ...]) -> Iterable[Sample]:
    return [((workload.id,), workload.guest.stats_seconds_ago) for workload in machines if workload.guest]


_VCPUS: tuple[Row[Numbered], ...] = (
    info(
        "strata_vcpu_info",
        "The vCPUs, the host CPUs that each may use, and whether that is less than all of them (pinned)",
        "libvirt (machines without it: Cpus_allowed_list of /proc/PID/task/TID/status)",
        _affinities,
        labels=("workload", "vcpu", "affinity", "pinned"),
    ),
    counter(
        "strata_vcpu_exits_total",
        "Exits from the guest to the hypervisor by reason (some exits have none)",
        "exits",
        _KVM,
        _exits,
        labels=("workload", "vcpu", "reason"),
        level="full",
    ),
    counter(
        "strata_vcpu_halt_poll_seconds_total",
        "Time that KVM polled for a halted vCPU, with success or without: CPU time spent for latency",
        "seconds",
        _KVM,
        _polling,
        labels=("workload", "vcpu", "result"),
        level="full",
    ),
    counter(
        "strata_vcpu_directed_yields_total",
        "Times that KVM gave, or tried to give, a spinning vCPU's CPU to another vCPU",
        "times",
        _KVM,
        _yields,
        labels=("workload", "vcpu", "result"),
        level="full",
    ),
)

_BY_VCPU: tuple[Column[VCpu], ...] = labelled(
    ("workload", "vcpu"),
    gauge(
        "strata_vcpu_last_cpu",
        "Host CPU that a vCPU ran on last",
        "CPU number",
        "/proc/PID/task/TID/stat field 39 (machines of another host: libvirt)",
        lambda vcpu: vcpu.last_cpu,
    ),
    counter(
        "strata_vcpu_seconds_total",
        "CPU time of a vCPU",
        "seconds",
        "cpuTime of libvirt's virDomainGetVcpus",
        lambda vcpu: seconds(vcpu.time_ns, 1e9),
    ),
    counter(
        "strata_vcpu_run_delay_seconds_total",
        "Time that a vCPU's thread waited for a host CPU: what its guest sees as steal",
        "seconds",
        "/proc/PID/task/TID/schedstat field 2",
        lambda vcpu: seconds(vcpu.thread.delay_ns, 1e9) if vcpu.thread else None,
    ),
    counter(
        "strata_vcpu_run_seconds_total",
        "Time that a vCPU's thread was on a host CPU",
        "seconds",
        "/proc/PID/task/TID/schedstat field 1",
        lambda vcpu: seconds(vcpu.thread.run_ns, 1e9) if vcpu.thread else None,
    ),
    gauge(
        "strata_vcpu_limit_cpus",
        "CPU quota over period of a vCPU's own control group (+Inf: unlimited)",
        "CPUs",
        "cpu.max (cgroup v1: cpu.cfs_quota_us and cpu.cfs_period_us)",
        lambda vcpu: vcpu.quota_usec / vcpu.period_usec if vcpu.quota_usec is not None and vcpu.period_usec else None,
        level="full",
    ),
    counter(
        "strata_vcpu_all_exits_total",
        "Exits from the guest to the hypervisor, whatever for",
        "exits",
        _KVM,
        lambda vcpu: vcpu.kvm.get("exits"),
    ),
    counter(
        "strata_vcpu_halt_wait_seconds_total",
        "Time that a vCPU slept, halted",
        "seconds",
        _KVM,
        lambda vcpu: seconds(vcpu.kvm.get("halt_wait_ns"), 1e9),
        level="full",
    ),
)

_OVERCOMMIT: tuple[Row[Devices], ...] = (
    gauge(
        "strata_vcpu_overcommit_ratio",
        "vCPUs of running machines on the host, a node, a last-level cache or a core, each counted in equal parts where it may run",
        "vCPUs per CPU",
        "computed from the affinities of all vCPUs",
        lambda devices: [((entry.scope, entry.cpus), entry.ratio) for entry in devices.cpu.overcommit],
        labels=("scope", "cpus"),
    ),
    gauge(
        "strata_machine_memory_overcommit_ratio",
        "Memory given to running machines over the memory of the host or of a node",
        "ratio",
        "libvirt and MemTotal of /proc/meminfo or of the node's meminfo",
        lambda devices: [((entry.scope, entry.node), entry.ratio) for entry in devices.memory.overcommit],
        labels=("scope", "node"),
    ),
)

_MACHINES: tuple[Row[tuple[Workload, ...]], ...] = (
    info(
        "strata_machine_thread_info",
        "Threads of a machine beside its vCPUs, and the CPUs that each may use",
        "/proc/PID/task/TID/comm and status",
        _threads,
        labels=("workload", "tid", "role", "name", "cpus"),
        level="full",
    ),
    counter(
        "strata_machine_run_seconds_total",
        "CPU time of a machine's threads beside its vCPUs, by what they do",
        "seconds",
        "/proc/PID/task/TID/schedstat field 1",
        _run_times,
        labels=("workload", "role"),
        level="full",
    ),
    gauge(
        "strata_machine_mapped_pages",
        "Pages that KVM has mapped for a guest, by their size",
        "pages",
        _KVM,
        _mapped,
        labels=("workload", "page_bytes"),
        level="full",
    ),
    gauge(
        "strata_machine_counters_age_seconds",
        "Time since a machine's monitor was asked for KVM's counters: their age",
        "seconds",
        "the agent's clock",
        _ages,
        labels=("workload",),
    ),
    gauge(
        "strata_machine_memory_age_seconds",
        "Time since the memory behind a guest was walked: the age of its backing memory and of its memory by node",
        "seconds",
        "the agent's clock",
        lambda machines: [((workload.id,), workload.memory.backing_seconds_ago) for workload in machines],
        labels=("workload",),
    ),
)

MACHINE_METRICS = declared(_VCPUS, _BY_VCPU, _OVERCOMMIT, _MACHINES)
