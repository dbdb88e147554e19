"""The live process table: who is there, since when, running what, with how many threads; /proc/PID/stat, and no more of most.

Source: Documentation/filesystems/proc.rst, table 1-4. psutil, which tells the same, takes four times as long.
It finds candidates and identities; no figure of the host or of a workload comes from it.
Command lines hold secrets: of them only a virtual machine's uuid and name leave this module, and the name that the kernel cut.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import cast

from agent.model.values import USER_HZ, Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, Stat, printable, process_stat

_CUT = 15
"""Characters of a name that the kernel keeps (TASK_COMM_LEN)."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


# Kernel threads that work for one process, whose number stands in their names.
_SERVANT = re.compile(r"(?:vhost|kvm-pit|kvm-nx-lpage-recovery)[-/](\d{1,10})")


class Process(Fact, frozen=True, kw_only=True):
    """One process. `exe` is None for kernel threads and where ptrace access is missing."""

    pid: int
    parent_pid: int
    name: str
    started_at: float
    threads: int | None
    exe: str | None = None
    vm_uuid: str | None = None
    vm_name: str | None = None
    stat: Stat | None = None
    """As the kernel wrote it, with the name that it cut."""


def read(root: SysRoot, whole: bool = True) -> tuple[Process, ...]:
    """The table; `whole` with what only documents show of it: executables, and counts of threads."""
    return root.reply("processes", tuple[Process, ...], lambda: ask(root, whole))


def ask(root: SysRoot, whole: bool = True) -> tuple[Process, ...]:
    # The root of procfs is inode 1: a tree without it has no table, whatever files it has of one.
    if root.inode("proc") != 1:
        raise Unavailable("absent", f"{root.path}: proc is no process file system", "mount the host's /proc there")
    booted = re.search(r"^btime (\d{1,15})$", root.require("proc/stat"), re.MULTILINE)
    if booted is None:
        raise Unavailable("unsupported", "proc/stat: no btime", None)
    # Processes end while they are read, and other users' refuse: that is no gap of the table.
    quiet = root.watch()
    before, now = cast("dict[str, tuple[bytes, Process]]", root.last.get("processes", {})), dict[str, tuple[bytes, Process]]()
    for number in quiet.names("proc"):
        data = quiet.raw(f"proc/{number}/stat") if number.isdecimal() else None
        if not data:
            continue
        if not whole and number in before and before[number][0] == data:
            # It has not run since, and is what it was.
            now[number] = before[number]
            continue
        try:
            told = quiet.parse_bytes(f"proc/{number}/stat", data, process_stat)
        except Malformed as error:
            root.note(f"proc/{number}/stat", "failed", error.detail)
            continue
        pid, name, parent = int(number), told.name, told.parent_pid
        uuid = vm_name = exe = None
        # Kernel threads are children of kthreadd, pid 2, and have no executable.
        if parent != 2 and pid != 2:
            exe = (quiet.link(f"proc/{pid}/exe") or "").removesuffix(" (deleted)") or None if whole else None
            if len(name) >= _CUT or name.startswith(("qemu", "kvm")):
                arguments = _arguments(quiet.raw(f"proc/{pid}/cmdline", _without_secrets))
                if name.startswith(("qemu", "kvm")):
                    if arguments == []:
                        # Its memory is gone and it will be: what it still has open makes no machine.
                        continue
                    uuid, vm_name = vm_identity(arguments or [])
                program = arguments[0].rpartition("/")[2] if arguments else ""
                name = printable(program) if len(name) >= _CUT and program.startswith(name) else name
        threads, started_at = told.threads if whole else None, int(booted[1]) + told.start_ticks / USER_HZ
        now[number] = (
            data,
            Process(
                pid=pid,
                parent_pid=parent,
                name=name,
                started_at=started_at,
                threads=threads,
                exe=exe,
                vm_uuid=uuid,
                vm_name=vm_name,
                stat=told,
            ),
        )
    root.last["processes"] = {} if whole else now
    return tuple([process for _, process in now.values()])


def _without_secrets(data: bytes) -> bytes:
    """Of a command line the program, and the values of -uuid and -name. A recording holds no more, either."""
    arguments = data.split(b"\0")[:-1]
    kept = arguments[:1]
    for option, value in pairwise(arguments):
        if option == b"-name" or (option == b"-uuid" and _UUID.fullmatch(value.decode("ascii", "replace"))):
            kept += (option, value)
    return b"".join(argument + b"\0" for argument in kept)


def _arguments(data: bytes | None) -> list[str] | None:
    """None where they were refused; none of a process that gave its memory back."""
    return None if data is None else [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")[:-1]]


def served(process: Process) -> int | None:
    """The process that a kernel thread works for: "vhost-4711", "kvm-pit/4711" (vhost_dev_set_owner(), kvm_create_pit())."""
    match = _SERVANT.fullmatch(process.name) if process.parent_pid == 2 else None
    return int(match[1]) if match else None


def vm_identity(arguments: list[str]) -> tuple[str | None, str | None]:
    """The values of QEMU's -uuid and -name (`guest=` in its list of options)."""
    uuid = name = None
    for option, value in pairwise(arguments):
        if option == "-uuid" and _UUID.fullmatch(value):
            uuid = value.lower()
        elif option == "-name":
            options = value.split(",")
            name = printable(next((part[6:] for part in options if part.startswith("guest=")), options[0]))[:256]
    return uuid, name
