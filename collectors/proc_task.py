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
from collectors.root import Budget, OverBudget, SysRoot, decode
from collectors.text import Malformed, MalformedLines, ProcessStat, newline_separated, numbers, process_stat, unsigned

_parse_status = status_parser(
    *("NSpid", "VmSize", "VmRSS", "VmData", "VmPTE", "VmSwap", "Threads", "Cpus_allowed_list", "Mems_allowed_list"),
    *("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"),
)

MANY_THREADS = 256
"""A process with more waits for the others, and takes no more CPU time than the budget allows."""
_AT_ONCE = 32

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


class LargeTask(NamedTuple):
    """What was read last of a process with many threads, and when (as `SysRoot.date` notes it); None where that was never done.

    `seconds` of CPU time it took, or more than that, where none was left.
    """

    start_ticks: int | None
    seconds: float
    group: TaskGroup | None = None
    read_at: float | None = None


@dataclass(slots=True)
class TaskCache:
    """Processes by pid, as the last pass read them; those with many threads apart."""

    processes: dict[int, CachedTask] = field(default_factory=dict)
    large: dict[int, LargeTask] = field(default_factory=dict)


def read(
    root: SysRoot,
    cache: TaskCache,
    pids: Iterable[int],
    first_threads: Mapping[int, ProcessStat] = NOTHING,
    accounted: Collection[int] = (),
    budget: Budget | None = None,
) -> tuple[TaskGroup, ...]:
    """The threads of `pids`. `first_threads`: what the process table said of each process's first thread, which is not read again.

    Of those that are `accounted` for by their group neither huge pages nor groups: smaps_rollup walks all that a process has mapped, while
    the process waits to map more, and is most of what is read here. A process with so many threads that the budget does not allow to
    read them is as it was read last, which is noted; if it never was, nothing is known of its threads.
    """
    groups: list[TaskGroup] = []
    current: dict[int, CachedTask] = {}
    large: dict[int, int] = {}
    for pid in sorted(set(pids)):
        first = first_threads.get(pid)
        if first is not None and (first.threads or 0) > MANY_THREADS:
            large[pid] = first.threads or 0
            continue
        status = root.raw(f"proc/{pid}/status") or b""
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
    cache.large = {pid: task for pid, task in cache.large.items() if pid in large}
    if large:
        with budget or Budget() as budget:
            for pid in sorted(large, key=large.__getitem__):
                group = _large(root, cache, pid, first_threads[pid], pid in accounted, budget)
                groups += [group] if group is not None else []
        groups.sort(key=lambda group: group.pid)
    return tuple(groups)


def _large(root: SysRoot, cache: TaskCache, pid: int, first: ProcessStat, accounted: bool, budget: Budget) -> TaskGroup | None:
    """A process with many threads as it is now, or as it was read last; None where it is gone."""
    status, left = root.raw(f"proc/{pid}/status") or b"", budget.left
    root.date(pid)
    last = cache.large.get(pid)
    if last is None or last.start_ticks != first.start_ticks:
        last = LargeTask(first.start_ticks, 0.0)
    if left > last.seconds:
        try:
            group, _ = _process(root, pid, status, first, accounted, budget)
            cache.large[pid] = LargeTask(first.start_ticks, left - budget.left, group, root.read_times.get(pid))
            return group
        except OverBudget:
            # It takes longer than this.
            last = last._replace(seconds=2 * (left - budget.left))
    # It may have fewer threads by now: it is tried again, though seldom.
    cache.large[pid] = last._replace(seconds=last.seconds * 0.99)
    path = f"proc/{pid}/task"
    if last.group is None or last.read_at is None:
        root.note(path, "late", "too many threads to be read in the CPU time that a pass has for them")
        if not status:
            return None
        # Counters that are not known, so that no sum over its threads is.
        thread = Thread(tid=pid, name=first.name, start_ticks=first.start_ticks, state=first.state, last_cpu=first.last_cpu)
        return _of_status(root, pid, _parse_status(decode(status)), (thread,), accounted, {})
    age = root.read_times[pid] - last.read_at
    root.note(path, "late", f"no CPU time was left to read its threads: what is shown is {age:.0f} s old")
    root.read_times[pid] = last.read_at
    return last.group


def _sleeps(root: SysRoot, pid: int, status: bytes, first: ProcessStat | None, cached: CachedTask) -> bool:
    """Whether the only thread of a process has not run since the last pass, as most have not from one scrape to the next."""
    if (status, first) != (cached.status, cached.first):
        return False
    (task,) = cached.group.tasks
    return root.parse(f"proc/{pid}/task/{pid}/schedstat", parse_schedstat) == (task.run_ns, task.delay_ns, task.timeslices)


def _process(
    root: SysRoot, pid: int, data: bytes, first: ProcessStat | None, accounted: bool, budget: Budget | None = None
) -> tuple[TaskGroup | None, CachedTask | None]:
    """A process by its status, None where it is gone; and what the next pass may take from the cache. Raises OverBudget."""
    malformed = len(root.malformed)
    status = _parse_status(decode(data))
    # The one thread of a process is called as the process is, which most have.
    single = status.fields.get("Threads") == "1"
    tids = [pid] if single else sorted(int(tid) for tid in root.names(f"proc/{pid}/task") if tid.isdecimal())
    # A process' own status is its first thread's, too.
    leader = status, first if status.fields else None
    threads: list[Thread] = []
    inner_tids: dict[int, int] = {}
    for number, tid in enumerate(tids):
        if budget is not None and number % _AT_ONCE == 0:
            budget.check()
        thread, inner_tid = _thread(root, pid, tid, *(leader if tid == pid else (None, None)))
        if thread is None:
            continue
        threads.append(thread)
        if inner_tid is not None:
            inner_tids[inner_tid] = tid
    if not threads:
        return None, None
    group = _of_status(root, pid, status, tuple(threads), accounted, inner_tids)
    root.note_malformed(f"proc/{pid}/status", *status.malformed)
    # What is malformed has to be noted at each pass.
    understood = len(root.malformed) == malformed
    return group, CachedTask(data, first, group) if single and first and accounted and understood else None


def _of_status(
    root: SysRoot, pid: int, status: Status, threads: tuple[Thread, ...], accounted: bool, inner_tids: dict[int, int]
) -> TaskGroup:
    """A process of these threads; its memory and its groups."""
    cgroups = None if accounted else root.parse(f"proc/{pid}/cgroup", parse_cgroup)
    return TaskGroup(
        pid=pid,
        tasks=threads,
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
