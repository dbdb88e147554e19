"""agent/collect/hung.py: reads that never return are left behind, each with its file; a scrape has its answer in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.collect import hung
from agent.config import Config
from agent.model.values import Gap
from agent.service import Service
from agent.session import Session, take_sample
from collectors.root import SysRoot, Tree
from tests.unit.tree import grow

UUID = "11111111-2222-4333-8444-555555555555"


class HangingTree(Tree):
    """A tree of which reads of some files wait until they are let go."""

    def __init__(self, tree: Tree, *paths: str) -> None:
        self.fd, self.origin = tree.fd, tree
        self.paths = paths
        self.go = threading.Event()

    def read(self, path: str) -> bytes:
        data = super().read(path)
        if path in self.paths:
            self.go.wait(60)
        return data


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hung, "_POLL_SECONDS", 0.05)


def late(gaps: tuple[Gap, ...]) -> list[tuple[str, str]]:
    return [(gap.source, gap.detail) for gap in gaps if gap.reason == "late"]


@pytest.fixture
def monitor() -> Iterator[int]:
    """A process that says of itself that it is a machine's."""
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b'qemu-system-x86', 0, 0, 0); print(flush=True); input()"
    command = [sys.executable, "-c", code, "-uuid", UUID]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_a_command_line_that_is_never_read(monitor: int) -> None:
    """Its process is there, under the name that the kernel has; once the read returns, it is read again."""
    path = f"proc/{monitor}/cmdline"
    tree = HangingTree(Tree(), path)
    session = Session(root=SysRoot("/", tree), config=Config(only=("processes", "proc_stat")))
    for _ in range(3):
        sample = take_sample(session, "metrics")
        (process,) = [process for process in sample.workloads.processes or () if process.pid == monitor]
        assert (process.name, process.vm_uuid) == ("qemu-system-x86", None)
        assert late(sample.gaps) == [("processes", f"{path}: a read of it has not returned")]
        assert sample.host.stat is not None
    assert list(session.caches.hung.threads) == [path]
    (thread,) = session.caches.hung.threads.values()
    tree.go.set()
    thread.join(5)
    assert not thread.is_alive()
    sample = take_sample(session)
    assert UUID in {process.vm_uuid for process in sample.workloads.processes or ()}
    assert late(sample.gaps) == []


def test_a_machine_whose_command_line_hangs_later_is_the_machine_that_it_was(monitor: int) -> None:
    path = f"proc/{monitor}/cmdline"
    tree = HangingTree(Tree(), path)
    tree.go.set()
    session = Session(root=SysRoot("/", tree), config=Config(only=("processes", "proc_stat")))
    take_sample(session, "metrics")
    tree.go.clear()
    os.kill(monitor, signal.SIGSTOP)  # Its stat changes.
    try:
        for _ in range(2):
            sample = take_sample(session, "metrics")
            assert [process.vm_uuid for process in sample.workloads.processes or () if process.pid == monitor] == [UUID]
            assert late(sample.gaps) == [("processes", f"{path}: a read of it has not returned")]
    finally:
        os.kill(monitor, signal.SIGCONT)
        tree.go.set()


@pytest.mark.parametrize("name", ["cmdline", "maps", "smaps_rollup"])
def test_what_needs_the_same_lock_is_not_read(name: str) -> None:
    path = f"proc/{os.getpid()}/{name}"
    threads = hung.HungReads()
    tree = HangingTree(Tree(), path)
    root = SysRoot("/", tree)

    def read(door: SysRoot) -> dict[str, bool]:
        door = door.watch()
        names = (name, "cmdline", "maps", "smaps_rollup", "stat", "status")
        return {name: door.raw(f"proc/{os.getpid()}/{name}") is not None for name in names}

    answers = hung.supervised(root, read, threads)
    tree.go.set()
    assert answers == {"cmdline": False, "maps": False, "smaps_rollup": False, "stat": True, "status": True}


def test_files_beside_one_that_hangs_are_not_tried(tmp_path: Path) -> None:
    """They are of the same file system, more likely than not: each would take as long."""
    box = "run/runc/box"
    grow(tmp_path, {f"{box}/a": "1", f"{box}/b": "2", "run/runc/other/a": "3", "proc/uptime": "4"})
    threads = hung.HungReads()
    tree = HangingTree(Tree.at(tmp_path), f"{box}/a", f"{box}/b")

    def read(door: SysRoot) -> list[str | None]:
        return [door.text(path) for path in (f"{box}/a", f"{box}/b", "run/runc/other/a", "proc/uptime")]

    assert hung.supervised(SysRoot(tmp_path, tree), read, threads) == [None, None, "3", "4"]
    assert len(threads.threads) == 1
    tree.go.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_pass_that_breaks_is_not_waited_for() -> None:
    def read(_: SysRoot) -> None:
        raise ValueError("x")

    with pytest.raises(RuntimeError, match="a pass has failed"):
        hung.supervised(SysRoot(), read, hung.HungReads())


def test_a_scrape_with_little_time_gets_the_last_answer_and_its_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, {"proc/loadavg": "1.00 2.00 3.00 1/200 4711\n"})
    tree = HangingTree(Tree.at(tmp_path), "proc/loadavg")
    tree.go.set()
    monkeypatch.setattr("agent.service.FRESH_SECONDS", 0.0)
    monkeypatch.setattr("agent.service.MIN_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(hung, "_POLL_SECONDS", 0.3)
    served = Service(SysRoot(tmp_path, tree), Config(root=str(tmp_path), only=("proc_sys",)))
    first, _ = served.latest(5.0)
    tree.go.clear()
    began = time.monotonic()
    second, _ = served.latest(0.2)
    assert time.monotonic() - began < 1.0
    assert second.taken_at == first.taken_at
    ((source, detail),) = late(second.gaps)
    assert source == "pass"
    assert "s old" in detail
    # Whoever has time waits for the pass that goes on, without the file.
    third, _ = served.latest(9.0)
    assert third.taken_at > first.taken_at
    tree.go.set()
