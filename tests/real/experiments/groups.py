"""Control groups of our own and busy processes in them: what the kernel's scheduler is asked with.

All of them lie below one group of the greatest weight, so that whoever else is on the machine takes little from them, and what it takes
at most is known.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from agent.overhead.shares import Entity, shares

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")

Work = Callable[[int], object]
"""What a process does; it is told where to write its answers."""


@dataclass(frozen=True)
class Group:
    path: Path
    v1: bool

    @contextlib.contextmanager
    def child(self, name: str, weight: float = 100) -> Iterator[Group]:
        """`weight` as of v2; v1 counts 1024 where v2 counts 100."""
        if not self.v1:
            (self.path / "cgroup.subtree_control").write_text("+cpu")
        made = Group(self.path / name, self.v1)
        made.path.mkdir()
        try:
            made.weigh(weight)
            yield made
        finally:
            _remove(made.path)

    def weigh(self, weight: float) -> None:
        if self.v1:
            (self.path / "cpu.shares").write_text(str(max(2, min(262144, round(weight * 10.24)))))
        else:
            (self.path / "cpu.weight").write_text(str(round(weight)))

    def limit(self, quota_usec: int, period_usec: int, burst_usec: int = 0) -> None:
        if self.v1:
            (self.path / "cpu.cfs_period_us").write_text(str(period_usec))
            (self.path / "cpu.cfs_quota_us").write_text(str(quota_usec))
            if burst_usec:
                (self.path / "cpu.cfs_burst_us").write_text(str(burst_usec))
            return
        (self.path / "cpu.max").write_text(f"{quota_usec} {period_usec}")
        if burst_usec:
            (self.path / "cpu.max.burst").write_text(str(burst_usec))

    def counters(self) -> tuple[int, int, float]:
        """Periods, those with throttling, seconds of it."""
        found = {key: int(value) for key, value in map(str.split, (self.path / "cpu.stat").read_text().splitlines())}
        stopped = found["throttled_time"] * 1e-9 if "throttled_time" in found else found["throttled_usec"] * 1e-6
        return found["nr_periods"], found["nr_throttled"], stopped


@contextlib.contextmanager
def heavy() -> Iterator[Group]:
    """A group right below the root that weighs as much as a group may."""
    v1 = (_V1 / "cpu.shares").exists()
    base = Group(_V1 if v1 else _V2, v1)
    name, most, before = f"stratascope-experiments-{os.getpid()}", 25600 if v1 else 10000, _own(v1)
    with contextlib.ExitStack() as stack:
        try:
            group = stack.enter_context(base.child(name, most))
            # Who measures must not starve beside it.
            watcher = stack.enter_context(base.child(f"{name}-watcher", most))
            (watcher.path / "cgroup.procs").write_text("0")
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        stack.callback((base.path / before / "cgroup.procs").write_text, "0")
        yield group


def heaviest(name: str, heavy: bool = True) -> None:
    """The same for a group right below the root that somebody else made for us; or as heavy as any again."""
    v1 = (_V1 / "cpu.shares").exists()
    group = Group((_V1 if v1 else _V2) / name, v1)
    if group.path.is_dir():
        group.weigh((25600 if v1 else 10000) if heavy else 1024 if v1 else 100)


def _own(v1: bool) -> str:
    """Our own group in the hierarchy of the CPU controller."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if ("cpu" in controllers.split(",")) if v1 else not controllers:
            return path.strip("/")
    return ""


WEIGHT = 256.0 if (_V1 / "cpu.shares").exists() else 100.0
"""Of that group, in groups of default weight."""


def _remove(path: Path) -> None:
    """The kernel lets go of a process some time after it was waited for."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            path.rmdir()
            return
        time.sleep(0.02)
    path.rmdir()


@dataclass(frozen=True)
class Load:
    """Of the others, before an experiment: how many tasks ran or waited at most."""

    tasks: float


def load(seconds: float = 0.25) -> Load:
    began, tasks = time.monotonic(), []
    while time.monotonic() < began + seconds:
        tasks.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1)
        time.sleep(0.02)
    return Load(max(1.0, max(tasks)))


def idle_seconds(cpus: list[int]) -> float:
    """How long nobody ran on these CPUs, in steps of 10 ms."""
    lines = {line.split()[0]: line.split()[1:] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu")}
    return sum(int(lines[f"cpu{cpu}"][field]) for cpu in cpus for field in (3, 4)) / 100


def taken(found: Load, demand: float, cpus: float) -> float:
    """CPUs that the others can take from the heavy group at most, each of their tasks a group of default weight that never sleeps."""
    others = tuple(Entity(1.0, 1.0) for _ in range(round(found.tasks) + 1))
    return demand - shares(cpus, Entity(1.0, children=(Entity(WEIGHT, demand), *others)))[0]


@dataclass(frozen=True)
class Counters:
    run: float
    delay: float
    slices: int

    def since(self, before: Counters) -> Counters:
        return Counters(self.run - before.run, self.delay - before.delay, self.slices - before.slices)


@dataclass(frozen=True)
class Process:
    pid: int
    answers: int

    def counters(self) -> Counters:
        run, delay, slices = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()
        return Counters(int(run) * 1e-9, int(delay) * 1e-9, int(slices))

    def answer(self) -> float:
        found: tuple[float] = struct.unpack("d", os.read(self.answers, 8))
        return found[0]


@contextlib.contextmanager
def running(work: Work, cpus: list[int], group: Group) -> Iterator[Process]:
    """A process of one thread, forked: it is in its group before it begins, and ends with us."""
    mine, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(work, cpus, group, its)
    os.close(its)
    try:
        made = Process(pid, mine)
        made.answer()
        yield made
    finally:
        os.close(mine)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _child(work: Work, cpus: list[int], group: Group, answers: int) -> NoReturn:
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.sched_setaffinity(0, cpus)
        (group.path / "cgroup.procs").write_text("0")
        os.write(answers, struct.pack("d", 0.0))
        work(answers)
    finally:
        os._exit(0)


def busy(_: int) -> NoReturn:
    while True:
        pass


def burn(cpu_seconds: float) -> None:
    end = time.thread_time() + cpu_seconds
    while time.thread_time() < end:
        pass


def in_turn(run_seconds: float, sleep_seconds: float) -> Work:
    """Runs and sleeps for ever."""

    def work(_: int) -> NoReturn:
        while True:
            burn(run_seconds)
            time.sleep(sleep_seconds)

    return work


def requests(cpu_seconds: float, gaps: list[float]) -> Work:
    """Sleeps, runs for so long of CPU time, and says how long that took."""

    def work(answers: int) -> None:
        for gap in gaps:
            time.sleep(gap)
            began = time.monotonic()
            burn(cpu_seconds)
            os.write(answers, struct.pack("d", time.monotonic() - began))

    return work
