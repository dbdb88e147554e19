"""collectors/proc_task.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from agent.model.facts.proc_task import Thread
from agent.model.values import CpuSet
from collectors.proc_task import (
    TaskCache,
    TaskGroup,
    parse_cgroup,
    parse_schedstat,
    read,
)
from collectors.root import SysRoot
from collectors.text import Malformed, ProcessStat, process_stat
from tests.unit.tree import grow, malformed

# Fields 4-21, 22 (start time), 23-38, 39 (last CPU), 40-52.
REST = " ".join(["1"] * 18) + " 4242 " + " ".join(["2"] * 16) + " 7 " + " ".join(["3"] * 13)


@pytest.mark.parametrize("name", ["bash", "a b", "a) R 1 (b", ")", "((", "", "tab\tnew\nline", "CPU 0/KVM", "\\xff", "(sd-pam)"])
def test_names(name: str) -> None:
    assert process_stat(f"12 ({name}) S {REST}\n") == ProcessStat(
        name=name, state="S", parent_pid=1, threads=1, start_ticks=4242, last_cpu=7
    )


@given(st.text(max_size=15))
def test_any_name(name: str) -> None:
    assert process_stat(f"12 ({name}) S {REST}\n") == ProcessStat(
        name=name, state="S", parent_pid=1, threads=1, start_ticks=4242, last_cpu=7
    )


def test_an_old_kernel_names_no_cpu() -> None:
    assert process_stat(f"1 (x) R {' '.join(['1'] * 18)} 5") == ProcessStat(
        name="x", state="R", parent_pid=1, threads=1, start_ticks=5, last_cpu=None
    )


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (process_stat, "12 (x S 1\n"),
        (process_stat, "12 x) S 1\n"),
        (process_stat, ")("),
        (process_stat, "12 (x) S 1 2 3"),
        (process_stat, f"12 (x) S {REST.replace('4242', 'x')}"),
        (process_stat, f"12 (x) S {REST.replace('4242', '9' * 5000)}"),
        (process_stat, f"12 (x) S {REST.replace(' 7 ', ' 70000 ')}"),
        (parse_schedstat, "1 2"),
        (parse_schedstat, "1 2 x"),
        (parse_schedstat, "1 2 -3"),
        (parse_cgroup, "/docker\n"),
        (parse_cgroup, "1:cpu\n"),
    ],
)
def test_bad_texts(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("", {}),
        ("0::/\n", {"": "/"}),
        ("1:name=systemd:/user.slice\n0::/init.scope\n", {"name=systemd": "/user.slice", "": "/init.scope"}),
        ("4:cpu,cpuacct:/docker/0a\n0::/\n", {"cpu": "/docker/0a", "cpuacct": "/docker/0a", "": "/"}),
        ("0::/a:b:c d\n", {"": "/a:b:c d"}),
        ("0::/../other\n", {"": "/../other"}),
        ("1:cpu:/a (deleted)\n", {"cpu": "/a (deleted)"}),
    ],
)
def test_groups(text: str, groups: dict[str, str]) -> None:
    assert parse_cgroup(text) == groups


def test_small_texts() -> None:
    assert parse_schedstat("1 22 333\n") == (1, 22, 333)


STATUS = "Name:\tx\nVmRSS:\t     100 kB\nVmPTE:\t 8 kB\nVmSwap:\t 0 kB\n"
TASK_STATUS = "Cpus_allowed_list:\t0-3\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n"


def test_a_process(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            "proc/9/status": STATUS + TASK_STATUS,
            "proc/9/cgroup": "0::/x\n",
            "proc/9/smaps_rollup": "00-ff ---p 0 00:00 0 [rollup]\nAnonHugePages: 2048 kB\n",
            "proc/9/task/10/stat": f"10 (b) R {REST}",
            "proc/9/task/9/stat": f"9 (a) S {REST}",
            "proc/9/task/9/schedstat": "1 2 3\n",
            "proc/9/task/10/status": "",
            "proc/9/task/odd/stat": "nonsense",
            "proc/11/task/": "",
        },
    )
    first = Thread(
        tid=9,
        name="a",
        state="S",
        start_ticks=4242,
        last_cpu=7,
        run_ns=1,
        delay_ns=2,
        timeslices=3,
        allowed_cpus=CpuSet(range(4)),
        voluntary_switches=5,
        involuntary_switches=6,
    )
    assert read(root, TaskCache(), [9, 9, 11, 12]) == (
        TaskGroup(
            pid=9,
            tasks=(first, Thread(tid=10, name="b", state="R", start_ticks=4242, last_cpu=7)),
            resident_bytes=100 << 10,
            page_table_bytes=8 << 10,
            swapped_bytes=0,
            anon_huge_bytes=2 << 20,
            cgroups={"": "/x"},
            allowed_nodes=CpuSet((0,)),
        ),
    )
    assert root.refusals == []


def test_what_is_told_is_not_asked_for_again(tmp_path: Path) -> None:
    files = {
        "proc/9/status": STATUS + "Threads:\t1\n" + TASK_STATUS,
        "proc/9/task/9/schedstat": "1 2 3\n",
        "proc/9/task/10/stat": "one that came after its process was counted",
        "proc/9/smaps_rollup": "00-ff ---p 0 00:00 0 [rollup]\nAnonHugePages: 2048 kB\n",
        "proc/9/cgroup": "0::/x\n",
        # Its process has ended since.
        "proc/8/task/8/": "",
    }
    told = {pid: ProcessStat(name="a", state="R", parent_pid=1, threads=1, start_ticks=4242, last_cpu=3) for pid in (8, 9)}
    first = Thread(
        tid=9,
        name="a",
        state="R",
        start_ticks=4242,
        last_cpu=3,
        run_ns=1,
        delay_ns=2,
        timeslices=3,
        allowed_cpus=CpuSet(range(4)),
        voluntary_switches=5,
        involuntary_switches=6,
    )
    root, cache = grow(tmp_path, files), TaskCache()
    assert read(root, cache, [8, 9], told, accounted={9}) == (
        TaskGroup(
            pid=9,
            tasks=(first,),
            resident_bytes=100 << 10,
            page_table_bytes=8 << 10,
            swapped_bytes=0,
            allowed_nodes=CpuSet((0,)),
        ),
    )
    assert read(root, cache, [8, 9], told) == (
        TaskGroup(
            pid=9,
            tasks=(first,),
            resident_bytes=100 << 10,
            page_table_bytes=8 << 10,
            swapped_bytes=0,
            anon_huge_bytes=2 << 20,
            cgroups={"": "/x"},
            allowed_nodes=CpuSet((0,)),
        ),
    )
    assert root.refusals == []


@pytest.mark.parametrize(
    ("path", "text", "lost"),
    [
        ("proc/7/task/7/schedstat", "1 2\n", {"run_ns", "delay_ns", "timeslices"}),
        ("proc/7/task/7/schedstat", "1 2 3 4\n", {"run_ns", "delay_ns", "timeslices"}),
        ("proc/7/task/7/stat", "7 (x\n", {"name", "state", "start_ticks", "last_cpu"}),
        ("proc/7/status", STATUS.replace("100 kB", "many kB") + TASK_STATUS, {"resident_bytes"}),
        ("proc/7/status", STATUS + TASK_STATUS.replace("0-3", "3-0"), {"allowed_cpus"}),
        ("proc/7/status", STATUS + TASK_STATUS + "NSpid:\t7\tx\n", set()),
        ("proc/7/cgroup", "0::/x\nodd\n", set()),
        ("proc/7/smaps_rollup", "Rss\n", {"anon_huge_bytes"}),
    ],
)
def test_what_is_malformed_of_one_process_costs_no_other(tmp_path: Path, path: str, text: str, lost: set[str]) -> None:
    files = {
        f"proc/{pid}/{name}": content
        for pid in (7, 9)
        for name, content in {
            "status": STATUS + TASK_STATUS,
            "cgroup": "0::/x\n",
            "smaps_rollup": "00-ff ---p 0 00:00 0 [rollup]\nAnonHugePages: 2048 kB\n",
            f"task/{pid}/stat": f"{pid} (a) S {REST}",
            f"task/{pid}/schedstat": "1 2 3\n",
        }.items()
    }
    before = read(grow(tmp_path, files), TaskCache(), [7, 9])
    root = grow(tmp_path, {path: text})
    after = read(root, TaskCache(), [7, 9])
    assert after[1] == before[1]
    assert malformed(root) == [path]
    old, new = ({**asdict(group), **asdict(group.tasks[0]), "tasks": None} for group in (before[0], after[0]))
    assert {name for name in old if old[name] != new[name]} == lost
    assert {name for name in lost if new[name] is not None} == set()


def test_what_is_malformed_is_said_at_each_pass(tmp_path: Path) -> None:
    status = STATUS.replace("100 kB", "many kB") + "Threads:\t1\n" + TASK_STATUS
    root, cache = grow(tmp_path, {"proc/9/status": status, "proc/9/task/9/schedstat": "1 2 3\n"}), TaskCache()
    told = {9: ProcessStat(name="a", state="S", parent_pid=1, threads=1, start_ticks=4242, last_cpu=3)}
    for _ in range(2):
        view = root.watch()
        read(view, cache, [9], told, {9})
        assert malformed(view) == ["proc/9/status"]


def test_who_slept_is_the_same_record(tmp_path: Path) -> None:
    files = {"proc/9/status": STATUS + "Threads:\t1\n" + TASK_STATUS, "proc/9/task/9/schedstat": "1 2 3\n"}
    cache, root = TaskCache(), grow(tmp_path, files)
    told = {9: ProcessStat(name="a", state="S", parent_pid=1, threads=1, start_ticks=4242, last_cpu=3)}
    (first,), (second,) = (read(root.watch(), cache, [9], told, {9}) for _ in range(2))
    assert second is first
    for path, text in (("proc/9/task/9/schedstat", "2 2 4\n"), ("proc/9/status", STATUS + "Threads:\t1\n")):
        (tmp_path / path).write_text(text)
        (now,) = read(root, cache, [9], told, {9})
        assert (now,) == read(SysRoot(tmp_path), TaskCache(), [9], told, {9})
        assert now != second
        second = now
    (ran,) = read(root, cache, [9], {9: ProcessStat(name="a", state="R", parent_pid=1, threads=1, start_ticks=4242, last_cpu=2)}, {9})
    assert (ran.tasks[0].state, ran.tasks[0].last_cpu) == ("R", 2)
    # Of whom the table told nothing, state and CPU are asked for each time.
    for cpu in (5, 6):
        (tmp_path / "proc/9/task/9/stat").write_text(f"9 (a) S {REST}".replace(" 7 ", f" {cpu} "))
        (stranger,) = read(root, cache, [9], {}, {9})
        assert stranger.tasks[0].last_cpu == cpu
    # Of whom more is asked, more is told.
    (tmp_path / "proc/9/cgroup").write_text("0::/x\n")
    (alone,) = read(root, cache, [9], told)
    assert alone.cgroups == {"": "/x"}
    assert read(root, cache, [], told) == ()
    assert cache.processes == {}


def test_a_zombie_has_no_memory(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/9/task/9/stat": f"9 (a) Z {REST}", "proc/9/status": "Name:\ta\n"})
    assert read(root, TaskCache(), [9]) == (TaskGroup(pid=9, tasks=(Thread(tid=9, name="a", state="Z", start_ticks=4242, last_cpu=7),)),)


def test_this_process() -> None:
    import os

    (own,) = read(SysRoot("/"), TaskCache(), [os.getpid()])
    (main,) = [task for task in own.tasks if task.tid == os.getpid()]
    assert main.allowed_cpus == CpuSet(os.sched_getaffinity(0))
    assert (own.resident_bytes or 0) > 1 << 20


def test_its_number_in_its_own_namespace(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/9/task/9/stat": f"9 (a) S {REST}", "proc/9/status": "NSpid:\t9\t40\t1\nVmSize:\t 20 kB\nVmData:\t 8 kB\n"})
    (group,) = read(root, TaskCache(), [9])
    assert (group.inner_tids, group.virtual_bytes, group.data_bytes) == ({1: 9}, 20 << 10, 8 << 10)
