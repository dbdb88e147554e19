"""Who is in the groups of each owner: processes, and of threaded groups the processes whose first thread is there."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from agent.normalise.groups import Tree
from collectors import cgroup, proc_task


class Members(NamedTuple):
    """The processes of one owner. `are_all`: whether these are known to be all of them, with all their threads.

    `is_empty`: nothing is in the groups, neither processes nor threads.
    """

    pids: tuple[int, ...]
    are_all: bool
    is_empty: bool


def members_by_owner(tree: Tree, processes: Collection[int] | None, tasks: Collection[proc_task.TaskGroup]) -> dict[cgroup.Owner, Members]:
    """The members of every owner of a group. `processes` is the process table; None where it is not known.

    The group above a threaded one lists the processes of both (cgroup-v2.rst, "Threads"): each is a member where its first thread is.
    """
    lists: dict[cgroup.Owner, list[tuple[int, ...] | None]] = {}
    threads: dict[cgroup.Owner, set[int]] = {}
    for group in tree.groups.values():
        if group.owner is not None:
            lists.setdefault(group.owner, []).append(group.processes)
            if group.threads:
                threads.setdefault(group.owner, set()).update(group.threads)
    first_threads = {tid: owner for owner, tids in threads.items() for tid in tids & set(processes or ())}
    split = _split(threads, first_threads, tasks) if threads else set()
    members = {}
    for owner, groups in lists.items():
        listed, tids = {pid for pids in groups for pid in pids or ()}, threads.get(owner, set())
        own = {pid for pid in listed if first_threads.get(pid, owner) == owner} | (tids & first_threads.keys())
        are_all = None not in groups and owner not in split and (processes is not None or not tids)
        members[owner] = Members(tuple(sorted(own)), are_all, not listed and not tids and None not in groups)
    return members


def _split(
    threads: dict[cgroup.Owner, set[int]], first_threads: dict[int, cgroup.Owner], tasks: Collection[proc_task.TaskGroup]
) -> set[cgroup.Owner]:
    """The owners that have some threads of a process, while another has its first."""
    process_of = {task.tid: group.pid for group in tasks for task in group.tasks}
    split = set()
    for owner, tids in threads.items():
        for tid in tids:
            home = first_threads.get(process_of.get(tid, tid))
            if home != owner and tid in process_of:
                split |= {owner} | ({home} if home else set())
    return split
