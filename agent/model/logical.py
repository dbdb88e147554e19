"""The machine as the kernel runs it: CPU time and queues, interrupts, pressure; zones, buddy blocks, policies. Counters are raw."""

from __future__ import annotations

from typing import Literal

from agent.model.channels import IrqRoute
from agent.model.facts.hugepages import HugePagePool
from agent.model.facts.proc_interrupts import Interrupt
from agent.model.facts.proc_pressure import Pressures
from agent.model.facts.proc_schedstat import RunQueue
from agent.model.facts.proc_softirqs import Softirq
from agent.model.facts.proc_stat import CpuTime
from agent.model.facts.proc_swaps import Swap
from agent.model.facts.proc_sys_vm import MemoryPolicy
from agent.model.facts.proc_vm import Zone
from agent.model.facts.sys_cpu_vulnerabilities import CpuSecurity
from agent.model.facts.sys_kvm import Kvm
from agent.model.facts.sys_mm import Ksm, Thp, Zswap
from agent.model.facts.sys_zram import Zram
from agent.model.values import CpuSet, Fact, Limit, Origin


class CpuIpis(Fact, frozen=True):
    """Inter-processor interrupts that one CPU took since boot; `tlb_shootdown` x86 only."""

    cpu: int
    reschedule: int | None = None
    function_call: int | None = None
    tlb_shootdown: int | None = None


class Scheduler(Fact, frozen=True, kw_only=True):
    """How the kernel shares CPUs out. What has an `origin` beside it is stated by the kernel where that is absent.

    Ordinary tasks are run by the fair class, EEVDF (since Linux 6.6) or CFS: `evidence` says what tells them apart. Real-time tasks
    may run `rt_runtime_usec` of each `rt_period_usec`, and deadline tasks are admitted up to the same share. `latency_ns` and the
    granularities are CFS's; `base_slice_ns` is EEVDF's. Source: Documentation/scheduler/.
    """

    fair_class: Literal["cfs", "eevdf"] | None = None
    fair_class_origin: Origin | None = None
    evidence: str | None = None
    base_slice_ns: int | None = None
    base_slice_origin: Origin | None = None
    latency_ns: int | None = None
    min_granularity_ns: int | None = None
    wakeup_granularity_ns: int | None = None
    migration_cost_ns: int | None = None
    nr_migrate: int | None = None
    tunable_scaling: str | None = None
    rt_runtime_usec: Limit | None = None
    rt_period_usec: int | None = None
    rr_timeslice_msec: int | None = None
    deadline_period_min_usec: int | None = None
    deadline_period_max_usec: int | None = None
    cfs_bandwidth_slice_usec: int | None = None
    preemption: str | None = None
    preemption_origin: Origin | None = None
    autogroup: bool | None = None
    schedstats: bool | None = None
    energy_aware: bool | None = None
    timer_migration: bool | None = None
    features: tuple[str, ...] = ()


class SchedulingDomain(Fact, frozen=True, kw_only=True):
    """CPUs among which load is balanced at one level. Its CPU's domains nest: the smallest is asked first, the largest last.

    `cpus` is what the domain spans, `members` the CPUs that have it in their chain: left out where that is all of them, which
    it is but for domains between nodes that are not alike from both sides. `origin` is absent where the kernel lists its domains.
    Domains that would balance nothing are not there: one CPU, or the same CPUs as the level below
    (kernel/sched/topology.c, sd_degenerate() and sd_parent_degenerate()).
    """

    cpus: CpuSet
    name: str | None = None
    members: CpuSet | None = None
    flags: tuple[str, ...] = ()
    origin: Origin | None = None
    name_origin: Origin | None = None


class Partition(Fact, frozen=True):
    """A cgroup whose CPUs are balanced apart from all others' ("root"), or not at all ("isolated"); `invalid` says why it is not.

    On v1 the groups with cpuset.sched_load_balance on, below a root that has it off.
    """

    group: str
    kind: Literal["root", "isolated"]
    cpus: CpuSet | None = None
    invalid: str | None = None


class CpuIsolation(Fact, frozen=True, kw_only=True):
    """CPUs that work is kept off, by the kernel's command line: `parameters` are those of it that bear on placement, as they stand."""

    parameters: tuple[str, ...] = ()
    isolcpus: CpuSet | None = None
    isolcpus_flags: tuple[str, ...] = ()
    rcu_nocbs: CpuSet | None = None
    irqaffinity: CpuSet | None = None


class LogicalCpu(Fact, frozen=True, kw_only=True):
    """From one of the kernel's CPU numbers to the thread, core, package and node it is, and to the domains it is balanced in."""

    cpu: int
    core: CpuSet
    package: CpuSet
    node: int | None = None
    domains: tuple[CpuSet, ...] = ()


class KernelCpu(Fact, frozen=True, kw_only=True):
    """`runnable_tasks` and `blocked_tasks` are of the moment; the rest counts since boot.

    `load_balance`: whether the root cpuset balances all CPUs alike (cgroup v1). `huge_page_bytes` are the sizes that the CPU's
    page tables can map beyond its base page.
    """

    times: tuple[CpuTime, ...] = ()
    run_queues: tuple[RunQueue, ...] = ()
    runnable_tasks: int | None = None
    blocked_tasks: int | None = None
    load_average: tuple[float, ...] = ()
    context_switches: int | None = None
    forks: int | None = None
    tick_hz: int | None = None
    tick_hz_origin: Origin | None = None
    smt_active: bool | None = None
    interrupt_cpus: CpuSet | None = None
    interrupts: tuple[Interrupt, ...] = ()
    irq_routes: tuple[IrqRoute, ...] = ()
    ipis: tuple[CpuIpis, ...] = ()
    page_table_levels: int | None = None
    tlb: str | None = None
    huge_page_bytes: tuple[int, ...] = ()
    physical_address_bits: int | None = None
    virtual_address_bits: int | None = None
    softirq_cpus: CpuSet | None = None
    softirqs: tuple[Softirq, ...] = ()
    scheduler: Scheduler | None = None
    domains: tuple[SchedulingDomain, ...] = ()
    partitions: tuple[Partition, ...] = ()
    load_balance: bool | None = None
    isolation: CpuIsolation | None = None
    map: tuple[LogicalCpu, ...] = ()
    security: CpuSecurity | None = None


class Overcommit(Fact, frozen=True):
    """Memory that was promised. The limit holds in mode "never" only; its ratio may be above 1 in the others.

    Source: Documentation/mm/overcommit-accounting.rst.
    """

    mode: Literal["heuristic", "always", "never"] | None = None
    limit_bytes: int | None = None
    committed_bytes: int | None = None
    committed_ratio: float | None = None


class KernelMemory(Fact, frozen=True, kw_only=True):
    """`meminfo_bytes` under the kernel's names; `vmstat` are counts since boot, or pages of the moment (nr_*)."""

    meminfo_bytes: dict[str, int] = {}
    zones: tuple[Zone, ...] = ()
    vmstat: dict[str, int] = {}
    hugepages: tuple[HugePagePool, ...] = ()
    policy: MemoryPolicy | None = None
    overcommit: Overcommit | None = None
    thp: Thp | None = None
    ksm: Ksm | None = None
    zswap: Zswap | None = None
    swaps: tuple[Swap, ...] | None = None
    zram: tuple[Zram, ...] | None = None


class Logical(Fact, frozen=True, kw_only=True):
    cpu: KernelCpu
    memory: KernelMemory
    pressure: Pressures | None = None
    kvm: Kvm | None = None
    cgroup_controllers: dict[str, str] = {}
