"""Limits, usage and CPU sets of a workload from its control group, and the names of the controls in both cgroup versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.facts.cgroup import GroupState, Pids, WorkloadCpu, WorkloadMemory
from agent.model.facts.proc_task import Thread
from agent.model.values import MAX_NUMBER, CpuSet, Fact, Limit, sum_if_known
from agent.model.workload import Control
from collectors import cgroup, proc_task, taskstats

_NO_CPU, _NO_MEMORY = WorkloadCpu(), WorkloadMemory()

Bound = tuple[Limit | None, str | None, bool]


class Tree(NamedTuple):
    """The groups by path, the version of each controller, and the tightest limits computed so far, by path and controller."""

    groups: dict[str, cgroup.Group]
    controllers: dict[str, str]
    tightest: dict[tuple[str, str], Bound]


def tree_of(sample: Sample) -> Tree:
    if sample.workloads.cgroups is None:
        return Tree({}, {}, {})
    return Tree({group.path: group for group in sample.workloads.cgroups.groups}, sample.workloads.cgroups.controllers, {})


def tightest(tree: Tree, home: cgroup.Group | None, controller: str) -> tuple[Limit | None, str | None]:
    """The smallest limit of a group and its ancestors, and the path of the group that sets it, None where it is unlimited.

    Both are None when one of these groups should state a limit and does not: its limit may be the smallest.
    """
    ahead, path = [], home.path if home else ""
    # A thousand containers have few parents: each ancestor is computed once.
    while path and (path, controller) not in tree.tightest:
        ahead.append(path)
        path = "" if path == "/" else path.rpartition("/")[0] or "/"
    limit, set_by, sure = tree.tightest[path, controller] if path else (None, None, True)
    for path in reversed(ahead):
        group = tree.groups.get(path)
        own = _limit(group, controller) if group else None
        if own is not None and (limit is None or own <= limit):
            limit, set_by = own, path
        elif own is None and path != "/" and _must_state(tree, group, controller):
            sure = False
        tree.tightest[path, controller] = limit, set_by, sure
    if not sure or limit is None:
        return None, None
    return limit, None if limit.unlimited else set_by


def _limit(group: cgroup.Group, controller: str) -> Limit | None:
    """The group's own limit, in CPUs (quota divided by period), bytes or tasks."""
    if controller == "memory":
        return group.memory.max_bytes if group.memory else None
    if controller == "pids":
        return group.pids.max if group.pids else None
    if group.cpu is None or group.cpu.quota_usec is None or not group.cpu.period_usec:
        return None
    return Limit(group.cpu.quota_usec / group.cpu.period_usec)


def _must_state(tree: Tree, group: cgroup.Group | None, controller: str) -> bool:
    """Whether a group must have the files of a controller: on v2 where it is enabled, on v1 always."""
    if tree.controllers.get(controller) == "v1":
        return True
    return group is None or group.controllers is None or controller in group.controllers


def cpu_of(
    tree: Tree,
    home: cgroup.Group | None,
    threads: tuple[Thread, ...],
    accounts: Sequence[taskstats.Account | None],
    own_group: bool = True,
) -> WorkloadCpu:
    """CPU limits, usage and delay of a workload.

    `own_group`: whether the group is the workload's alone, so that its usage is the workload's. `accounts`: one for each process; empty
    for a machine, whose processes do more than run its vCPUs.
    """
    limit, set_by = tightest(tree, home, "cpu")
    cpu = home.cpu if home and home.cpu and own_group else _NO_CPU
    stalls = home.pressure if home and own_group else {}
    stall, irq = stalls.get("cpu"), stalls.get("irq")
    return replace(
        cpu,
        limit_cpus=limit,
        limited_by=set_by,
        run_ns=sum_if_known([thread.run_ns for thread in threads]),
        delay_ns=sum_if_known([thread.delay_ns for thread in threads]),
        timeslices=sum_if_known([thread.timeslices for thread in threads]),
        process_run_ns=sum_if_known([account.run_ns if account else None for account in accounts]),
        process_delay_ns=sum_if_known([account.delay_ns if account else None for account in accounts]),
        process_timeslices=sum_if_known([account.timeslices if account else None for account in accounts]),
        pressure_some_usec=stall.some_usec if stall else None,
        pressure_full_usec=stall.full_usec if stall else None,
        irq_pressure_full_usec=irq.full_usec if irq else None,
    )


class _Stat(Fact, frozen=True, kw_only=True):
    """Names of fields in memory.stat."""

    anon: str
    file: str
    faults: str
    major_faults: str
    refaults: tuple[str, ...]


_STAT_V2 = _Stat(
    anon="anon", file="file", faults="pgfault", major_faults="pgmajfault", refaults=("workingset_refault_anon", "workingset_refault_file")
)
# On v1, total_* includes descendants, rss is anonymous memory, and cache includes shmem, as file does on v2.
_STAT_V1 = _Stat(
    anon="total_rss",
    file="total_cache",
    faults="total_pgfault",
    major_faults="total_pgmajfault",
    refaults=tuple(f"total_{kind}" for kind in _STAT_V2.refaults),
)


def memory_of(tree: Tree, home: cgroup.Group | None, processes: Sequence[proc_task.TaskGroup], own_group: bool = True) -> WorkloadMemory:
    limit, set_by = tightest(tree, home, "memory")
    memory = home.memory if home and home.memory and own_group else _NO_MEMORY
    stall = home.pressure.get("memory") if home and own_group else None
    stat, is_v1 = memory.stat, tree.controllers.get("memory") == "v1"
    names = _STAT_V1 if is_v1 else _STAT_V2
    return replace(
        memory,
        limit_bytes=limit,
        limited_by=set_by,
        anon_bytes=stat.get(names.anon),
        file_bytes=stat.get(names.file),
        page_faults=stat.get(names.faults),
        major_faults=stat.get(names.major_faults),
        refaults=sum_if_known([stat.get(kind) for kind in names.refaults]),
        scanned_pages=None if is_v1 else stat.get("pgscan"),
        reclaimed_pages=None if is_v1 else stat.get("pgsteal"),
        # Shared pages count in the resident size of each process, so that sizes of several do not add up.
        resident_bytes=processes[0].resident_bytes if len(processes) == 1 else None,
        page_table_bytes=sum_if_known([process.page_table_bytes for process in processes]),
        anon_huge_bytes=sum_if_known([process.anon_huge_bytes for process in processes]),
        pressure_some_usec=stall.some_usec if stall else None,
        pressure_full_usec=stall.full_usec if stall else None,
    )


def resident_by_node(tree: Tree, home: cgroup.Group) -> dict[int, int]:
    """Bytes of anonymous memory, page cache and tmpfs of a group by node, without kernel memory; {} where not known."""
    by_node = home.memory.by_node if home.memory else {}
    if tree.controllers.get("memory") == "v1":
        return by_node.get("total", {})
    if not by_node.keys() >= {"anon", "file"}:
        return {}
    # The two do not overlap. Both include unevictable pages, and file includes shmem.
    return {node: size + by_node["file"].get(node, 0) for node, size in by_node["anon"].items()}


def pids_of(tree: Tree, home: cgroup.Group) -> Pids | None:
    limit, set_by = tightest(tree, home, "pids")
    if home.pids is None and limit is None:
        return None
    return replace(home.pids or Pids(), limit=limit, limited_by=set_by)


def group_of(home: cgroup.Group) -> GroupState | None:
    state, cpuset = home.state or GroupState(), home.cpuset or cgroup.Cpuset()
    state = replace(state, partition=cpuset.partition, exclusive_cpus=cpuset.exclusive_cpus, migrates_memory=cpuset.migrates_memory)
    return None if state == GroupState() else state


def container_around(tree: Tree, path: str) -> cgroup.Owner | None:
    """The deepest container that a group is in."""
    owner = _owner(tree, path)
    while owner is not None and owner.paradigm == "virtualization":
        owner = _owner(tree, owner.path.rpartition("/")[0])
    return owner if owner is not None and owner.paradigm == "containerization" else None


def _owner(tree: Tree, path: str) -> cgroup.Owner | None:
    group = tree.groups.get(path)
    return group.owner if group else cgroup.whose(path)


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
    """Each control with its name in both versions, the file that was read, and its value in the units of that file."""
    cpu, memory, cpuset = home.cpu or _NO_CPU, home.memory or _NO_MEMORY, home.cpuset or cgroup.Cpuset()
    pids = home.pids or Pids()
    rows: tuple[tuple[str, str, str | None, str | None, Limit | int | CpuSet | bool | None, str], ...] = (
        ("cpu", "quota", "cpu.cfs_quota_us", "cpu.max", cpu.quota_usec, "usec"),
        ("cpu", "period", "cpu.cfs_period_us", "cpu.max", cpu.period_usec, "usec"),
        ("cpu", "burst", "cpu.cfs_burst_us", "cpu.max.burst", cpu.burst_usec, "usec"),
        ("cpu", "share", "cpu.shares", "cpu.weight", _either(cpu.shares, cpu.weight), "weight"),
        ("cpuset", "CPUs", "cpuset.cpus", "cpuset.cpus", cpuset.cpus, "cpus"),
        ("cpuset", "nodes", "cpuset.mems", "cpuset.mems", cpuset.mems, "nodes"),
        ("cpuset", "exclusive CPUs", None, "cpuset.cpus.exclusive", cpuset.cpus_exclusive or None, "cpus"),
        ("memory", "hard limit", "memory.limit_in_bytes", "memory.max", memory.max_bytes, "bytes"),
        # What container engines call a reservation: v1 reclaims above it first, v2 protects what is below it.
        ("memory", "soft limit", "memory.soft_limit_in_bytes", "memory.low", _either(memory.soft_limit_bytes, memory.low_bytes), "bytes"),
        ("memory", "throttle limit", None, "memory.high", memory.high_bytes, "bytes"),
        ("memory", "OOM killer off", "memory.oom_control", None, memory.oom_kill_disable, "flag"),
        ("memory", "OOM kills the whole group", None, "memory.oom.group", memory.oom_group, "flag"),
        ("memory", "swap limit", "memory.memsw.limit_in_bytes", "memory.swap.max", memory.swap_max_bytes, "bytes"),
        ("pids", "tasks", "pids.max", "pids.max", pids.max, "tasks"),
        ("memory", "usage", "memory.usage_in_bytes", "memory.current", memory.current_bytes, "bytes"),
    )
    for controller, name, v1, v2, value, unit in rows:
        file = v1 if controllers.get(controller) == "v1" else v2
        if value is not None and file is not None:
            yield Control(name=name, v1=v1, v2=v2, file=file, value=_plain(value), unit=unit)


def _either(v1: Limit | int | None, v2: Limit | int | None) -> Limit | int | None:
    """The value that exists: a controller is in one version only."""
    return v2 if v1 is None else v1


def _plain(value: Limit | int | CpuSet | bool) -> int | str | bool:
    if isinstance(value, Limit):
        # As a float, the largest number of the kernel's is one more.
        return "max" if value.unlimited else min(int(value), MAX_NUMBER)
    return str(value) if isinstance(value, CpuSet) else value
