"""The CPU controller of one group: `cpu.*` of both versions, `cpuacct.*` of v1.

Sources: Documentation/admin-guide/cgroup-v2.rst ("CPU"), Documentation/scheduler/{sched-bwc,sched-util-clamp}.rst,
Documentation/admin-guide/cgroup-v1/cpuacct.rst. Times are microseconds: v1 counts throttled and burst time, and usage, in nanoseconds.
"""

from __future__ import annotations

from agent.model.facts.cgroup import WorkloadCpu
from agent.model.values import UNLIMITED, Detail, Limit
from collectors.cgroup.held import GroupFiles, HeldDirectory
from collectors.text import Malformed, decimal, flat_keyed, integer, limit, unsigned


def read_v2(files: GroupFiles, directory: HeldDirectory, detail: Detail) -> WorkloadCpu:
    is_document = detail == "document"
    quota, period = files.parse(directory, "cpu.max", parse_max) or (None, None)
    stat = files.parse(directory, "cpu.stat", flat_keyed) or {}
    more = _rarely_set(files, directory) if is_document else WorkloadCpu()
    local = files.parse(directory, "cpu.stat.local", flat_keyed) or {} if is_document else {}
    return WorkloadCpu(
        quota_usec=quota,
        period_usec=period,
        burst_usec=files.parse(directory, "cpu.max.burst", unsigned) if is_document else None,
        weight=files.parse(directory, "cpu.weight", unsigned),
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
        nice=files.parse(directory, "cpu.weight.nice", integer) if is_document else None,
        idle=more.idle,
        uclamp_min_percent=more.uclamp_min_percent,
        uclamp_max_percent=more.uclamp_max_percent,
    )


def read_v1(files: GroupFiles, directory: HeldDirectory, accounting: HeldDirectory | None, detail: Detail) -> WorkloadCpu:
    is_document = detail == "document"
    quota = files.parse(directory, "cpu.cfs_quota_us", integer)
    stat = files.parse(directory, "cpu.stat", flat_keyed) or {}
    more = _rarely_set(files, directory) if is_document else WorkloadCpu()
    local = files.parse(directory, "cpu.stat.local", flat_keyed) or {} if is_document else {}

    def accounted(name: str) -> int | None:
        return _usec(files.parse(accounting, name, unsigned)) if accounting else None

    return WorkloadCpu(
        quota_usec=None if quota is None else UNLIMITED if quota < 0 else Limit(quota),
        period_usec=files.parse(directory, "cpu.cfs_period_us", unsigned),
        burst_usec=files.parse(directory, "cpu.cfs_burst_us", unsigned) if is_document else None,
        weight=None,
        shares=files.parse(directory, "cpu.shares", unsigned),
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
        rt_runtime_usec=files.parse(directory, "cpu.rt_runtime_us", integer) if is_document else None,
        rt_period_usec=files.parse(directory, "cpu.rt_period_us", unsigned) if is_document else None,
    )


def parse_max(text: str) -> tuple[Limit, int]:
    """ "150000 100000", "max 100000": quota and period in microseconds."""
    words = text.split()
    if len(words) != 2:
        raise Malformed(f"expected 'quota period', got {text[:60]!r}")
    return limit(words[0]), unsigned(words[1])


def parse_clamp(text: str) -> float:
    """ "20.00", "max": a share of a CPU's capacity in percent."""
    return 100.0 if text.strip() == "max" else decimal(text)


def _rarely_set(files: GroupFiles, directory: HeldDirectory) -> WorkloadCpu:
    """What both versions call alike, and few set."""
    idle = files.parse(directory, "cpu.idle", integer)
    return WorkloadCpu(
        idle=None if idle is None else idle != 0,
        uclamp_min_percent=files.parse(directory, "cpu.uclamp.min", parse_clamp),
        uclamp_max_percent=files.parse(directory, "cpu.uclamp.max", parse_clamp),
    )


def _usec(nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else nanoseconds // 1000
