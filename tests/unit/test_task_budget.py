"""collectors/proc_task.py: processes of more threads than a pass has time for."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.model.values import sum_if_known
from collectors import proc_task
from collectors.proc_task import MANY_THREADS, TaskCache
from collectors.root import Budget, SysRoot
from collectors.text import ProcessStat, process_stat
from tests.unit.counted_budget import CountedBudget
from tests.unit.tree import grow

FEW, MANY, MORE = 10, 20, 30
SPENT = Budget(0.0)


def stat(tid: int, threads: int) -> str:
    return f"{tid} (worker) S 1 {tid} {tid} 0 -1 0 0 0 0 0 1 1 0 0 20 0 {threads} 0 500 0 0 " + " ".join(["0"] * 29) + "\n"


def process(root: Path, pid: int, threads: int, run_ns: int = 100) -> ProcessStat:
    status = f"Name:\tworker\nVmRSS:\t 400 kB\nThreads:\t{threads}\nCpus_allowed_list:\t0-1\n"
    files = {f"proc/{pid}/status": status}
    for tid in range(pid * 1000, pid * 1000 + threads - 1):
        files[f"proc/{pid}/task/{tid}/schedstat"] = f"{run_ns} 5 7\n"
        files[f"proc/{pid}/task/{tid}/stat"] = stat(tid, threads)
    files[f"proc/{pid}/task/{pid}/schedstat"] = f"{run_ns} 5 7\n"
    files[f"proc/{pid}/task/{pid}/stat"] = stat(pid, threads)
    grow(root, files)
    return process_stat(stat(pid, threads))


@pytest.fixture
def first_threads(tmp_path: Path) -> dict[int, ProcessStat]:
    return {
        FEW: process(tmp_path, FEW, 2),
        MANY: process(tmp_path, MANY, MANY_THREADS + 1),
        MORE: process(tmp_path, MORE, MANY_THREADS + 40),
    }


def run_ns(groups: tuple[proc_task.TaskGroup, ...]) -> dict[int, int | None]:
    return {group.pid: sum_if_known([thread.run_ns for thread in group.tasks]) for group in groups}


def test_many_threads_keep_their_last_counters_and_their_time(tmp_path: Path, first_threads: dict[int, ProcessStat]) -> None:
    cache = TaskCache()
    door = SysRoot(tmp_path)
    before = run_ns(proc_task.read(door, cache, first_threads, first_threads))
    assert before == {FEW: 200, MANY: 100 * (MANY_THREADS + 1), MORE: 100 * (MANY_THREADS + 40)}
    read_at = door.read_times
    for pid, first in first_threads.items():
        process(tmp_path, pid, first.threads or 0, run_ns=900)
    door = SysRoot(tmp_path)
    after = run_ns(proc_task.read(door, cache, first_threads, first_threads, budget=SPENT))
    assert after == {**before, FEW: 1800}
    assert [(refusal.path, refusal.reason) for refusal in door.refusals] == [(f"proc/{pid}/task", "late") for pid in (MANY, MORE)]
    assert door.refusals[0].detail.endswith("s old")
    # A rate is over the time between two readings, and there was none.
    assert {pid: door.read_times[pid] for pid in (MANY, MORE)} == {pid: read_at[pid] for pid in (MANY, MORE)}
    assert door.read_times[FEW] > read_at[FEW]


def test_the_smaller_one_is_read_first(tmp_path: Path, first_threads: dict[int, ProcessStat]) -> None:
    door = SysRoot(tmp_path)
    groups = run_ns(proc_task.read(door, TaskCache(), first_threads, first_threads, budget=CountedBudget(13)))
    assert groups == {FEW: 200, MANY: 100 * (MANY_THREADS + 1), MORE: None}
    assert [refusal.path for refusal in door.refusals] == [f"proc/{MORE}/task"]


def test_threads_that_were_never_read_make_no_sum(tmp_path: Path, first_threads: dict[int, ProcessStat]) -> None:
    door = SysRoot(tmp_path)
    groups = proc_task.read(door, TaskCache(), first_threads, first_threads, budget=SPENT)
    assert run_ns(groups) == {FEW: 200, MANY: None, MORE: None}
    assert {group.pid: group.resident_bytes for group in groups} == dict.fromkeys(first_threads, 400 << 10)


def test_another_process_of_its_pid_does_not_inherit_counters(tmp_path: Path, first_threads: dict[int, ProcessStat]) -> None:
    cache = TaskCache()
    proc_task.read(SysRoot(tmp_path), cache, first_threads, first_threads)
    reborn = {pid: replace(first, start_ticks=501) for pid, first in first_threads.items()}
    assert run_ns(proc_task.read(SysRoot(tmp_path), cache, reborn, reborn, budget=SPENT))[MANY] is None
