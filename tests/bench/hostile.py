"""What an unprivileged user can make of a scrape: on a quiet host, and beside processes and groups that somebody made large."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agent.config import Config
from agent.service import Service, collect_rarely
from collectors.root import SysRoot
from tests.lab.crowd import Crowd, hierarchies, name_of

MAPPED, MAPPINGS = 20, 65_000
PROGRAMS, PROGRAM_BYTES = 2, 511 << 20
GROUPS, THREADS = 2000, 10_000
QUIET_SCRAPES, HOSTILE_SCRAPES = 7, 12
NOBODY = 65534

# The interpreter may be root's alone, so that rights are given up once it runs.
UNPRIVILEGED = f"""
import ctypes, os, sys, threading, time
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
"""

# Maps a library that is called as wasmtime's, and so many mappings; one more comes and goes twice a second.
MANY_MAPPINGS = """
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes += [ctypes.c_int]
libc.mmap(None, 4096, 5, 2, os.open(sys.argv[1], os.O_RDONLY), 0)
base = libc.mmap(None, int(sys.argv[2]) << 16, 0, 0x4022, -1, 0)
for number in range(0, int(sys.argv[2]), 2):
    libc.mprotect(base + (number << 16), 1 << 16, 3)
print(flush=True)
while True:
    more = libc.mmap(None, 8192, 3, 0x4022, -1, 0)
    time.sleep(0.5)
    libc.munmap(more, 8192)
    time.sleep(0.5)
"""

# Reserves address space as wasmtime does for a memory, with two pages of it open.
ONE_MEMORY = """
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
base = libc.mmap(None, (4 << 30) + (64 << 20), 0, 0x4022, -1, 0)
libc.mprotect(base + (32 << 20), 1 << 17, 3)
print(flush=True)
time.sleep(3600)
"""

MANY_THREADS = """
threading.stack_size(1 << 16)
for _ in range(int(sys.argv[1]) - 1):
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
print(flush=True)
time.sleep(3600)
"""


@contextmanager
def running(program: Path, code: str, *arguments: str) -> Iterator[int]:
    """A process of an unprivileged user that runs a copy of this interpreter, once it has said that it is ready."""
    command = [str(program), "-c", UNPRIVILEGED + code, *arguments]
    env = {"PATH": os.defpath, "PYTHONHOME": sys.base_prefix}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
        try:
            assert process.stdout
            if not process.stdout.readline():
                raise RuntimeError(f"{program} did not start")
            yield process.pid
        finally:
            process.kill()


@contextmanager
def nested(crowd: Crowd) -> Iterator[None]:
    """Groups within a container's group, each in the one before."""
    deepest = []
    try:
        for top in crowd.tops:
            place = os.open(top / "docker" / name_of(0), os.O_DIRECTORY)
            for _ in range(GROUPS // len(crowd.tops)):
                os.mkdir("a", dir_fd=place)
                deepest.append(place)
                place = os.open("a", os.O_DIRECTORY, dir_fd=place)
            os.close(place)
        yield
    finally:
        for place in reversed(deepest):
            os.rmdir("a", dir_fd=place)
            os.close(place)


@contextmanager
def hostile(directory: Path) -> Iterator[None]:
    directory.chmod(0o755)
    python = Path(sys.executable).resolve()
    library = directory / "libwasmtime.so"
    shutil.copy("/bin/true", library)
    with ExitStack() as stack:
        crowd = Crowd("stratascope-hostile")
        stack.callback(crowd.clear)
        for _ in range(MAPPED):
            stack.enter_context(running(python, MANY_MAPPINGS, str(library), str(MAPPINGS)))
        for number in range(PROGRAMS):
            program = directory / f"embedder-{number}"
            shutil.copy(python, program)
            os.truncate(program, PROGRAM_BYTES)
            stack.enter_context(running(program, ONE_MEMORY))
        crowd.add(0, stack.enter_context(running(python, MANY_THREADS, str(THREADS))))
        stack.enter_context(nested(crowd))
        yield


def scrapes(service: Service, count: int) -> list[tuple[float, float]]:
    """Seconds of wall clock and of CPU of each."""
    times = []
    for _ in range(count):
        time.sleep(1.1)
        wall, cpu = time.monotonic(), time.process_time()
        service.metrics(False, 9.5)
        times.append((time.monotonic() - wall, time.process_time() - cpu))
    return times


def main() -> None:
    if os.geteuid() or not hierarchies():
        print("\nhostile: needs root, and the right to make control groups", file=sys.stderr)
        return
    collect_rarely()
    service = Service(SysRoot("/"), Config())
    quiet = scrapes(service, QUIET_SCRAPES)[2:]
    with tempfile.TemporaryDirectory() as directory, hostile(Path(directory)):
        busy = scrapes(service, HOSTILE_SCRAPES)
        snapshot, _ = service.latest(9.5)
    worst_quiet, worst = [max(times) for times in zip(*quiet, strict=True)], [max(times) for times in zip(*busy, strict=True)]
    print(f"\nhostile: {MAPPED} processes of {MAPPINGS} mappings, {PROGRAMS} programs of 511 MiB, {GROUPS} groups, {THREADS} threads")
    for name, index in (("wall clock", 0), ("CPU time", 1)):
        each = ", ".join(f"{times[index]:.2f}" for times in busy)
        more = worst[index] - worst_quiet[index]
        print(f"  {name}: the worst scrape {worst[index]:.2f} s, on a quiet host {worst_quiet[index]:.2f} s: {more:+.2f} s; in turn {each}")
    for gap in snapshot.gaps:
        if gap.reason == "late":
            print(f"  late: {gap.source}: {gap.detail}")


if __name__ == "__main__":
    main()
