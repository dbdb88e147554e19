"""collectors/processes.py: who a QEMU process is, and what of its command line leaves the reader."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.model.runtimes import identity_options
from agent.model.values import Detail
from collectors import processes
from collectors.processes import Process, ProcessCache, vm_identity
from collectors.root import SysRoot, Unavailable
from collectors.root.recorder import Recorder
from collectors.text import Malformed, ProcessStat
from tests.unit.tree import grow, malformed, recorded

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
OTHER = "0d9c5c1e-7d0f-4c0a-8f6b-0a3b6d1c2e4f"


@pytest.mark.parametrize(
    ("arguments", "identity"),
    [
        ([], (None, None)),
        (["qemu"], (None, None)),
        (["qemu", "-uuid", UUID], (UUID, None)),
        (["qemu", "-uuid", UUID.upper()], (UUID, None)),
        (["qemu", "-uuid"], (None, None)),
        (["qemu", "-uuid", "x"], (None, None)),
        (["qemu", "-uuid", f"{UUID}0"], (None, None)),
        (["qemu", "-uuid", f"{UUID}\n"], (None, None)),
        (["qemu", "-name", "guest=db,debug-threads=on", "-uuid", UUID], (UUID, "db")),
        (["qemu", "-name", "db"], (None, "db")),
        (["qemu", "-name", "db,process=x"], (None, "db")),
        (["qemu", "-name", "debug-threads=on,guest=db"], (None, "db")),
        (["qemu", "-name", "guest="], (None, "")),
        (["qemu", "-name", ""], (None, "")),
        (["qemu", "-name", "guest=a\udcff"], (None, "a\\xff")),
        (["qemu", "-name", "guest=" + "x" * 5000], (None, "x" * 256)),
        (["qemu", "-object", "secret,id=s,data=hunter2", "-name", "db"], (None, "db")),
        (["qemu", "-append", "-uuid", "password"], (None, None)),
        # A comma of the name's own is doubled.
        (["qemu", "-name", "guest=a,,b,debug-threads=on"], (None, "a,b")),
        (["qemu", "-name", "web,,,process=x"], (None, "web,")),
        (["qemu", "-name", "guest=old,guest=new"], (None, "new")),
        (["qemu", "--uuid", UUID, "--name", "db"], (UUID, "db")),
        # Proxmox.
        (["kvm", "-id", "101", "-name", "web01,debug-threads=on", "-smbios", f"type=1,uuid={UUID}"], (UUID, "web01")),
        (["kvm", "-id", "101", "-smbios", f"type=1,manufacturer=a,,b,uuid={UUID},base64=1"], (UUID, "101")),
        (["kvm", "-smbios", f"type=2,uuid={UUID}", "-smbios", "type=11,value=x"], (None, None)),
        (["qemu", "-smbios", f"type=1,uuid={UUID}", "-uuid", OTHER], (OTHER, None)),
        (["qemu", "-uuid", UUID, "-uuid", OTHER], (OTHER, None)),
    ],
)
def test_identity_of_qemu(arguments: list[str], identity: tuple[str | None, str | None]) -> None:
    assert vm_identity(identity_options("qemu-system-x86"), arguments) == identity


@pytest.mark.parametrize(
    ("process", "arguments", "identity"),
    [
        ("firecracker", ["firecracker", "--id", "fc-web", "--api-sock", "/run/fc.sock"], (None, "fc-web")),
        ("firecracker", ["/firecracker", "--id=fc-web"], (None, "fc-web")),
        ("firecracker", ["firecracker", "--api-sock", "/run/fc.sock"], (None, None)),
        ("cloud-hyperviso", ["ch", "--platform", f"num_pci_segments=2,uuid={UUID}"], (UUID, None)),
        ("cloud-hyperviso", ["ch", "--api-socket", "path=/run/ch/web.sock"], (None, "web")),
        ("cloud-hyperviso", ["ch", f"--platform=uuid={UUID}", "--api-socket=/run/ch/db"], (UUID, "db")),
        ("cloud-hyperviso", ["ch", "--api-socket", "fd=7"], (None, None)),
        ("crosvm", ["crosvm", "run", "--name", "web", "-s", "/run/crosvm/x.sock"], (None, "web")),
        ("crosvm", ["crosvm", "run", "-s", "/run/crosvm/web.sock", "vmlinux"], (None, "web")),
        ("lkvm", ["lkvm", "run", "--name", "web"], (None, "web")),
        ("stratovirt", ["stratovirt", "-name", "web", "-uuid", UUID], (UUID, "web")),
        # No monitor: nothing of its command line is an identity.
        ("backup-of-all-m", ["backup-of-all-machines", "-name", "hunter2", "-uuid", UUID, "--id", "3"], (None, None)),
    ],
)
def test_identity_of_other_monitors(process: str, arguments: list[str], identity: tuple[str | None, str | None]) -> None:
    assert vm_identity(identity_options(process), arguments) == identity


@pytest.mark.parametrize(
    ("process", "arguments", "kept"),
    [
        (
            "kvm",
            ["kvm", "-id", "101", "-smbios", f"type=1,serial=hunter2,uuid={UUID}"],
            ["kvm", "-id", "101", "-smbios", f"type=1,uuid={UUID}"],
        ),
        ("qemu", ["qemu", "-name", "a,,b,process=hunter2", "-vnc", ":0,password=hunter2"], ["qemu", "-name", "guest=a,,b"]),
        ("qemu", ["qemu", "-smbios", "type=11,value=hunter2", "-uuid", "hunter2"], ["qemu"]),
        ("cloud-hyperviso", ["ch", f"--platform=uuid={UUID},oem_strings=[hunter2]"], ["ch", "--platform", f"uuid={UUID}"]),
        ("firecracker", ["fc", "--id=web", "--metadata", "hunter2"], ["fc", "--id", "web"]),
        ("a-name-so-long-x", ["a-name-so-long-xyz", "-name", "hunter2", "--id", "hunter2"], ["a-name-so-long-xyz"]),
    ],
)
def test_of_a_command_line_identity_alone_is_kept(process: str, arguments: list[str], kept: list[str]) -> None:
    options = identity_options(process)
    data = processes._without_secrets(options)(b"".join(argument.encode() + b"\0" for argument in arguments))
    assert data == b"".join(argument.encode() + b"\0" for argument in kept)
    assert vm_identity(options, kept) == vm_identity(options, arguments)


def test_no_secret_of_a_command_line_leaves(tmp_path: Path) -> None:
    program = tmp_path / "qemu-unit-test"
    program.symlink_to(os.path.realpath(sys.executable))
    secrets = ["-object", "secret,id=s,data=hunter2", "-vnc", ":0,password=hunter2", "hunter2"]
    identity, stated = ["-name", "guest=db,debug-threads=on", "-uuid", UUID], ["-name", "guest=db", "-uuid", UUID]
    code = "import sys; print(); sys.stdout.flush(); sys.stdin.read()"
    command = [str(program), "-I", "-c", code, *secrets, *identity]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"TOKEN": "hunter2"}) as machine:
        try:
            assert machine.stdout is not None
            machine.stdout.readline()
            before = time.time()
            table = processes.ask(SysRoot("/"), ProcessCache())
            assert processes.ask(Recorder("/", tmp_path / "recording", before, "0"), ProcessCache())
        finally:
            machine.kill()
    assert "hunter2" not in str(table)
    kept = (tmp_path / "recording" / "proc" / str(machine.pid) / "cmdline").read_bytes().split(b"\0")
    assert kept == [os.fsencode(program), *map(os.fsencode, stated), b""]
    assert not [path for path in (tmp_path / "recording").rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    (mine,) = [process for process in table if process.pid == machine.pid]
    assert (mine.parent_pid, mine.name, mine.threads, mine.vm_uuid, mine.vm_name) == (os.getpid(), "qemu-unit-test", 1, UUID, "db")
    assert mine.exe == os.path.realpath(sys.executable)
    assert abs(before - mine.started_at) < 60


def test_the_table_of_this_host() -> None:
    (own,) = [process for process in processes.ask(SysRoot("/"), ProcessCache()) if process.pid == os.getpid()]
    assert (own.parent_pid, own.vm_uuid, own.vm_name) == (os.getppid(), None, None)
    assert own.threads is not None
    assert own.threads >= 1


def test_who_has_not_run_is_the_same_record() -> None:
    root, cache = SysRoot("/"), ProcessCache()
    with subprocess.Popen(
        [sys.executable, "-c", "input(); print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:

        def look(detail: Detail = "metrics") -> Process:
            return next(process for process in processes.ask(root, cache, detail) if process.pid == child.pid)

        try:
            assert child.stdin is not None
            assert child.stdout is not None
            while (first := look()) is not look() or first.stat is None or first.stat.state != "S":
                time.sleep(0.01)
            again, whole = look(), look("document")
            assert again is first
            assert whole.exe == os.path.realpath(sys.executable)
            assert (look().exe, look().threads) == (None, None)
            child.stdin.write(b"\n")
            child.stdin.flush()
            child.stdout.readline()
            ran = look()
        finally:
            child.kill()
    assert ran is not first
    assert (ran.pid, ran.started_at) == (first.pid, first.started_at)


def test_one_that_cannot_be_understood_costs_the_others_nothing(tmp_path: Path) -> None:
    class Proc(SysRoot):
        def inode(self, path: str) -> int | None:
            return 1 if path == "proc" else super().inode(path)

    line = "{} ({}) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 250 1000 1"
    files = {"proc/stat": "cpu 1\nbtime 1000\n", "proc/7/stat": line.format(7, "a) S (b"), "proc/8/stat": "8 nonsense"}
    grow(tmp_path, files | {"proc/9/stat": line.format(9, "qemu-system-x86"), "proc/9/cmdline": "", "proc/self/stat": "x"})
    root = Proc(tmp_path)
    # The ninth gave its memory back.
    (one,) = processes.ask(root, ProcessCache())
    assert one == Process(
        pid=7,
        parent_pid=1,
        name="a) S (b",
        started_at=1002.5,
        threads=3,
        stat=ProcessStat(name="a) S (b", state="S", parent_pid=1, threads=3, start_ticks=250, last_cpu=None),
    )
    assert malformed(root) == ["proc/8/stat"]


def test_a_recording_of_format_1_has_a_stat_without_names(tmp_path: Path) -> None:
    rows = '[{"pid": 7, "parent_pid": 1, "name": "x", "started_at": 1.5, "threads": 2, "stat": ["x", "S", 1, 2, 250, null]}]'
    (process,) = processes.read(recorded(tmp_path, {"replies/processes.json": rows}), ProcessCache())
    assert process.stat == ProcessStat(name="x", state="S", parent_pid=1, threads=2, start_ticks=250, last_cpu=None)


@pytest.mark.parametrize("stat", ["[]", '["x"]', "[1, 2, 3, 4, 5, 6, 7, 8]", "7", '["x", "S", 1, 2, 250, -1]'])
def test_a_bad_stat_in_a_recording_costs_its_process(tmp_path: Path, stat: str) -> None:
    rows = ", ".join(
        f'{{"pid": {pid}, "parent_pid": 1, "name": "x", "started_at": 1.5, "threads": 2, "stat": {text}}}'
        for pid, text in ((6, '["x", "S", 1, 2, 250, 3]'), (7, stat), (8, "null"))
    )
    root = recorded(tmp_path, {"replies/processes.json": f"[{rows}]"})
    assert [process.pid for process in processes.read(root, ProcessCache())] == [6, 8]
    assert malformed(root) == ["replies/processes.json"]


def test_a_recorded_table_that_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r"replies/processes\.json"):
        processes.read(recorded(tmp_path, {"replies/processes.json": '[{"pid": 7, "stat": [}]'}), ProcessCache())


def test_another_root_has_its_own_table(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no process file system"):
        processes.read(SysRoot(tmp_path), ProcessCache())
    root = recorded(tmp_path, {"replies/processes.json": '[{"pid": 7, "parent_pid": 1, "name": "x", "started_at": 1.5, "threads": 2}]'})
    assert processes.read(root, ProcessCache()) == (Process(pid=7, parent_pid=1, name="x", started_at=1.5, threads=2),)
