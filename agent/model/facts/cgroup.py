"""What a control group bounds and counts: /sys/fs/cgroup. Sources: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/."""

from __future__ import annotations

from typing import Literal

from agent.model.values import CpuSet, Fact, Limit

Qos = Literal["guaranteed", "burstable", "besteffort"]


class WorkloadCpu(Fact, frozen=True, kw_only=True):
    """CPU limits and usage of a workload: of its control group (cpu.*), of its threads and processes, and of the groups above.

    The reader of a group fills what its files say; the join adds `limit_cpus`, the tightest quota / period of the group and its ancestors,
    set by `limited_by`, the pressures, and what threads and processes sum to: `run_ns`, `delay_ns` and `timeslices` over the threads that
    live now, `process_*` over the processes that do, with those of their threads that have ended.

    `weight` is cgroup v2's, `shares` v1's: container engines map one to the other in more than one way, so neither is computed.
    `throttled_usec` counts the group's run queues that its own quota or an ancestor's stopped, `own_throttled_usec` the own quota's
    part of it (cpu.stat.local, since Linux 6.8). `idle`: everything else goes first (SCHED_IDLE).
    """

    quota_usec: Limit | None = None
    period_usec: int | None = None
    burst_usec: int | None = None
    weight: int | None = None
    shares: int | None = None
    limit_cpus: Limit | None = None
    limited_by: str | None = None
    usage_usec: int | None = None
    user_usec: int | None = None
    system_usec: int | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_usec: int | None = None
    own_throttled_usec: int | None = None
    bursts: int | None = None
    burst_used_usec: int | None = None
    nice: int | None = None
    idle: bool | None = None
    uclamp_min_percent: float | None = None
    uclamp_max_percent: float | None = None
    rt_runtime_usec: int | None = None
    rt_period_usec: int | None = None
    run_ns: int | None = None
    delay_ns: int | None = None
    timeslices: int | None = None
    process_run_ns: int | None = None
    process_delay_ns: int | None = None
    process_timeslices: int | None = None
    pressure_some_usec: int | None = None
    pressure_full_usec: int | None = None
    irq_pressure_full_usec: int | None = None


class WorkloadMemory(Fact, frozen=True, kw_only=True):
    """Memory limits and usage of a workload in bytes: of its control group (memory.*), its processes, and the groups above.

    The reader of a group fills what its files say: `soft_limit_bytes` and `oom_kill_disable` are cgroup v1's, `min`, `low` and `high` v2's;
    `stat` and `events` keep the kernel's keys; `by_node` is memory.numa_stat, kind -> node -> bytes, of the group with its descendants.
    The join adds the rest. `limit_bytes` is the tightest of the group and its ancestors, set by `limited_by`. `anon_bytes` to
    `reclaimed_pages` are those of `stat` that both versions have.

    `allotted_bytes` is what the workload was given to see (guest memory, linear memories); `backing_*` what of it is resident on
    the host, as a walk `backing_seconds_ago` found it; `process_by_node` is what that walk found of all of a machine's process, its
    monitor's own memory with the guest's. `reserved_bytes` is the address space of linear memories, `guard_bytes` what of it is never
    opened: neither is memory.
    """

    min_bytes: int | None = None
    low_bytes: int | None = None
    high_bytes: Limit | None = None
    max_bytes: Limit | None = None
    soft_limit_bytes: Limit | None = None
    swap_high_bytes: Limit | None = None
    swap_max_bytes: Limit | None = None
    zswap_max_bytes: Limit | None = None
    zswap_writeback: bool | None = None
    swappiness: int | None = None
    limit_bytes: Limit | None = None
    limited_by: str | None = None
    current_bytes: int | None = None
    peak_bytes: int | None = None
    swap_bytes: int | None = None
    swap_peak_bytes: int | None = None
    zswap_bytes: int | None = None
    kernel_bytes: int | None = None
    anon_bytes: int | None = None
    file_bytes: int | None = None
    page_faults: int | None = None
    major_faults: int | None = None
    refaults: int | None = None
    scanned_pages: int | None = None
    reclaimed_pages: int | None = None
    resident_bytes: int | None = None
    page_table_bytes: int | None = None
    anon_huge_bytes: int | None = None
    allotted_bytes: int | None = None
    allotted_max_bytes: int | None = None
    backing_bytes: int | None = None
    backing_huge_bytes: int | None = None
    backing_hugetlb_bytes: int | None = None
    backing_swapped_bytes: int | None = None
    backing_merged_bytes: int | None = None
    backing_seconds_ago: float | None = None
    reserved_bytes: int | None = None
    guard_bytes: int | None = None
    pressure_some_usec: int | None = None
    pressure_full_usec: int | None = None
    oom_group: bool | None = None
    oom_kill_disable: bool | None = None
    under_oom: bool | None = None
    events: dict[str, int] = {}
    own_events: dict[str, int] = {}
    swap_events: dict[str, int] = {}
    stat: dict[str, int] = {}
    by_node: dict[str, dict[int, int]] = {}
    process_by_node: dict[int, int] = {}


class Pids(Fact, frozen=True, kw_only=True):
    """Tasks of a control group, threads counted. `max_events`: forks that a limit refused, this group's or an ancestor's; `own_max_events`:
    those that its own limit did. The join adds `limit`, the tightest of the group and its ancestors, set by `limited_by`.
    """

    current: int | None = None
    peak: int | None = None
    max: Limit | None = None
    limit: Limit | None = None
    limited_by: str | None = None
    max_events: int | None = None
    own_max_events: int | None = None


class HugePages(Fact, frozen=True, kw_only=True):
    """Explicit huge pages of one size, in bytes. `reserved_*` counts mappings that are not touched yet.

    `by_node` is of the group with its descendants (since Linux 5.16); these pages are in no other figure of a workload's memory by node.
    """

    page_bytes: int
    current_bytes: int | None = None
    max_bytes: Limit | None = None
    reserved_bytes: int | None = None
    reserved_max_bytes: Limit | None = None
    max_events: int | None = None
    own_max_events: int | None = None
    by_node: dict[int, int] = {}


class GroupState(Fact, frozen=True, kw_only=True):
    """What the control group says of itself. `freeze` was asked of it, `frozen` it is, by its own setting or an ancestor's.

    `dying_descendants` were removed and are still held by memory that is charged to them. `threads` are those in it, and not in a group
    below. `partition`, `exclusive_cpus` and `migrates_memory` are its cpuset's; the join adds them.
    """

    type: str | None = None
    populated: bool | None = None
    frozen: bool | None = None
    freeze: bool | None = None
    threads: int | None = None
    descendants: int | None = None
    dying_descendants: int | None = None
    max_depth: Limit | None = None
    max_descendants: Limit | None = None
    partition: str | None = None
    exclusive_cpus: CpuSet | None = None
    migrates_memory: bool | None = None


class Pod(Fact, frozen=True):
    """The Kubernetes pod of a container, and the class of service that the kubelet put it in, by the names of its groups.

    Its own name and namespace are of the container's bundle; the join adds them.
    """

    uid: str
    qos: Qos
    name: str | None = None
    namespace: str | None = None
