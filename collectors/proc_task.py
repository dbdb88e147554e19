"""Threads of chosen processes: /proc/PID/task/TID/{stat,schedstat,status}, and what the process holds: /proc/PID/{status,cgroup}.

Sources: Documentation/filesystems/proc.rst (tables 1-2 and 1-4), Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from agent.model.facts.proc_task import Thread
from agent.model.values import CpuSet, Fact
from collectors.proc_pid.smaps import parse_smaps_rollup
from collectors.proc_pid.status import Status, status_parser
from collectors.root import SysRoot, decode
from collectors.text import Malformed, MalformedLines, ProcessStat, newline_separated, numbers, process_stat, unsigned

_parse_status = status_parser(
    *("NSpid", "VmSize", "VmRSS", "VmData", "VmPTE", "VmSwap", "Threads", "Cpus_allowed_list", "Mems_allowed_list"),
    *("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"),
)

NOTHING: Mapping[int, ProcessStat] = MappingProxyType({})


class TaskGroup(Fact, frozen=True, kw_only=True):
    """One process: its threads, its memory (bytes), and its cgroups by controller ("" is the v2 hierarchy).

    `allowed_nodes` are its first thread's. `inner_tids`: its threads by what they are called in its own PID namespace, the innermost.
    """

    pid: int
    tasks: tuple[Thread, ...]
    resident_bytes: int | None = None
    page_table_bytes: int | None = None
    swapped_bytes: int | None = None
    anon_huge_bytes: int | None = None
    cgroups: dict[str, str] = {}
    virtual_bytes: int | None = None
    data_bytes: int | None = None
    allowed_nodes: CpuSet | None = None
    inner_tids: dict[int, int] = {}


class CachedTask(NamedTuple):
    """What was read of a process with one thread that is accounted for by its group: the bytes of status, and what they came to."""

    status: bytes
    first: ProcessStat
    group: TaskGroup


@dataclass(slots=True)
class TaskCache:
    """Processes by pid, as the last pass read them."""

    processes: dict[int, CachedTask] = field(default_factory=dict)


def read(
    root: SysRoot,
    cache: TaskCache,
    pids: Iterable[int],
    first_threads: Mapping[int, ProcessStat] = NOTHING,
    accounted: Collection[int] = (),
) -> tuple[TaskGroup, ...]:
    """The threads of `pids`. `first_threads`: what the process table said of each process's first thread, which is not read again.

    Of those that are `accounted` for by their group neither huge pages nor groups: smaps_rollup walks all that a process has mapped, while
    the process waits to map more, and is most of what is read here.
    """
    groups: list[TaskGroup] = []
    current: dict[int, CachedTask] = {}
    for pid in sorted(set(pids)):
        status, first = root.raw(f"proc/{pid}/status") or b"", first_threads.get(pid)
        root.date(pid)
        cached = cache.processes.get(pid) if pid in accounted else None
        if cached is None or not _sleeps(root, pid, status, first, cached):
            group, cached = _process(root, pid, status, first, pid in accounted)
            if group is None:
                continue
            groups.append(group)
        else:
            groups.append(cached.group)
        if cached is not None:
            current[pid] = cached
    cache.processes = current
    return tuple(groups)


def _sleeps(root: SysRoot, pid: int, status: bytes, first: ProcessStat | None, cached: CachedTask) -> bool:
    """Whether the only thread of a process has not run since the last pass, as most have not from one scrape to the next."""
    if (status, first) != (cached.status, cached.first):
        return False
    (task,) = cached.group.tasks
    return root.parse(f"proc/{pid}/task/{pid}/schedstat", parse_schedstat) == (task.run_ns, task.delay_ns, task.timeslices)


def _process(
    root: SysRoot, pid: int, data: bytes, first: ProcessStat | None, accounted: bool
) -> tuple[TaskGroup | None, CachedTask | None]:
    """A process by its status, None where it is gone; and what the next pass may take from the cache."""
    malformed = len(root.malformed)
    status = _parse_status(decode(data))
    # The one thread of a process is called as the process is, which most have.
    single = status.fields.get("Threads") == "1"
    tids = [pid] if single else sorted(int(tid) for tid in root.names(f"proc/{pid}/task") if tid.isdecimal())
    # A process' own status is its first thread's, too.
    leader = status, first if status.fields else None
    threads: list[Thread] = []
    inner_tids: dict[int, int] = {}
    for tid in tids:
        thread, inner_tid = _thread(root, pid, tid, *(leader if tid == pid else (None, None)))
        if thread is None:
            continue
        threads.append(thread)
        if inner_tid is not None:
            inner_tids[inner_tid] = tid
    if not threads:
        return None, None
    cgroups = None if accounted else root.parse(f"proc/{pid}/cgroup", parse_cgroup)
    group = TaskGroup(
        pid=pid,
        tasks=tuple(threads),
        resident_bytes=status.size_bytes("VmRSS"),
        page_table_bytes=status.size_bytes("VmPTE"),
        virtual_bytes=status.size_bytes("VmSize"),
        data_bytes=status.size_bytes("VmData"),
        swapped_bytes=status.size_bytes("VmSwap"),
        anon_huge_bytes=None if accounted else root.parse(f"proc/{pid}/smaps_rollup", _anon_huge_bytes),
        cgroups=cgroups or {},
        allowed_nodes=status.cpus("Mems_allowed_list"),
        inner_tids=inner_tids,
    )
    root.note_malformed(f"proc/{pid}/status", *status.malformed)
    # What is malformed has to be noted at each pass.
    understood = len(root.malformed) == malformed
    return group, CachedTask(data, first, group) if single and first and accounted and understood else None


def _thread(root: SysRoot, pid: int, tid: int, status: Status | None, stat: ProcessStat | None) -> tuple[Thread | None, int | None]:
    """The thread, None where it is gone, and its number in its own PID namespace."""
    directory, own = f"proc/{pid}/task/{tid}", None
    if stat is None:
        stat = root.parse(f"{directory}/stat", process_stat)
    schedstat = root.parse(f"{directory}/schedstat", parse_schedstat)
    if status is None:
        own = status = root.parse(f"{directory}/status", _parse_status) or _parse_status("")
    if stat is None and schedstat is None and not status.fields:
        return None, None
    run_ns, delay_ns, timeslices = schedstat or (None, None, None)
    thread = Thread(
        tid=tid,
        name=stat.name if stat else None,
        state=stat.state if stat else None,
        start_ticks=stat.start_ticks if stat else None,
        last_cpu=stat.last_cpu if stat else None,
        run_ns=run_ns,
        delay_ns=delay_ns,
        timeslices=timeslices,
        allowed_cpus=status.cpus("Cpus_allowed_list"),
        voluntary_switches=status.number("voluntary_ctxt_switches"),
        involuntary_switches=status.number("nonvoluntary_ctxt_switches"),
    )
    # Since Linux 4.1 ("/proc/PID/status: show all sets of pid according to ns").
    inner_tid = status.value("NSpid", _last_number)
    if own is not None:
        root.note_malformed(f"{directory}/status", *own.malformed)
    return thread, inner_tid


def parse_schedstat(text: str) -> tuple[int, int, int]:
    """Nanoseconds on a CPU, nanoseconds waiting for one, timeslices."""
    words = text.split()
    if len(words) != 3:
        raise Malformed(f"expected three numbers, got {text[:60]!r}")
    run_ns, delay_ns, timeslices = numbers(words)
    return run_ns, delay_ns, timeslices


def _last_number(text: str) -> int | None:
    words = text.split()
    return unsigned(words[-1]) if words else None


def _anon_huge_bytes(text: str) -> int | None:
    """Memory of a process that transparent huge pages back."""
    usage = parse_smaps_rollup(text)
    return usage.anon_huge_pages if usage else None


def parse_cgroup(text: str) -> dict[str, str]:
    """ "4:memory:/docker/ID", "0::/system.slice". systemd's "1:name=systemd:..." may stand before the "0::" line."""
    paths: dict[str, str] = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        parts = line.split(":", 2)
        if len(parts) != 3:
            malformed.add(number, line, "'id:controllers:path'")
            continue
        for controller in parts[1].split(","):
            paths[controller] = parts[2]
    return malformed.checked(paths)
