"""The scheduler class, its tick and preemption, CPU isolation, the sets of CPUs that are load balanced, and a map of the online CPUs."""

from __future__ import annotations

import re
from typing import Literal

from agent.collect.sample import Sample
from agent.model.logical import CpuIsolation, LogicalCpu, Partition, Scheduler, SchedulingDomain
from agent.model.physical import Physical
from agent.model.values import CpuSet, Origin
from collectors import proc_sys_sched, sys_debug_sched

# SCHED_FEAT()s that only EEVDF or only CFS has (kernel/sched/features.h).
_EEVDF_FEATURES = frozenset({"PLACE_LAG", "NO_PLACE_LAG"})
_CFS_FEATURES = frozenset({"START_DEBIT", "NO_START_DEBIT", "GENTLE_FAIR_SLEEPERS", "NO_GENTLE_FAIR_SLEEPERS"})

# All values that an architecture offers (kernel/Kconfig.hz, arch/*/Kconfig).
_HZ = (24, 48, 64, 100, 128, 200, 250, 256, 300, 500, 512, 1000, 1024, 1200)
_INITIAL_JIFFIES = 1 << 32
_BEHIND_SECONDS = 300

_PREEMPT = re.compile(r"\bPREEMPT(?:_(?:\{([A-Z,]+)\}|([A-Z]+)))?(?=\s|$)")
_MODELS = ("none", "voluntary", "full", "lazy")
_BUILT = (
    ("CONFIG_PREEMPT_NONE", "none"),
    ("CONFIG_PREEMPT_VOLUNTARY", "voluntary"),
    ("CONFIG_PREEMPT_LAZY", "lazy"),
    ("CONFIG_PREEMPT", "full"),
)


def scheduler(sample: Sample) -> Scheduler | None:
    """The fair class, preemption and tunables of the scheduler; None where nothing of it is known."""
    sched = sample.host.sched_sysctls or proc_sys_sched.Sched()
    debug = sample.host.sched_debug or sys_debug_sched.SchedDebug()
    fair_class, class_origin, evidence = _fair_class(sample, sched, debug)
    slice_ns = sample.host.task_slice.slice_ns if sample.host.task_slice else None
    preemption, preemption_origin = _preemption(sample, debug)
    tunables = Scheduler(
        fair_class=fair_class,
        fair_class_origin=class_origin,
        evidence=evidence,
        base_slice_ns=slice_ns if debug.base_slice_ns is None else debug.base_slice_ns,
        base_slice_origin="inferred" if debug.base_slice_ns is None and slice_ns is not None else None,
        latency_ns=_either(debug.latency_ns, sched.latency_ns),
        min_granularity_ns=_either(debug.min_granularity_ns, sched.min_granularity_ns),
        wakeup_granularity_ns=_either(debug.wakeup_granularity_ns, sched.wakeup_granularity_ns),
        migration_cost_ns=_either(debug.migration_cost_ns, sched.migration_cost_ns),
        nr_migrate=_either(debug.nr_migrate, sched.nr_migrate),
        tunable_scaling=debug.tunable_scaling,
        rt_runtime_usec=sched.rt_runtime_usec,
        rt_period_usec=sched.rt_period_usec,
        rr_timeslice_msec=sched.rr_timeslice_msec,
        deadline_period_min_usec=sched.deadline_period_min_usec,
        deadline_period_max_usec=sched.deadline_period_max_usec,
        cfs_bandwidth_slice_usec=sched.cfs_bandwidth_slice_usec,
        preemption=preemption,
        preemption_origin=preemption_origin,
        autogroup=sched.autogroup,
        schedstats=sched.schedstats,
        energy_aware=sched.energy_aware,
        timer_migration=sched.timer_migration,
        features=debug.features,
    )
    return None if tunables == Scheduler() else tunables


def _either(debugfs: int | None, sysctl: int | None) -> int | None:
    """The value that exists: a kernel has each tunable in one of the two places."""
    return sysctl if debugfs is None else debugfs


def _fair_class(
    sample: Sample, sched: proc_sys_sched.Sched, debug: sys_debug_sched.SchedDebug
) -> tuple[Literal["cfs", "eevdf"] | None, Origin | None, str | None]:
    """The fair class by features and tunables that only one has. Release numbers do not tell, because kernels are patched."""
    features = {*debug.features}
    if debug.base_slice_ns is not None:
        return "eevdf", None, "base_slice_ns in debugfs"
    if features & _EEVDF_FEATURES:
        return "eevdf", None, "feature PLACE_LAG"
    if _either(debug.latency_ns, sched.latency_ns) is not None:
        return "cfs", None, "a scheduling latency to tune"
    if _either(debug.wakeup_granularity_ns, sched.wakeup_granularity_ns) is not None:
        return "cfs", None, "a wakeup granularity to tune"
    if features & _CFS_FEATURES:
        return "cfs", None, "feature " + min(features & _CFS_FEATURES).removeprefix("NO_")
    if sample.host.task_slice is not None and sample.host.task_slice.slice_ns is not None:
        return "eevdf", "inferred", "tasks have a slice in /proc/1/sched"
    if sample.host.schedstat is not None and (sample.host.schedstat.version or 0) >= 16:
        return "eevdf", "inferred", f"version {sample.host.schedstat.version} of /proc/schedstat came after EEVDF"
    return None, None, None


def tick_hz(sample: Sample) -> tuple[int | None, Origin | None]:
    """The scheduler tick in Hz: CONFIG_HZ, else jiffies per second since boot, if that is near a value of kernel configurations."""
    if sample.statics.kernel_config is not None and sample.statics.kernel_config.hz is not None:
        return sample.statics.kernel_config.hz, None
    jiffies = sample.host.schedstat.jiffies if sample.host.schedstat else None
    uptime = sample.host.kernel.uptime_seconds if sample.host.kernel else None
    # Near 300 s since boot both differences are too small to divide, because they are read at different moments.
    if jiffies is None or uptime is None or abs(uptime - _BEHIND_SECONDS) < 30:
        return None, None
    rate = (jiffies - _INITIAL_JIFFIES) / (uptime - _BEHIND_SECONDS)
    nearest = min(_HZ, key=lambda hz: abs(hz - rate))
    return (nearest, "inferred") if abs(nearest - rate) < nearest / 100 else (None, None)


def _preemption(sample: Sample, debug: sys_debug_sched.SchedDebug) -> tuple[str | None, Origin | None]:
    """The preemption model: in force by debugfs, else by the boot parameter where the kernel is dynamic, else by its configuration."""
    if debug.preempt is not None:
        return debug.preempt, None
    options = sample.statics.kernel_config.options if sample.statics.kernel_config else None
    match = _PREEMPT.search(sample.host.kernel.version or "") if sample.host.kernel else None
    words = {*(match[1] or match[2] or "full").split(",")} if match else set()
    if "RT" in words or (options is not None and "CONFIG_PREEMPT_RT" in options):
        return "rt", "configured"
    built = next((model for option, model in _BUILT if options is not None and option in options), None)
    if "DYNAMIC" in words or (options is not None and "CONFIG_PREEMPT_DYNAMIC" in options):
        boot_option = sample.statics.command_line.preempt if sample.statics.command_line else None
        model = boot_option if boot_option in _MODELS else built if sample.statics.command_line else None
    else:
        model = "lazy" if "LAZY" in words else "full" if "full" in words else built
    return (model, "configured") if model else (None, None)


def isolation(sample: Sample) -> CpuIsolation | None:
    line = sample.statics.command_line
    if line is None:
        return None
    return CpuIsolation(
        parameters=line.parameters,
        isolcpus=line.isolcpus,
        isolcpus_flags=line.isolcpus_flags,
        rcu_nocbs=line.rcu_nocbs,
        irqaffinity=line.irqaffinity,
    )


def load_balance(sample: Sample) -> bool | None:
    """Whether the root cpuset is load balanced, on v1; None on v2, which has no such file."""
    for group in sample.workloads.cgroups.groups if sample.workloads.cgroups else ():
        if group.path == "/":
            return group.cpuset.load_balance if group.cpuset else None
    return None


def partitions(sample: Sample) -> tuple[Partition, ...]:
    """The cpuset partitions below the root, from cpuset.cpus.partition (v2) or cpuset.sched_load_balance (v1)."""
    built = []
    for group in sample.workloads.cgroups.groups if sample.workloads.cgroups else ():
        cpuset = group.cpuset
        kind, _, invalid = (cpuset.partition or "").partition(" ") if cpuset else ("", "", "")
        if cpuset is not None and group.path != "/" and (cpuset.load_balance or kind in ("root", "isolated")):
            cpus = cpuset.cpus_effective or cpuset.cpus
            reason = invalid.removeprefix("invalid").strip(" ()") or "invalid" if invalid else None
            built.append(Partition(group.path, "isolated" if kind == "isolated" else "root", cpus, reason))
    return tuple(built)


def balanced(sample: Sample, online: CpuSet) -> tuple[CpuSet, ...] | None:
    """The sets of CPUs that domains are built in (kernel/cgroup/cpuset.c, generate_sched_domains()); None where an input is missing."""
    isolated = sample.statics.cpus.isolated if sample.statics.cpus else None
    if isolated is None:
        return None
    remaining = online - isolated
    version = sample.workloads.cgroups.controllers.get("cpuset") if sample.workloads.cgroups else None
    if sample.workloads.cgroups is None or version is None:
        return (remaining,)
    parts = partitions(sample)
    if version == "v1":
        flag = load_balance(sample)
        if flag is None or (not flag and any(part.cpus is None for part in parts)):
            return None
        return (remaining,) if flag else _merged([part.cpus & remaining for part in parts if part.cpus])
    if any(
        _lacks_partition_type(group.path, group.controllers, group.cpuset.partition if group.cpuset else None)
        for group in sample.workloads.cgroups.groups
    ):
        return None
    own = []
    for part in parts:
        if part.cpus is None:
            return None
        if part.invalid is None:
            remaining = remaining - part.cpus
            if part.kind == "root":
                own.append(part.cpus & (online - isolated))
    return (remaining, *own)


def _lacks_partition_type(path: str, controllers: tuple[str, ...] | None, partition: str | None) -> bool:
    """Whether a group that must state its partition type does not."""
    return path != "/" and partition is None and (controllers is None or "cpuset" in controllers)


def _merged(sets: list[CpuSet]) -> tuple[CpuSet, ...]:
    """Overlapping sets are balanced together, so they are merged."""
    merged: list[CpuSet] = []
    for cpus in sets:
        meeting = [group for group in merged if group & cpus]
        merged = [group for group in merged if not group & cpus]
        for group in meeting:
            cpus = cpus | group
        merged.append(cpus)
    return tuple(merged)


def cpu_map(hardware: Physical, domains: tuple[SchedulingDomain, ...]) -> tuple[LogicalCpu, ...]:
    """For each online CPU, its core, package, node and scheduling domains."""
    nodes = {cpu: node.os_index for node in hardware.nodes for cpu in node.cpus or ()}
    chains: dict[int, list[CpuSet]] = {}
    for domain in domains:
        for cpu in domain.cpus if domain.members is None else domain.members:
            chains.setdefault(cpu, []).append(domain.cpus)
    return tuple(
        LogicalCpu(
            cpu=cpu, core=core.cpus, package=hardware.packages[core.package].cpus, node=nodes.get(cpu), domains=tuple(chains.get(cpu, ()))
        )
        for core in hardware.cores
        for cpu in core.cpus
    )
