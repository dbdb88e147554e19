"""The machine as the kernel runs it: CPU time and queues, interrupts, pressure; zones, buddy blocks, policies. Counters are raw."""

from __future__ import annotations

from typing import Literal

from agent.model.channels import IrqRoute
from agent.model.physical import HugePages
from agent.model.values import CpuSet, Fact, Limit, Origin


class CpuTime(Fact, frozen=True, kw_only=True):
    """Seconds since boot in each mode. `user` holds `guest`, `nice` holds `guest_nice`."""

    cpu: int
    user_seconds: float
    nice_seconds: float
    system_seconds: float
    idle_seconds: float
    iowait_seconds: float | None = None
    irq_seconds: float | None = None
    softirq_seconds: float | None = None
    steal_seconds: float | None = None
    guest_seconds: float | None = None
    guest_nice_seconds: float | None = None

    @property
    def busy_seconds(self) -> float:
        """Time in which the CPU could run nobody else, time stolen by a hypervisor included."""
        spent = self.user_seconds + self.nice_seconds + self.system_seconds
        return spent + (self.irq_seconds or 0.0) + (self.softirq_seconds or 0.0) + (self.steal_seconds or 0.0)


class RunQueue(Fact, frozen=True):
    """What tasks ran and waited on one CPU since boot."""

    cpu: int
    run_ns: int
    delay_ns: int
    timeslices: int


class Interrupt(Fact, frozen=True):
    """One line of /proc/interrupts; `counts` in the order of `interrupt_cpus`."""

    name: str
    description: str
    counts: tuple[int, ...]


class Ipis(Fact, frozen=True):
    """Inter-processor interrupts that one CPU took since boot; `tlb_shootdown` x86 only."""

    cpu: int
    reschedule: int | None = None
    function_call: int | None = None
    tlb_shootdown: int | None = None


class Softirq(Fact, frozen=True):
    """Deferred interrupt work of one kind; `counts` in the order of `softirq_cpus`."""

    name: str
    counts: tuple[int, ...]


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


class Isolation(Fact, frozen=True, kw_only=True):
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


class Pressure(Fact, frozen=True):
    """Microseconds since boot in which some, or all, tasks waited (PSI)."""

    some_usec: int
    full_usec: int | None = None


class Cpu(Fact, frozen=True, kw_only=True):
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
    ipis: tuple[Ipis, ...] = ()
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
    isolation: Isolation | None = None
    map: tuple[LogicalCpu, ...] = ()


class Zone(Fact, frozen=True, kw_only=True):
    """A zone of a node. `free_blocks[k]` counts free blocks of 2^k pages (the buddy allocator's lists).

    `unusable_ratio[k]` is the share of the free pages that lie in smaller blocks than 2^k: what a request for one cannot use.
    Formula: (free - sum of free_blocks[j] * 2^j for j >= k) / free (mm/vmstat.c, unusable_free_index()).
    """

    node: int
    name: str
    free_pages: int | None = None
    min_pages: int | None = None
    low_pages: int | None = None
    high_pages: int | None = None
    present_pages: int | None = None
    managed_pages: int | None = None
    free_blocks: tuple[int, ...] = ()
    unusable_ratio: tuple[float, ...] = ()


class MemoryPolicy(Fact, frozen=True, kw_only=True):
    """Choices that bear on placement, reclaim and compaction, under the kernel's names (Documentation/admin-guide/sysctl/vm.rst).

    `numa_balancing` is a set of bits: 1 moves pages towards their users, 2 promotes them between tiers of memory.
    """

    swappiness: int | None = None
    overcommit_memory: int | None = None
    overcommit_ratio: int | None = None
    overcommit_kbytes: int | None = None
    zone_reclaim_mode: int | None = None
    numa_balancing: int | None = None
    demotion_enabled: bool | None = None
    interleave_weights: dict[int, int] = {}
    min_free_kbytes: int | None = None
    watermark_scale_factor: int | None = None
    watermark_boost_factor: int | None = None
    vfs_cache_pressure: int | None = None
    compaction_proactiveness: int | None = None
    extfrag_threshold: int | None = None
    dirty_ratio: int | None = None
    dirty_background_ratio: int | None = None
    max_map_count: int | None = None
    min_slab_ratio: int | None = None
    min_unmapped_ratio: int | None = None
    page_cluster: int | None = None


class Thp(Fact, frozen=True, kw_only=True):
    """Transparent huge pages, in the kernel's words. `sizes`: what is chosen for each size in bytes, "never" left out (since Linux 6.8)."""

    enabled: str | None = None
    defrag: str | None = None
    shmem_enabled: str | None = None
    huge_page_bytes: int | None = None
    zero_page: bool | None = None
    khugepaged_defrag: bool | None = None
    khugepaged_pages_to_scan: int | None = None
    khugepaged_scan_sleep_msec: int | None = None
    khugepaged_pages_collapsed: int | None = None
    khugepaged_full_scans: int | None = None
    sizes: dict[int, str] = {}


class Ksm(Fact, frozen=True, kw_only=True):
    """Merging of equal pages; counts are pages. `general_profit_bytes` may be negative: what it saves less what it takes."""

    run: int | None = None
    pages_shared: int | None = None
    pages_sharing: int | None = None
    pages_unshared: int | None = None
    pages_volatile: int | None = None
    pages_scanned: int | None = None
    full_scans: int | None = None
    zero_pages: int | None = None
    general_profit_bytes: int | None = None
    merge_across_nodes: bool | None = None


class Zswap(Fact, frozen=True, kw_only=True):
    """A compressed cache before swap: `stored_bytes` of pages take `pool_bytes` of memory."""

    enabled: bool | None = None
    compressor: str | None = None
    max_pool_percent: int | None = None
    accept_threshold_percent: int | None = None
    shrinker_enabled: bool | None = None
    pool_bytes: int | None = None
    stored_bytes: int | None = None


class Swap(Fact, frozen=True, kw_only=True):
    """A swap area; the higher priority is used first. One on zram is a "partition" and compresses into memory."""

    name: str
    type: str
    size_bytes: int
    used_bytes: int
    priority: int


class Zram(Fact, frozen=True, kw_only=True):
    """A compressed block device in memory, whatever is on it. `memory_used_bytes` holds what its allocator wastes, too."""

    number: int
    disk_bytes: int | None = None
    original_bytes: int | None = None
    compressed_bytes: int | None = None
    memory_used_bytes: int | None = None


class Overcommit(Fact, frozen=True):
    """Memory that was promised. The limit holds in mode "never" only; its ratio may be above 1 in the others.

    Source: Documentation/mm/overcommit-accounting.rst.
    """

    mode: Literal["heuristic", "always", "never"] | None = None
    limit_bytes: int | None = None
    committed_bytes: int | None = None
    committed_ratio: float | None = None


class Memory(Fact, frozen=True, kw_only=True):
    """`meminfo_bytes` under the kernel's names; `vmstat` are counts since boot, or pages of the moment (nr_*)."""

    meminfo_bytes: dict[str, int] = {}
    zones: tuple[Zone, ...] = ()
    vmstat: dict[str, int] = {}
    hugepages: tuple[HugePages, ...] = ()
    policy: MemoryPolicy | None = None
    overcommit: Overcommit | None = None
    thp: Thp | None = None
    ksm: Ksm | None = None
    zswap: Zswap | None = None
    swaps: tuple[Swap, ...] | None = None
    zram: tuple[Zram, ...] | None = None


class Pressures(Fact, frozen=True):
    cpu: Pressure | None = None
    memory: Pressure | None = None
    io: Pressure | None = None
    irq: Pressure | None = None


class Kvm(Fact, frozen=True):
    """How KVM on this host translates guest memory. `nested_paging` absent: the module does not say."""

    vendor_module: str | None = None
    nested_paging: bool | None = None
    nested: bool | None = None
    halt_poll_ns: int | None = None


class Logical(Fact, frozen=True, kw_only=True):
    cpu: Cpu
    memory: Memory
    pressure: Pressures | None = None
    kvm: Kvm | None = None
    cgroup_controllers: dict[str, str] = {}
