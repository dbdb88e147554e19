"""The live process table: who is there, since when, running what, with how many threads; /proc/PID/stat, and no more of most.

Source: Documentation/filesystems/proc.rst, table 1-4. psutil, which tells the same, takes four times as long.
It finds candidates and identities; no figure of the host or of a workload comes from it.
Command lines hold secrets: of them only a virtual machine's uuid and name leave this module, and the name that the kernel cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from agent.model.monitor_options import IdentityOption
from agent.model.runtimes import identity_options
from agent.model.values import USER_HZ, Count, Detail, Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import ProcessStat, printable, process_stat

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
    threads: Count | None
    exe: str | None = None
    vm_uuid: str | None = None
    vm_name: str | None = None
    stat: ProcessStat | None = None
    """As the kernel wrote it, with the name that it cut."""


@dataclass(slots=True)
class ProcessCache:
    """The last table that was read for metrics: by pid, stat as the kernel wrote it, and the record that was made of it."""

    processes: dict[str, tuple[bytes, Process]] = field(default_factory=dict)


def read(root: SysRoot, cache: ProcessCache, detail: Detail = "document") -> tuple[Process, ...]:
    """The process table. Executables and counts of threads are in it for documents only."""
    return root.reply("processes", tuple[Process, ...], lambda: ask(root, cache, detail))


def ask(root: SysRoot, cache: ProcessCache, detail: Detail = "document") -> tuple[Process, ...]:
    """The table of a live root. For metrics, a process whose stat did not change since the last pass is the same record."""
    # The root of procfs is inode 1: a tree without it has no table, whatever files it has of one.
    if root.inode("proc") != 1:
        raise Unavailable("absent", f"{root.path}: proc is no process file system", "mount the host's /proc there")
    boot_time = re.search(r"^btime (\d{1,15})$", root.require("proc/stat"), re.MULTILINE)
    if boot_time is None:
        raise Unavailable("unsupported", "proc/stat: no btime", None)
    # Processes end while they are read, and other users' refuse: that is no gap of the table.
    quiet = root.watch()
    previous, current = cache.processes if detail == "metrics" else {}, dict[str, tuple[bytes, Process]]()
    for pid in quiet.names("proc"):
        data = quiet.raw(f"proc/{pid}/stat") if pid.isdecimal() else None
        if not data:
            continue
        cached = previous.get(pid)
        if cached is not None and cached[0] == data:
            current[pid] = cached
            continue
        stat = root.parse_bytes(f"proc/{pid}/stat", data, process_stat)
        process = _process(quiet, int(pid), stat, int(boot_time[1]), detail) if stat else None
        if process is not None and quiet.refusals and quiet.refusals[-1].reason == "late":
            # It is asked again at the next pass; until then it is the machine that it was.
            data, process = b"", _as_it_was(process, cached[1] if cached else None)
        if process is not None:
            current[pid] = data, process
    root.refusals += (refusal for refusal in quiet.refusals if refusal.reason == "late")
    cache.processes = current if detail == "metrics" else {}
    return tuple([process for _, process in current.values()])


def _process(root: SysRoot, pid: int, stat: ProcessStat, boot_time: int, detail: Detail) -> Process | None:
    """None of a monitor that has given its memory back and will end: what it still has open makes no machine."""
    name, uuid, vm_name, exe = stat.name, None, None, None
    # Kernel threads are children of kthreadd, pid 2, and have no executable.
    if stat.parent_pid != 2 and pid != 2:
        if detail == "document":
            exe = (root.link(f"proc/{pid}/exe") or "").removesuffix(" (deleted)") or None
        options = identity_options(name)
        if options or len(name) >= _CUT:
            arguments = _arguments(root.raw(f"proc/{pid}/cmdline", _without_secrets(options)))
            if options and arguments == []:
                return None
            uuid, vm_name = vm_identity(options, arguments or [])
            program = arguments[0].rpartition("/")[2] if arguments else ""
            name = printable(program) if len(name) >= _CUT and program.startswith(name) else name
    return Process(
        pid=pid,
        parent_pid=stat.parent_pid,
        name=name,
        started_at=boot_time + stat.start_ticks / USER_HZ,
        threads=stat.threads if detail == "document" else None,
        exe=exe,
        vm_uuid=uuid,
        vm_name=vm_name,
        stat=stat,
    )


def _as_it_was(process: Process, last: Process | None) -> Process:
    """A process whose command line does not come, with what an earlier one said."""
    if last is None or last.started_at != process.started_at:
        return process
    return replace(process, name=last.name, vm_uuid=last.vm_uuid, vm_name=last.vm_name)


def _without_secrets(options: tuple[IdentityOption, ...]) -> Callable[[bytes], bytes]:
    """What is kept of a command line: the program, and which machine it runs. A recording holds no more, either."""

    def keep(data: bytes) -> bytes:
        arguments = _arguments(data) or []
        identity = (part for argument, option, value in _stated(options, arguments) for part in (argument, _part(option, value)))
        return b"".join(f"{argument}\0".encode("utf-8", "surrogateescape") for argument in (*arguments[:1], *identity))

    return keep


def _arguments(data: bytes | None) -> list[str] | None:
    """None where they were refused; none of a process that gave its memory back."""
    return None if data is None else [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")[:-1]]


def served(process: Process) -> int | None:
    """The process that a kernel thread works for: "vhost-4711", "kvm-pit/4711" (vhost_dev_set_owner(), kvm_create_pit())."""
    match = _SERVANT.fullmatch(process.name) if process.parent_pid == 2 else None
    return int(match[1]) if match else None


def vm_identity(options: Iterable[IdentityOption], arguments: list[str]) -> tuple[str | None, str | None]:
    """The UUID and the name of the machine that a monitor runs. Of an option that is repeated, the last counts."""
    stated = {option: value for _, option, value in _stated(options, arguments)}
    uuids = [value.lower() for option in options if option.states == "uuid" and (value := stated.get(option))]
    names = [
        _file_stem(value) if option.is_path else value
        for option in options
        if option.states == "name" and (value := stated.get(option)) is not None
    ]
    name = next(filter(None, names), "" if names else None)
    return next(iter(uuids), None), None if name is None else printable(name)[:256]


def _stated(options: Iterable[IdentityOption], arguments: list[str]) -> Iterator[tuple[str, IdentityOption, str]]:
    """Each option that states an identity, as it is written, and what it states: "-uuid UUID", "--id=web"."""
    by_name = {option.name: option for option in options}
    position = 1
    while position < len(arguments):
        argument, equals, value = arguments[position].partition("=")
        position += 1
        option = by_name.get(argument[1:].removeprefix("-")) if argument.startswith("--" if equals else "-") else None
        if option is None or (not equals and position == len(arguments)):
            continue
        identity = _identity(option, value if equals else arguments[position])
        if identity is None or (option.states == "uuid" and not _UUID.fullmatch(identity)):
            # What states nothing may be an option itself.
            continue
        position += not equals
        yield argument, option, identity


def _identity(option: IdentityOption, value: str) -> str | None:
    """What an option's value states. In a list, a comma of a value's own is doubled (get_opt_value() of QEMU)."""
    if not option.key:
        return value
    parts = [part.replace("\0", ",") for part in value.replace(",,", "\0").split(",")]
    if option.implied and "=" not in parts[0]:
        parts[0] = f"{option.key}={parts[0]}"
    values = [part.removeprefix(f"{option.key}=") for part in parts if part.startswith(f"{option.key}=")]
    return values[-1] if values and (not option.beside or option.beside in parts) else None


def _part(option: IdentityOption, identity: str) -> str:
    """The value of an option that states this identity and nothing else."""
    if not option.key:
        return identity
    return f"{option.beside},{option.key}=".removeprefix(",") + identity.replace(",", ",,")


def _file_stem(path: str) -> str:
    """ "/run/vms/web.sock": "web"."""
    return path.rpartition("/")[2].rpartition(".")[0] or path.rpartition("/")[2]
