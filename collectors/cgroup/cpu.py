"""The CPU controller of one group: `cpu.*` of both versions, `cpuacct.*` of v1.

Sources: Documentation/admin-guide/cgroup-v2.rst ("CPU"), Documentation/scheduler/{sched-bwc,sched-util-clamp}.rst,
Documentation/admin-guide/cgroup-v1/cpuacct.rst. Times are microseconds: v1 counts throttled and burst time, and usage, in nanoseconds.
"""

from __future__ import annotations

from agent.model.values import UNLIMITED, Fact, Limit
from collectors.root import HeldDirectory, SysRoot
from collectors.text import Malformed, decimal, flat_keyed, integer, limit


class Cpu(Fact, frozen=True, kw_only=True):
    """`weight` is v2's, `shares` v1's: container engines map one to the other in more than one way, so neither is computed.

    `throttled_usec` counts the group's run queues that its own quota or an ancestor's stopped, `own_throttled_usec` the own quota's
    share of it (cpu.stat.local, since Linux 6.8). `idle`: everything else goes first (SCHED_IDLE).
    """

    quota_usec: Limit | None = None
    period_usec: int | None = None
    burst_usec: int | None = None
    weight: int | None = None
    shares: int | None = None
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


def read_v2(root: SysRoot, here: HeldDirectory, whole: bool) -> Cpu:
    quota, period = root.parse_in(here, "cpu.max", parse_max) or (None, None)
    stat = root.parse_in(here, "cpu.stat", flat_keyed) or {}
    more = _rarely(root, here) if whole else Cpu()
    local = root.parse_in(here, "cpu.stat.local", flat_keyed) or {} if whole else {}
    return Cpu(
        quota_usec=quota,
        period_usec=period,
        burst_usec=root.parse_in(here, "cpu.max.burst", integer) if whole else None,
        weight=root.parse_in(here, "cpu.weight", integer),
        shares=None,
        usage_usec=stat.get("usage_usec"),
        user_usec=stat.get("user_usec"),
        system_usec=stat.get("system_usec"),
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_usec=stat.get("throttled_usec"),
        own_throttled_usec=local.get("throttled_usec"),
        bursts=stat.get("nr_bursts"),
        burst_used_usec=stat.get("burst_usec"),
        nice=root.parse_in(here, "cpu.weight.nice", integer) if whole else None,
        idle=more.idle,
        uclamp_min_percent=more.uclamp_min_percent,
        uclamp_max_percent=more.uclamp_max_percent,
    )


def read_v1(root: SysRoot, here: HeldDirectory, account: HeldDirectory | None, whole: bool) -> Cpu:
    quota = root.parse_in(here, "cpu.cfs_quota_us", integer)
    stat = root.parse_in(here, "cpu.stat", flat_keyed) or {}
    more = _rarely(root, here) if whole else Cpu()
    local = root.parse_in(here, "cpu.stat.local", flat_keyed) or {} if whole else {}

    def accounted(name: str) -> int | None:
        return _usec(root.parse_in(account, name, integer)) if account else None

    return Cpu(
        quota_usec=None if quota is None else UNLIMITED if quota < 0 else Limit(quota),
        period_usec=root.parse_in(here, "cpu.cfs_period_us", integer),
        burst_usec=root.parse_in(here, "cpu.cfs_burst_us", integer) if whole else None,
        weight=None,
        shares=root.parse_in(here, "cpu.shares", integer),
        usage_usec=accounted("cpuacct.usage"),
        user_usec=accounted("cpuacct.usage_user"),
        system_usec=accounted("cpuacct.usage_sys"),
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_usec=_usec(stat.get("throttled_time")),
        own_throttled_usec=_usec(local.get("throttled_time")),
        bursts=stat.get("nr_bursts"),
        burst_used_usec=_usec(stat.get("burst_time")),
        nice=None,
        idle=more.idle,
        uclamp_min_percent=more.uclamp_min_percent,
        uclamp_max_percent=more.uclamp_max_percent,
        rt_runtime_usec=root.parse_in(here, "cpu.rt_runtime_us", integer) if whole else None,
        rt_period_usec=root.parse_in(here, "cpu.rt_period_us", integer) if whole else None,
    )


def parse_max(text: str) -> tuple[Limit, int]:
    """ "150000 100000", "max 100000": quota and period in microseconds."""
    words = text.split()
    if len(words) != 2:
        raise Malformed(f"expected 'quota period', got {text[:60]!r}")
    return limit(words[0]), integer(words[1])


def parse_clamp(text: str) -> float:
    """ "20.00", "max": a share of a CPU's capacity in percent."""
    return 100.0 if text.strip() == "max" else decimal(text)


def _rarely(root: SysRoot, here: HeldDirectory) -> Cpu:
    """What both versions call alike, and few set."""
    idle = root.parse_in(here, "cpu.idle", integer)
    return Cpu(
        idle=None if idle is None else idle != 0,
        uclamp_min_percent=root.parse_in(here, "cpu.uclamp.min", parse_clamp),
        uclamp_max_percent=root.parse_in(here, "cpu.uclamp.max", parse_clamp),
    )


def _usec(nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else nanoseconds // 1000
