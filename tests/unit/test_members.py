"""agent/normalise/members.py: whose processes are whose, also where groups may not list them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.facts.proc_task import Thread
from agent.normalise import normalise
from agent.normalise.groups import Tree
from agent.normalise.members import Members, members_by_owner
from collectors.cgroup import Group, Owner
from collectors.proc_task import TaskGroup
from tests.unit.tree import recorded

OUTER, INNER, OTHER = Owner("docker", "0a", "/o"), Owner("docker", "0b", "/o/i"), Owner("podman", "0c", "/o/j")


def tree(*groups: Group) -> Tree:
    return Tree({group.path: group for group in groups}, {}, {})


def threaded(path: str, owner: Owner, *tids: int) -> Group:
    return Group(path=path, owner=owner, processes=(), threads=tids)


DOMAIN = Group(path="/o", owner=OUTER, processes=(10, 20, 30))


def tasks(**tids_by_pid: tuple[int, ...]) -> list[TaskGroup]:
    return [TaskGroup(pid=int(pid[1:]), tasks=tuple(Thread(tid=tid) for tid in tids)) for pid, tids in tids_by_pid.items()]


def test_the_process_of_a_threaded_group_is_not_the_outer_one_s() -> None:
    groups = tree(
        DOMAIN,
        threaded("/o/i", INNER, 20, 21),
        threaded("/o/i/x", INNER, 30),
    )
    whole = tasks(p10=(10,), p20=(20, 21), p30=(30,))
    assert members_by_owner(groups, {10, 20, 30}, whole) == {OUTER: Members((10,), True, False), INNER: Members((20, 30), True, False)}


def test_threads_of_another_s_process_are_members_without_a_sum() -> None:
    groups = tree(DOMAIN, threaded("/o/i", INNER, 21), threaded("/o/j", OTHER, 30))
    whole = tasks(p10=(10,), p20=(20, 21), p30=(30,))
    assert members_by_owner(groups, {10, 20, 30}, whole) == {
        OUTER: Members((10, 20), True, False),
        INNER: Members((), False, False),
        OTHER: Members((30,), True, False),
    }


def test_a_process_that_is_split_between_two() -> None:
    groups = tree(DOMAIN, threaded("/o/i", INNER, 21), threaded("/o/j", OTHER, 20))
    found = members_by_owner(groups, {10, 20, 30}, tasks(p20=(20, 21)))
    assert not found[INNER].are_all
    assert not found[OTHER].are_all


def test_without_a_process_table_threads_are_somebody() -> None:
    groups = tree(DOMAIN, threaded("/o/i", INNER, 20), threaded("/o/j", OTHER))
    assert members_by_owner(groups, None, ()) == {
        OUTER: Members((10, 20, 30), True, False),
        INNER: Members((), False, False),
        OTHER: Members((), True, True),
    }


def test_a_list_that_may_not_be_read_is_no_empty_list() -> None:
    assert members_by_owner(tree(Group(path="/o", owner=OUTER)), set(), ()) == {OUTER: Members((), False, False)}


A = "7e" * 32
MACHINE = r"/machine.slice/machine-qemu\x2d4\x2dweb\x2d02.scope"


@pytest.mark.parametrize(
    ("path", "id_", "name"),
    [
        (MACHINE, r"machine-qemu\x2d4\x2dweb\x2d02", "web-02"),
        ("/machine/qemu-4-db.libvirt-qemu", "qemu-4-db", "db"),
        ("/machine/db.libvirt-qemu", "db", "db"),
        ("/libvirt/qemu/db", "db", "db"),
        ("/qemu.slice/117.scope", "117", "117"),
    ],
)
def test_a_machine_s_group_whose_process_says_nothing_is_a_machine(tmp_path: Path, path: str, id_: str, name: str) -> None:
    files = {
        "sys/fs/cgroup/cgroup.controllers": "cpu\n",
        f"sys/fs/cgroup{path}/cgroup.procs": "9\n",
        f"sys/fs/cgroup{path}/cpu.max": "5000 100000\n",
    }
    (machine,) = normalise(take(recorded(tmp_path, files), Config(), Caches())).workloads
    assert (machine.id, machine.name, machine.paradigm, machine.cgroup) == (id_, name, "virtualization", path)


def test_a_container_in_a_threaded_group_is_listed(tmp_path: Path) -> None:
    outer, b = f"sys/fs/cgroup/system.slice/docker-{A}.scope", "8f" * 32
    files = {
        "sys/fs/cgroup/cgroup.controllers": "cpu\n",
        f"{outer}/cgroup.procs": "70\n71\n",
        f"{outer}/cgroup.controllers": "\n",
        "sys/fs/cgroup/system.slice/cgroup.controllers": "\n",
        f"{outer}/docker/cgroup.controllers": "\n",
        f"{outer}/docker/{b}/cgroup.type": "threaded\n",
        f"{outer}/docker/{b}/cgroup.threads": "71\n",
        f"{outer}/docker/{b}/cpu.max": "50000 100000\n",
    }
    found = {one.id: one for one in normalise(take(recorded(tmp_path, files), Config(), Caches())).workloads}
    assert found.keys() == {A, b}
    assert (found[b].parent, found[b].cpu.limit_cpus, found[b].processes) == (A, 0.5, None)
