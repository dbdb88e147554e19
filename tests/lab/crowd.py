"""Many containers without an engine: control groups of this host named as an engine names them, one sleeping process in each.

Only directories below our own are made, in the v1 hierarchies that the agent reads or in v2, and all of them are removed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

TOP = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids")

# Forks as many as it is told and says who they are; they sleep until their parent is gone.
SLEEPERS = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        libc.prctl(1, signal.SIGKILL)
        while True:
            signal.pause()
    print(pid, flush=True)
sys.stdin.read()
"""


def hierarchies() -> tuple[Path, ...]:
    """Where groups are made: one directory a v1 controller, or v2's one; none where this user may not."""
    v1 = tuple(TOP / name for name in CONTROLLERS if (TOP / name / "cgroup.procs").is_file())
    return tuple(place for place in v1 or (TOP,) if os.access(place, os.W_OK))


def name_of(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


class Crowd:
    """Groups below `/NAME/docker` in each hierarchy."""

    def __init__(self, name: str) -> None:
        self.tops = tuple(place / name for place in hierarchies())
        for top in self.tops:
            for place in (top, top / "docker"):
                enable(place.parent)
                place.mkdir()
                inherit(place)
            enable(top / "docker")

    def add(self, number: int, pid: int | None = None) -> str:
        """The id of a new container, with a process in it."""
        id_ = name_of(number)
        for top in self.tops:
            place = top / "docker" / id_
            place.mkdir()
            if pid is not None:
                inherit(place)
                (place / "cgroup.procs").write_text(str(pid))
        return id_

    def remove(self, number: int) -> None:
        for top in self.tops:
            (top / "docker" / name_of(number)).rmdir()

    def clear(self) -> None:
        for top in self.tops:
            for place, _, _ in os.walk(top, topdown=False):
                with suppress(FileNotFoundError):
                    Path(place).rmdir()


def enable(place: Path) -> None:
    """A v2 group has the files of those controllers only that are enabled above it."""
    if (place / "cgroup.controllers").is_file():
        names = (place / "cgroup.controllers").read_text().split()
        (place / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names))


def inherit(place: Path) -> None:
    """A v1 cpuset begins empty, and takes no process then."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (place / name).is_file() and "cpuset" in place.parts:
            (place / name).write_text((place.parent / name).read_text())


@contextmanager
def sleepers(count: int) -> Iterator[list[int]]:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", SLEEPERS, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout
            yield [int(parent.stdout.readline()) for _ in range(count)]
        finally:
            parent.send_signal(signal.SIGKILL)


@contextmanager
def crowd(name: str, count: int) -> Iterator[Crowd]:
    """`count` containers with a process each."""
    made = Crowd(name)
    try:
        with sleepers(count) as pids:
            for number, pid in enumerate(pids):
                made.add(number, pid)
            yield made
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    finally:
        _emptied(made)
        made.clear()


def churn(name: str, seconds: float, a_second: int, alive: int = 50) -> tuple[int, int]:
    """Containers that come and go at a pace: each lives until `alive` younger ones are there. How many were made, and removed."""
    made, removed = Crowd(name), 0
    try:
        with sleepers(alive) as pids:
            began, number = time.monotonic(), 0
            while time.monotonic() < began + seconds:
                # A process goes from the oldest container into the newest.
                made.add(number, pids[number % alive])
                number += 1
                if number > alive:
                    made.remove(removed)
                    removed += 1
                time.sleep(max(0.0, began + number / a_second - time.monotonic()))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        _emptied(made)
        for left in range(removed, number):
            made.remove(left)
        return number, number
    finally:
        _emptied(made)
        made.clear()


def _emptied(made: Crowd) -> None:
    """Waits until the groups have let go of processes that were killed; groups with one are not removed."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends and any(
        (place / "cgroup.procs").read_text() for top in made.tops[:1] for place in (top / "docker").iterdir() if place.is_dir()
    ):
        time.sleep(0.05)


if __name__ == "__main__":
    print(*churn(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
