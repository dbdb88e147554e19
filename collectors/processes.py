"""The live process table, through psutil: who is there, since when, running what, with how many threads.

It finds candidates and identities; no figure of the host or of a workload comes from it (it turns what is missing into 0).
Command lines hold secrets: of them only a virtual machine's uuid and name leave this module.
"""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import pairwise

from agent.model.values import Fact
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import printable

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


# Kernel threads that work for one process, whose number stands in their names.
_SERVANT = re.compile(r"(?:vhost|kvm-pit|kvm-nx-lpage-recovery)[-/](\d{1,10})")


class Process(Fact, frozen=True):
    """One process. `exe` is None for kernel threads and where ptrace access is missing."""

    pid: int
    parent_pid: int
    name: str
    started_at: float
    threads: int | None
    exe: str | None = None
    vm_uuid: str | None = None
    vm_name: str | None = None


def read(root: SysRoot, whole: bool = True) -> tuple[Process, ...]:
    """The table; `whole` with what only documents show of it: executables, and counts of threads."""
    return root.reply("processes", tuple[Process, ...], lambda: ask(root, whole))


def ask(root: SysRoot, whole: bool = True) -> tuple[Process, ...]:
    # psutil opens by path what it finds: below a root that somebody filled that may be a FIFO. The root of procfs is inode 1.
    if root.inode("proc") != 1:
        raise Unavailable("absent", f"{root.path}: proc is no process file system", "mount the host's /proc there")
    import psutil

    # Of another root psutil reads that one's table, never this host's in place of it.
    psutil.PROCFS_PATH = f"{root.path.rstrip('/')}/proc"
    found = []
    for process in psutil.process_iter(["pid", "ppid", "name", "create_time", *(["num_threads"] if whole else [])]):
        info = process.info
        if info["name"] is None or info["create_time"] is None:
            continue
        uuid = name = exe = None
        if info["ppid"] != 2 and info["pid"] != 2:
            # Kernel threads are children of kthreadd, pid 2, and have no executable.
            if whole:
                with suppress(psutil.Error):
                    exe = process.exe() or None
            if info["name"].startswith(("qemu", "kvm")):
                with suppress(psutil.Error):
                    arguments = process.cmdline()
                    if not arguments:
                        # Its memory is gone and it will be: what it still has open makes no machine.
                        continue
                    uuid, name = vm_identity(arguments)
        found.append(
            Process(
                info["pid"],
                info["ppid"] or 0,
                printable(info["name"]),
                info["create_time"],
                info.get("num_threads"),
                printable(exe) if exe else None,
                uuid,
                name,
            )
        )
    return tuple(found)


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
