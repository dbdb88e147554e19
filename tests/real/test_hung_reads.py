"""Reads of a hung FUSE file system, of whose files one stands below the root, or where a process has its arguments: no scrape waits."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.config import Config
from agent.model.values import Detail, Gap
from agent.service import Service
from agent.session import Session, take_sample
from collectors.root import SysRoot
from tests.need import FUSEPY, need
from tests.unit.tree import grow

ANSWERS_WITHIN = 5.0
"""Of the ten seconds that a scrape has, on a machine that does other things, too."""


@contextmanager
def hanging(place: Path) -> Iterator[Path]:
    """A mounted file system; the path of its file whose read does not return."""
    need(FUSEPY, root=True)
    place.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen(["/usr/bin/python3", str(Path(__file__).with_name("fuse_that_hangs.py")), str(place)])
    try:
        for _ in range(100):
            if os.path.ismount(place):
                break
            time.sleep(0.1)
        else:
            pytest.fail("not mounted")
        yield place / "hangs"
    finally:
        # With its server all requests fail, and what waits for them goes on.
        server.kill()
        server.wait(10)
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def hung_process(prepare: Callable[[int], None]) -> Iterator[int]:
    """A process called like a monitor, whose page of arguments `prepare` replaces. Its caller never looks at them again."""
    ready, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            # Field 48: where the arguments begin (proc_pid_stat(5)).
            arguments = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45])
            ctypes.CDLL(None).prctl(15, b"qemu-system-x86", 0, 0, 0)  # PR_SET_NAME
            prepare(arguments & -mmap.PAGESIZE)
            os.write(ready_write, b"x")
            time.sleep(600)
        os._exit(1)
    os.close(ready_write)
    try:
        assert os.read(ready, 1) == b"x"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def map_page(address: int, flags: int, fd: int = -1) -> None:
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    fixed = 0x10
    assert libc.mmap(address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, flags | fixed, fd, 0) == address


def of_file(file: Path) -> Callable[[int], None]:
    """A page of a file. Since Linux 4.17 the kernel reads no command line out of a file (CVE-2018-1120)."""
    return lambda address: map_page(address, mmap.MAP_PRIVATE, os.open(file, os.O_RDONLY))


def late(gaps: tuple[Gap, ...]) -> list[tuple[str, str]]:
    return [(gap.source, gap.detail) for gap in gaps if gap.reason == "late"]


@pytest.mark.parametrize(
    ("place", "source"),
    [("proc/pressure", "proc_pressure"), ("sys/fs/cgroup/user.slice", "cgroup"), ("run/runc/box", "oci")],
)
def test_a_file_below_the_root_that_is_never_read(tmp_path: Path, place: str, source: str) -> None:
    names = {"proc_pressure": "cpu", "cgroup": "cgroup.controllers", "oci": "state.json"}
    root = tmp_path / "root"
    grow(
        root,
        {
            "proc/loadavg": "1.00 2.00 3.00 1/200 4711\n",
            "proc/1/mountinfo": "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu\n",
            "sys/fs/cgroup/system.slice/a.service/cgroup.procs": "1\n",
        },
    )
    with hanging(tmp_path / "mount") as file:
        (root / place).mkdir(parents=True)
        hung = root / place / names[source]
        hung.touch()
        subprocess.run(["mount", "--bind", str(file), str(hung)], check=True)
        try:
            served = Service(SysRoot(root), Config(root=str(root), only=(source, "proc_sys")))
            for _ in range(3):
                began = time.monotonic()
                snapshot, _ = served.latest(9.5)
                assert time.monotonic() - began < ANSWERS_WITHIN
                ((where, detail),) = late(snapshot.gaps)
                assert where == source
                assert f"{place}/{names[source]}: a read of it has not returned" in detail
                time.sleep(1.1)
        finally:
            subprocess.run(["umount", "-l", str(hung)], check=True)


@contextmanager
def monitor(place: Path, uuid: str) -> Iterator[int]:
    """A process that states the UUID of a machine, as QEMU does."""
    program = place / "qemu-system-x86_64"
    shutil.copy(shutil.which("sh") or "/bin/sh", program)
    with subprocess.Popen([program, "-c", "read x", "sh", "-uuid", uuid], stdin=subprocess.PIPE) as process:
        try:
            yield process.pid
        finally:
            process.kill()


UUID = "11111111-2222-4333-8444-555555555555"


def test_a_command_line_in_a_file_that_is_never_read(tmp_path: Path) -> None:
    config = Config(only=("processes", "wasm_maps", "proc_task"))
    with monitor(tmp_path, UUID) as beside, hanging(tmp_path / "mount") as file, hung_process(of_file(file)):
        kinds: tuple[Detail, ...] = ("metrics", "document")
        for detail in kinds:
            began = time.monotonic()
            sample = take_sample(Session(root=SysRoot("/"), config=config), detail)
            assert time.monotonic() - began < ANSWERS_WITHIN
            assert UUID in {process.vm_uuid for process in sample.workloads.processes or () if process.pid == beside}
