"""Which control group a machine is in, and whether it has it to itself."""

from __future__ import annotations

from collections.abc import Mapping

from agent.model.monitor_options import serves_machines
from agent.model.runtimes import LIBVIRT
from agent.normalise.groups import Tree
from agent.normalise.workloads import path_of
from collectors import cgroup, proc_task, processes

_MAX_GENERATIONS = 8
"""Of a machine's descendants, so many are looked at."""


def home_of(tree: Tree, tasks: proc_task.TaskGroup | None, owner: cgroup.Owner | None) -> cgroup.Group | None:
    """The machine's group: the one that it has to itself, else that of its process, above the children that libvirt makes.

    These are "emulator", on systemd hosts in "libvirt".
    """
    path = owner.path if owner else path_of(tree, tasks) if tasks else None
    if path is None:
        return None
    for child in ("/emulator", "/libvirt"):
        path = path.removesuffix(child)
    return tree.groups.get(path)


def owned_groups(
    tree: Tree, table: Mapping[int, processes.Process], machines: Mapping[int, proc_task.TaskGroup]
) -> dict[int, cgroup.Owner]:
    """By the pid of a machine, the owner of the group that holds nothing else: a unit of systemd's. Jails are machines' by their names.

    What works for the machine may be in a unit, too: its own children, the kernel's threads, and programs that serve machines. A container
    that holds nothing but a machine stays a container around it, and libvirt's groups are machines' by name.
    """
    owned: dict[int, cgroup.Owner] = {}
    units: dict[cgroup.Owner, list[int]] = {}
    for pid in sorted(machines):
        group = tree.groups.get(path_of(tree, machines[pid]) or "")
        owner = group.owner if group else None
        if owner is not None and owner.paradigm == "process":
            units.setdefault(owner, []).append(pid)
        elif owner is not None and owner.paradigm == "virtualization" and owner.runtime != LIBVIRT.name and owner not in owned.values():
            owned[pid] = owner
    members: dict[cgroup.Owner, list[tuple[int, ...] | None]] = {owner: [] for owner, pids in units.items() if len(pids) == 1}
    if members:
        for group in tree.groups.values():
            if group.owner in members:
                members[group.owner].append(group.processes)
    for owner, lists in members.items():
        (machine,) = units[owner]
        if None not in lists and all(_serves(table, pid, machine) for pids in lists for pid in pids or ()):
            owned[machine] = owner
    return owned


def _serves(table: Mapping[int, processes.Process], pid: int, machine: int) -> bool:
    """Whether a process is the machine's own, or works for it. One that came after the table was read says nothing."""
    process = table.get(pid)
    if process is None or pid == machine or processes.served(process) == machine or serves_machines(process.name):
        return True
    for _ in range(_MAX_GENERATIONS):
        if process is None or process.parent_pid == machine:
            break
        process = table.get(process.parent_pid)
    return process is not None and process.parent_pid == machine
