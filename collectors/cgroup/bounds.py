"""Groups with limits of their own: what runs in one is a workload, also where nobody knows who started it.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/, for the values that bound nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from agent.model.facts.cgroup import WorkloadCpu, WorkloadMemory
from agent.model.runtimes import PLAIN_GROUP, SYSTEMD
from agent.model.values import CpuSet
from collectors.cgroup.group import Group
from collectors.cgroup.owner import Owner, is_pod

_NO_CPU, _NO_MEMORY = WorkloadCpu(), WorkloadMemory()

_DEFAULT_WEIGHT, _DEFAULT_SHARES = 100, 1024


def is_bounded(group: Group, outer_cpus: CpuSet | None) -> bool:
    """Whether a group has a limit, a protection, a weight, or other CPUs than `outer_cpus`. systemd bounds the tasks of every unit."""
    cpu, memory = group.cpu or _NO_CPU, group.memory or _NO_MEMORY
    limits = (cpu.quota_usec, memory.max_bytes, memory.high_bytes)
    if any(limit is not None and not limit.unlimited for limit in limits) or memory.low_bytes or memory.min_bytes:
        return True
    if cpu.weight not in (None, _DEFAULT_WEIGHT) or cpu.shares not in (None, _DEFAULT_SHARES):
        return True
    own = cpus_in_force(group)
    return own is not None and outer_cpus is not None and own != outer_cpus


def cpus_in_force(group: Group | None) -> CpuSet | None:
    return group.cpuset.cpus_effective if group and group.cpuset else None


def with_plain_owners(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The same groups, parents first; what is bounded and nobody's owns itself, and what is below it and nobody's.

    A part of a unit is one, too, where the unit is not bounded: else nobody would show what the part is bounded by. A pod's group is none
    for what its engine puts beside the containers (conmon).
    """
    nobodys = [group for group in groups if group.processes is not None and group.path != "/" and _may_be_plain(group)]
    if not nobodys:
        return groups
    by_path = {group.path: group for group in groups}
    plain: dict[str, Owner] = {}
    for group in nobodys:
        path, owner = group.path, group.owner
        above, _, name = path.rpartition("/")
        outer = by_path.get(above or "/")
        if owner is not None and is_bounded_within(by_path, owner.path):
            continue
        if is_pod(name) and not group.processes:
            continue
        if is_bounded(group, cpus_in_force(outer)) or (owner is None and _limits_tasks(group)):
            plain[path] = Owner(PLAIN_GROUP.name, name, path, PLAIN_GROUP.paradigm)
        elif above in plain:
            plain[path] = plain[above]
    return tuple([replace(group, owner=plain[group.path]) if group.path in plain else group for group in groups])


def is_bounded_within(groups: Mapping[str, Group], path: str) -> bool:
    """Whether a group or one around it is bounded."""
    cpus = cpus_in_force(groups.get("/"))
    while path and path != "/":
        group = groups.get(path)
        if group is not None and is_bounded(group, cpus):
            return True
        path = path.rpartition("/")[0]
    return False


def _may_be_plain(group: Group) -> bool:
    return group.owner is None or (group.owner.runtime == SYSTEMD.name and group.owner.path != group.path)


def _limits_tasks(group: Group) -> bool:
    limit = group.pids.max if group.pids else None
    return limit is not None and not limit.unlimited
