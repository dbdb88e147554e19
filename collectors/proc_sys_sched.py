"""The scheduler's sysctls: /proc/sys/kernel/sched_*.

Sources: Documentation/admin-guide/sysctl/kernel.rst, Documentation/scheduler/{sched-rt-group,sched-deadline,sched-bwc}.rst.
Linux 8a99b6833c88 ("sched: Move SCHED_DEBUG sysctl to debugfs", 5.13) took the tunables of the fair class away from here.
"""

from __future__ import annotations

from agent.model.values import UNLIMITED, Fact, Limit
from collectors.root import SysRoot, Unavailable
from collectors.text import integer

KERNEL = "proc/sys/kernel"


class Sched(Fact, frozen=True, kw_only=True):
    """Real-time tasks may run `rt_runtime_usec` of each `rt_period_usec`; deadline tasks are admitted up to the same share.

    What comes after `energy_aware` is of kernels before 5.13, and of CFS.
    """

    rt_runtime_usec: Limit | None = None
    rt_period_usec: int | None = None
    deadline_period_min_usec: int | None = None
    deadline_period_max_usec: int | None = None
    rr_timeslice_msec: int | None = None
    cfs_bandwidth_slice_usec: int | None = None
    autogroup: bool | None = None
    schedstats: bool | None = None
    timer_migration: bool | None = None
    energy_aware: bool | None = None
    latency_ns: int | None = None
    min_granularity_ns: int | None = None
    wakeup_granularity_ns: int | None = None
    migration_cost_ns: int | None = None
    nr_migrate: int | None = None


def read(root: SysRoot) -> Sched:
    def number(name: str) -> int | None:
        return root.parse(f"{KERNEL}/{name}", integer)

    def flag(name: str) -> bool | None:
        value = number(name)
        return None if value is None else value != 0

    runtime = number("sched_rt_runtime_us")
    settings = Sched(
        rt_runtime_usec=None if runtime is None else UNLIMITED if runtime < 0 else Limit(runtime),
        rt_period_usec=number("sched_rt_period_us"),
        deadline_period_min_usec=number("sched_deadline_period_min_us"),
        deadline_period_max_usec=number("sched_deadline_period_max_us"),
        rr_timeslice_msec=number("sched_rr_timeslice_ms"),
        cfs_bandwidth_slice_usec=number("sched_cfs_bandwidth_slice_us"),
        autogroup=flag("sched_autogroup_enabled"),
        schedstats=flag("sched_schedstats"),
        timer_migration=flag("timer_migration"),
        energy_aware=flag("sched_energy_aware"),
        latency_ns=number("sched_latency_ns"),
        min_granularity_ns=number("sched_min_granularity_ns"),
        wakeup_granularity_ns=number("sched_wakeup_granularity_ns"),
        migration_cost_ns=number("sched_migration_cost_ns"),
        nr_migrate=number("sched_nr_migrate"),
    )
    if settings == Sched():
        raise Unavailable("absent", f"{KERNEL}/sched_*")
    return settings
