from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from agent import service, session
from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.snapshot import Snapshot
from agent.model.values import STAT, UPTIME
from agent.overhead.window import Window
from agent.session import Session
from collectors.root import LATER, MARK, SysRoot
from tests.unit.tree import A_MARK, grow

ID = "0c" * 32


def test_a_window_is_as_long_as_the_counters_ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A first pass that imports what it needs comes late to its counters; that delay is no part of the window."""
    delays = iter((0.5, 0.0))
    windows: list[float | None] = []
    read = list[float]()
    whole = session.snapshot_of

    def late(*_: object) -> None:
        time.sleep(next(delays))
        read.append(time.monotonic())

    def noted(window: Window, taken_at: float) -> Snapshot:
        windows.append(window.seconds)
        return whole(window, taken_at)

    monkeypatch.setattr("agent.collect.take.processes.read", late)
    monkeypatch.setattr(session, "snapshot_of", noted)
    monkeypatch.setattr(service, "FRESH_SECONDS", 0.0)
    served = service.Service(SysRoot(str(tmp_path)), Config(root=str(tmp_path)))
    served.metrics(False, 1.0)
    served.metrics(False, 1.0)
    assert windows[0] is None
    assert windows[1] is not None
    assert 0 < windows[1] < min(0.4, time.monotonic() - read[0])


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


def test_a_fresh_pass_is_not_shared_once_a_cpu_has_gone(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    grow(tmp_path, {f"{cpu}/online": "0-1\n", f"{cpu}/cpu0/topology/core_id": "0\n"})
    served = service.Service(SysRoot(tmp_path), Config(root=str(tmp_path), only=("hotplug", "sys_cpu")))
    assert b'strata_topology_objects{kind="thread"} 2' in served.metrics(False, 1.0)
    assert served.metrics(False, 1.0) == served.metrics(False, 1.0)
    grow(tmp_path, {f"{cpu}/online": "0\n"})
    assert b'strata_topology_objects{kind="thread"} 1' in served.metrics(False, 1.0)


def test_a_pass_that_could_not_tell_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.collect.statics._SETTLED_SECONDS", 0.0)
    cpu = "sys/devices/system/cpu"
    moving = {f"{cpu}/cpu0/hotplug/state": "100\n", f"{cpu}/cpu0/hotplug/target": "236\n", f"{cpu}/hotplug/states": "236: online\n"}
    grow(tmp_path, {f"{cpu}/online": "0\n", **moving})
    served = service.Service(SysRoot(tmp_path), Config(root=str(tmp_path), only=("hotplug", "sys_cpu")))
    assert b'strata_source_gap_info{source="sys_cpu",reason="late"} 1' in served.metrics(False, 1.0)
    grow(tmp_path, {f"{cpu}/cpu0/hotplug/state": "236\n"})
    assert b'strata_source_gap_info{source="sys_cpu",reason="late"} 1' not in served.metrics(False, 1.0)


def test_a_calibration_that_was_asked_for_and_is_not_there_is_a_gap(tmp_path: Path) -> None:
    grow(tmp_path, {"proc/stat": "cpu0 1 1 1 1\n"})
    root, path = str(tmp_path), str(tmp_path / "calibration.json")

    def gaps(config: Config) -> set[tuple[str, str]]:
        return {(gap.source, gap.reason) for gap in session.take_snapshot(Session(root=SysRoot(root), config=config)).gaps}

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
    window = session.take_window(replayed)
    assert (replayed.taken_at, window.seconds) == (1700000009, 4.0)
    (workload,) = window.after.workloads
    activity = window.activity(workload)
    assert activity is not None
    assert (activity.since_start, activity.group_seconds, activity.usage_seconds) == (False, 4.0, 2.0)
