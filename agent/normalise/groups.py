"""What a workload's control group says of it: limits, usage, sets, and both versions' names of the controls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agent.model.values import CpuSet, Limit
from agent.model.workload import Control, Cpu, Memory, Thread
from agent.sample import Sample
from collectors import cgroup, proc_task


class Tree(NamedTuple):
    """The groups by path, and which version each controller is in."""

    groups: dict[str, cgroup.Group]
    controllers: dict[str, str]


def tree_of(sample: Sample) -> Tree:
    if sample.cgroups is None:
        return Tree({}, {})
    return Tree({group.path: group for group in sample.cgroups.groups}, sample.cgroups.controllers)


def _tightest(tree: Tree, home: cgroup.Group | None, controller: str) -> tuple[Limit | None, str | None]:
    """The smallest limit of a group and its ancestors, and whose it is: nobody's where none is set.

    None when one of them should state a limit and does not: the tightest of the rest may not be the tightest.
    """
    found, path = [], home.path if home else ""
    while path:
        group = tree.groups.get(path)
        limit = _limit(group, controller) if group else None
        if limit is not None:
            found.append((limit, path))
        elif path != "/" and _must_state(tree, group, controller):
            return None, None
        path = "" if path == "/" else path.rpartition("/")[0] or "/"
    if not found:
        return None, None
    limit, by = min(found, key=lambda entry: entry[0])
    return limit, None if limit.unlimited else by


def _limit(group: cgroup.Group, controller: str) -> Limit | None:
    """CPUs (quota by period) or bytes."""
    if controller == "memory":
        return group.memory.max_bytes if group.memory else None
    if group.cpu is None or group.cpu.quota_usec is None or not group.cpu.period_usec:
        return None
    return Limit(group.cpu.quota_usec / group.cpu.period_usec)


def _must_state(tree: Tree, group: cgroup.Group | None, controller: str) -> bool:
    """On v2 a group states limits of the controllers that are enabled in it, on v1 every group does."""
    if tree.controllers.get(controller) == "v1":
        return True
    return group is None or group.controllers is None or controller in group.controllers


def cpu_of(tree: Tree, home: cgroup.Group | None, threads: tuple[Thread, ...], own_group: bool = True) -> Cpu:
    """`own_group`: the group is the workload's alone, so that its usage is the workload's, too."""
    runs = [thread.run_ns for thread in threads]
    delays = [thread.delay_ns for thread in threads]
    slices = [thread.timeslices for thread in threads]
    limit, by = _tightest(tree, home, "cpu")
    cpu = home.cpu if home and home.cpu and own_group else cgroup.Cpu()
    stall = home.pressure.get("cpu") if home and own_group else None
    return Cpu(
        cpu.quota_usec,
        cpu.period_usec,
        cpu.burst_usec,
        cpu.weight,
        cpu.shares,
        limit,
        by,
        cpu.usage_usec,
        cpu.user_usec,
        cpu.system_usec,
        cpu.periods,
        cpu.throttled_periods,
        cpu.throttled_usec,
        run_ns=_sum(runs),
        delay_ns=_sum(delays),
        timeslices=_sum(slices),
        pressure_some_usec=stall.some_usec if stall else None,
        pressure_full_usec=stall.full_usec if stall else None,
    )


def memory_of(tree: Tree, home: cgroup.Group | None, processes: Sequence[proc_task.TaskGroup], own_group: bool = True) -> Memory:
    limit, by = _tightest(tree, home, "memory")
    memory = home.memory if home and home.memory and own_group else cgroup.Memory()
    stall = home.pressure.get("memory") if home and own_group else None
    return Memory(
        memory.min_bytes,
        memory.low_bytes,
        memory.high_bytes,
        memory.max_bytes,
        memory.soft_limit_bytes,
        memory.swap_max_bytes,
        limit,
        by,
        memory.current_bytes,
        memory.peak_bytes,
        memory.swap_bytes,
        memory.kernel_bytes,
        # Pages that processes share are in the resident size of each: one process only is a sum.
        resident_bytes=processes[0].resident_bytes if len(processes) == 1 else None,
        page_table_bytes=_sum([process.page_table_bytes for process in processes]),
        anon_huge_bytes=_sum([process.anon_huge_bytes for process in processes]),
        pressure_some_usec=stall.some_usec if stall else None,
        pressure_full_usec=stall.full_usec if stall else None,
        oom_group=memory.oom_group,
        oom_kill_disable=memory.oom_kill_disable,
        under_oom=memory.under_oom,
        events=memory.events,
        stat=memory.stat,
    )


def cpuset_of(tree: Tree, home: cgroup.Group) -> tuple[CpuSet | None, CpuSet | None]:
    """CPUs and nodes that a group may use: its own cpuset's, or on v2 that of the nearest ancestor which has one."""
    group: cgroup.Group | None = home
    while group is not None:
        if group.cpuset is not None:
            # Kernels before 3.17 have no effective sets on v1: what is configured is in force.
            return group.cpuset.cpus_effective or group.cpuset.cpus, group.cpuset.mems_effective or group.cpuset.mems
        if group.path == "/" or _must_state(tree, group, "cpuset"):
            break
        group = tree.groups.get(group.path.rpartition("/")[0] or "/")
    return None, None


def controls_of(home: cgroup.Group, controllers: dict[str, str]) -> Iterable[Control]:
    """The controls of both versions beside each other, with the one that was read: a value means what its own file says."""
    cpu, memory, cpuset = home.cpu or cgroup.Cpu(), home.memory or cgroup.Memory(), home.cpuset or cgroup.Cpuset()
    rows: tuple[tuple[str, str, str | None, str | None, Limit | int | CpuSet | bool | None, str], ...] = (
        ("cpu", "quota", "cpu.cfs_quota_us", "cpu.max", cpu.quota_usec, "usec"),
        ("cpu", "period", "cpu.cfs_period_us", "cpu.max", cpu.period_usec, "usec"),
        ("cpu", "burst", "cpu.cfs_burst_us", "cpu.max.burst", cpu.burst_usec, "usec"),
        ("cpu", "share", "cpu.shares", "cpu.weight", _either(cpu.shares, cpu.weight), "weight"),
        ("cpuset", "CPUs", "cpuset.cpus", "cpuset.cpus", cpuset.cpus, "cpus"),
        ("cpuset", "nodes", "cpuset.mems", "cpuset.mems", cpuset.mems, "nodes"),
        ("memory", "hard limit", "memory.limit_in_bytes", "memory.max", memory.max_bytes, "bytes"),
        # What container engines call a reservation: v1 reclaims above it first, v2 protects what is below it.
        ("memory", "soft limit", "memory.soft_limit_in_bytes", "memory.low", _either(memory.soft_limit_bytes, memory.low_bytes), "bytes"),
        ("memory", "throttle limit", None, "memory.high", memory.high_bytes, "bytes"),
        ("memory", "OOM killer off", "memory.oom_control", None, memory.oom_kill_disable, "flag"),
        ("memory", "OOM kills the whole group", None, "memory.oom.group", memory.oom_group, "flag"),
        ("memory", "usage", "memory.usage_in_bytes", "memory.current", memory.current_bytes, "bytes"),
    )
    for controller, name, v1, v2, value, unit in rows:
        file = v1 if controllers.get(controller) == "v1" else v2
        if value is not None and file is not None:
            yield Control(name, v1, v2, file, _plain(value), unit)


def _either(v1: Limit | int | None, v2: Limit | int | None) -> Limit | int | None:
    """Only one version has the controller."""
    return v2 if v1 is None else v1


def _plain(value: Limit | int | CpuSet | bool) -> int | str | bool:
    if isinstance(value, Limit):
        return "max" if value.unlimited else int(value)
    return str(value) if isinstance(value, CpuSet) else value


def _sum(values: Sequence[int | None]) -> int | None:
    """None when a part of it is not known: a smaller sum would be a wrong one."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
