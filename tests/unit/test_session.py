"""agent/session.py: the passes of one document, and what the first leaves for the second."""

from __future__ import annotations

import json
import time
from pathlib import Path

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.values import STAT, UPTIME
from agent.session import Session, take_host, take_snapshot, take_window
from collectors.root import LATER, MARK, SysRoot
from tests.unit.tree import A_MARK, grow

ID = "0c" * 32


def test_a_reading_is_dated_where_it_is_made(tmp_path: Path) -> None:
    """A pass that is held up between a group's file, a process' threads and /proc/stat dates each as it was read."""
    group = {"cgroup.procs": "7\n", "cpu.stat": "usage_usec 1\n"}
    files = {f"sys/fs/cgroup/system.slice/docker-{ID}.scope/{name}": text for name, text in group.items()}
    files |= {"sys/fs/cgroup/cgroup.controllers": "cpu\n", "proc/uptime": "10.0 10.0\n", "proc/stat": "cpu0 1 2 3 4\n"}
    files |= {MARK: A_MARK, "proc/7/status": "Name:\tx\n", "proc/7/task/7/schedstat": "1 2 3\n", "replies/processes.json": "[]"}
    root, began = grow(tmp_path, files), time.monotonic()
    sample = take(root, Config(root=str(tmp_path), only=("cgroup", "proc_task", "proc_sys", "proc_stat", "processes")), Caches())
    order = [began, *(sample.read_at[key] for key in (f"/system.slice/docker-{ID}.scope", UPTIME, 7, STAT)), time.monotonic()]
    assert order == sorted(order)


def test_a_calibration_that_was_asked_for_and_is_not_there_is_a_gap(tmp_path: Path) -> None:
    grow(tmp_path, {"proc/stat": "cpu0 1 1 1 1\n"})
    root, path = str(tmp_path), str(tmp_path / "calibration.json")

    def gaps(config: Config) -> set[tuple[str, str]]:
        return {(gap.source, gap.reason) for gap in take_snapshot(Session(root=SysRoot(root), config=config)).gaps}

    assert ("calibration", "absent") in gaps(Config(root=root, only=("proc_stat",), calibration=path))
    assert ("calibration", "absent") not in gaps(Config(root=root, only=("proc_stat",)))


def test_a_recording_of_two_passes_is_the_window_between_them(tmp_path: Path) -> None:
    group = f"/system.slice/docker-{ID}.scope"
    for directory, made_at, seconds, usage in ((tmp_path, 1700000000, 100.0, 1_000_000), (tmp_path / LATER, 1700000009, 104.0, 3_000_000)):
        mark = {"format": 2, "taken_at": made_at, "version": "0", "page_bytes": 4096, "inodes": {f"sys/fs/cgroup{group}": 5}}
        grow(
            directory,
            {
                MARK: json.dumps(mark | {"read_times": {UPTIME: seconds, group: seconds + 0.5}}),
                "sys/fs/cgroup/cgroup.controllers": "cpu\n",
                f"sys/fs/cgroup{group}/cgroup.procs": "7\n",
                f"sys/fs/cgroup{group}/cpu.stat": f"usage_usec {usage}\n",
                "proc/uptime": f"{seconds} {seconds}\n",
            },
        )
    config = Config(root=str(tmp_path), only=("cgroup", "proc_sys"))
    replayed = Session(root=SysRoot(tmp_path), config=config)
    window = take_window(replayed)
    assert (replayed.taken_at, window.seconds) == (1700000009, 4.0)
    (workload,) = window.after.workloads
    activity = window.activity(workload)
    assert activity is not None
    assert (activity.since_start, activity.group_seconds, activity.usage_seconds) == (False, 4.0, 2.0)


def test_two_passes_over_a_live_tree_are_one_window(tmp_path: Path) -> None:
    """Where nothing runs there is one pass; the second one knows what the first one read, and both are the session's."""
    group = f"sys/fs/cgroup/system.slice/docker-{ID}.scope"
    grow(tmp_path, {"sys/fs/cgroup/cgroup.controllers": "cpu\n", "proc/uptime": "10.0 10.0\n"})
    only = ("cgroup", "proc_sys")
    idle = Session(root=SysRoot(tmp_path), config=Config(root=str(tmp_path), only=only))
    window = take_window(idle)
    assert (window.before, window.seconds, idle.host) == (None, None, window.after)
    assert take_host(Session(root=SysRoot(tmp_path), config=idle.config)) == window.after
    grow(tmp_path, {f"{group}/cgroup.procs": "7\n", f"{group}/cpu.stat": "usage_usec 1\n"})
    session = Session(root=SysRoot(tmp_path), config=Config(root=str(tmp_path), only=only, interval_seconds=0.05))
    began = time.time()
    window = take_window(session)
    assert window.before is not None
    assert window.seconds is not None
    assert window.seconds >= 0.05
    assert session.taken_at >= began + 0.05
    assert (session.host, session.read_at) == (window.after, window.read_at)
    assert {*session.run.seconds} >= {*only}
    (workload,), (same,) = window.before.workloads, window.after.workloads
    assert (same.id, same.identity) == (workload.id, workload.identity)
