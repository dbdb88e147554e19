"""Metrics of CPUs as the kernel runs them: time, run queues, interrupts, the scheduler, pressure. Counters are raw, since boot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.facts.proc_pressure import Pressure, Pressures
from agent.model.facts.proc_schedstat import RunQueue
from agent.model.facts.proc_stat import CpuTime
from agent.model.logical import CpuIpis, KernelCpu, Logical, Scheduler
from agent.model.values import sum_if_known
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


def logical_families(logical: Logical) -> Iterator[Family]:
    cpu = logical.cpu
    yield from from_rows(_CPU, cpu)
    yield from from_columns(_BY_RUN_QUEUE, [(queue.cpu,) for queue in cpu.run_queues], cpu.run_queues)
    yield from from_columns(_BY_SCHEDULER, [()], [cpu.scheduler or Scheduler()])
    yield from from_columns(_BY_PRESSURE, [()], [logical.pressure or Pressures()])


def _times(cpu: KernelCpu) -> Iterator[Sample]:
    for time in cpu.times:
        for mode, spent in _modes(time):
            yield (time.cpu, mode), spent


def _modes(time: CpuTime) -> tuple[tuple[str, float | None], ...]:
    return (
        ("user", time.user_seconds),
        ("nice", time.nice_seconds),
        ("system", time.system_seconds),
        ("idle", time.idle_seconds),
        ("iowait", time.iowait_seconds),
        ("irq", time.irq_seconds),
        ("softirq", time.softirq_seconds),
        ("steal", time.steal_seconds),
        ("guest", time.guest_seconds),
        ("guest_nice", time.guest_nice_seconds),
    )


def _ipis(cpu: KernelCpu) -> Iterator[Sample]:
    for taken in cpu.ipis:
        for kind, count in _kinds(taken):
            yield (taken.cpu, kind), count


def _kinds(taken: CpuIpis) -> tuple[tuple[str, int | None], ...]:
    return ("reschedule", taken.reschedule), ("function_call", taken.function_call), ("tlb_shootdown", taken.tlb_shootdown)


def _vulnerabilities(cpu: KernelCpu) -> Iterator[Sample]:
    for vulnerability in cpu.security.vulnerabilities if cpu.security else ():
        yield (vulnerability.name, vulnerability.state, vulnerability.text), 1


def _scheduler(cpu: KernelCpu) -> Iterable[Sample]:
    scheduler = cpu.scheduler
    return [((scheduler.fair_class, scheduler.fair_class_origin, scheduler.preemption), 1)] if scheduler else []


def _domains(cpu: KernelCpu) -> Iterable[Sample]:
    return [((domain.name, domain.cpus, domain.members, domain.origin), 1) for domain in cpu.domains]


def _partitions(cpu: KernelCpu) -> Iterable[Sample]:
    partitions = {partition.group: partition for partition in cpu.partitions}
    return [((group, part.kind, part.cpus, "no" if part.invalid else "yes"), 1) for group, part in partitions.items()]


def _waiting(pressure: Pressure | None) -> float | None:
    return seconds(pressure.some_usec, 1e6) if pressure else None


def _stalled(pressure: Pressure | None) -> float | None:
    return seconds(pressure.full_usec, 1e6) if pressure else None


_CPU: tuple[Row[KernelCpu], ...] = (
    counter(
        "strata_cpu_seconds_total",
        "CPU time by mode since boot (user holds guest, nice holds guest_nice)",
        "seconds",
        "/proc/stat",
        _times,
        labels=("cpu", "mode"),
    ),
    counter(
        "strata_ipis_total",
        "Inter-processor interrupts that a CPU took since boot",
        "interrupts",
        "RES, CAL and TLB (x86), IPIn (ARM) of /proc/interrupts",
        _ipis,
        labels=("cpu", "type"),
        level="full",
    ),
    gauge(
        "strata_runnable_tasks",
        "Tasks that run or wait for a CPU at this moment",
        "tasks",
        "procs_running of /proc/stat",
        lambda cpu: [((), cpu.runnable_tasks)],
    ),
    counter(
        "strata_context_switches_total",
        "Context switches of the host since boot",
        "switches",
        "ctxt of /proc/stat",
        lambda cpu: [((), cpu.context_switches)],
    ),
    info(
        "strata_cpu_vulnerability_info",
        "Hardware vulnerabilities of the CPU that the kernel knows (state: not affected, mitigated, vulnerable, unknown), in its own words",
        "/sys/devices/system/cpu/vulnerabilities",
        _vulnerabilities,
        labels=("vulnerability", "state", "text"),
    ),
    info(
        "strata_scheduler_info",
        "How ordinary tasks share CPUs (EEVDF or CFS, with the origin where the kernel does not state it), and what may be preempted",
        "/sys/kernel/debug/sched, /proc/schedstat, kernel configuration and command line",
        _scheduler,
        labels=("fair_class", "origin", "preemption"),
    ),
    gauge(
        "strata_scheduler_tick_hertz",
        "Ticks of the scheduler in a second",
        "hertz",
        "CONFIG_HZ of the kernel's configuration, else jiffies of /proc/schedstat over uptime",
        lambda cpu: [((), cpu.tick_hz)],
        level="full",
    ),
    info(
        "strata_scheduling_domain_info",
        "CPUs among which the scheduler balances load",
        "/proc/schedstat, /sys/kernel/debug/sched/domains",
        _domains,
        labels=("name", "cpus", "members", "origin"),
        level="full",
    ),
    info(
        "strata_cpuset_partition_info",
        "Control groups whose CPUs are balanced apart from all others', or not at all",
        "cpuset.cpus.partition (cgroup v1: cpuset.sched_load_balance)",
        _partitions,
        labels=("cgroup", "kind", "cpus", "valid"),
    ),
    counter(
        "strata_softirqs_total",
        "Deferred interrupt work since boot, all CPUs together",
        "events",
        "/proc/softirqs",
        lambda cpu: [((softirq.name,), sum_if_known(softirq.counts)) for softirq in cpu.softirqs],
        labels=("type",),
        level="full",
    ),
)

_BY_RUN_QUEUE: tuple[Column[RunQueue], ...] = labelled(
    ("cpu",),
    counter(
        "strata_cpu_run_delay_seconds_total",
        "Time that tasks waited on a CPU's run queue, runnable, since boot",
        "seconds",
        "/proc/schedstat cpuN field 8",
        lambda queue: queue.delay_ns / 1e9,
    ),
)

_BY_SCHEDULER: tuple[Column[Scheduler], ...] = (
    gauge(
        "strata_scheduler_base_slice_seconds",
        "Time that an ordinary task may run before another one's turn, under EEVDF",
        "seconds",
        "/sys/kernel/debug/sched/base_slice_ns, else se.slice of /proc/1/sched",
        lambda scheduler: seconds(scheduler.base_slice_ns, 1e9),
        level="full",
    ),
    gauge(
        "strata_scheduler_realtime_runtime_seconds",
        "Time that real-time tasks may run in each period",
        "seconds",
        "/proc/sys/kernel/sched_rt_runtime_us",
        lambda scheduler: None if scheduler.rt_runtime_usec is None else scheduler.rt_runtime_usec / 1e6,
        level="full",
    ),
    gauge(
        "strata_scheduler_realtime_period_seconds",
        "Period of the bound on real-time tasks",
        "seconds",
        "/proc/sys/kernel/sched_rt_period_us",
        lambda scheduler: seconds(scheduler.rt_period_usec, 1e6),
        level="full",
    ),
)


_BY_PRESSURE: tuple[Column[Pressures], ...] = (
    counter(
        "strata_pressure_cpu_waiting_seconds_total",
        "Time since boot in which some task waited for a CPU",
        "seconds",
        "total of some in /proc/pressure/cpu",
        lambda pressures: _waiting(pressures.cpu),
    ),
    counter(
        "strata_pressure_cpu_stalled_seconds_total",
        "Time since boot in which all tasks waited for a CPU: of a whole host always 0",
        "seconds",
        "total of full in /proc/pressure/cpu",
        lambda pressures: _stalled(pressures.cpu),
        level="full",
    ),
    counter(
        "strata_pressure_memory_waiting_seconds_total",
        "Time since boot in which some task waited for memory",
        "seconds",
        "total of some in /proc/pressure/memory",
        lambda pressures: _waiting(pressures.memory),
    ),
    counter(
        "strata_pressure_memory_stalled_seconds_total",
        "Time since boot in which all tasks waited for memory",
        "seconds",
        "total of full in /proc/pressure/memory",
        lambda pressures: _stalled(pressures.memory),
    ),
    counter(
        "strata_pressure_io_waiting_seconds_total",
        "Time since boot in which some task waited for input or output",
        "seconds",
        "total of some in /proc/pressure/io",
        lambda pressures: _waiting(pressures.io),
    ),
    counter(
        "strata_pressure_io_stalled_seconds_total",
        "Time since boot in which all tasks waited for input or output",
        "seconds",
        "total of full in /proc/pressure/io",
        lambda pressures: _stalled(pressures.io),
    ),
    counter(
        "strata_pressure_irq_stalled_seconds_total",
        "Time since boot in which interrupts kept tasks from running",
        "seconds",
        "total of full in /proc/pressure/irq",
        lambda pressures: _stalled(pressures.irq),
        level="full",
    ),
)

LOGICAL_METRICS = declared(_CPU, _BY_RUN_QUEUE, _BY_SCHEDULER, _BY_PRESSURE)
