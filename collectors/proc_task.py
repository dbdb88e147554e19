"""Threads of chosen processes: /proc/PID/task/TID/{stat,schedstat,status}, and what the process holds: /proc/PID/{status,cgroup}.

Sources: Documentation/filesystems/proc.rst (tables 1-2 and 1-4), Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, cast

from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, Stat, cpu_list, integer, newline_separated, numbers, process_stat, size_bytes

NOTHING: Mapping[int, Stat] = MappingProxyType({})


class Task(Fact, frozen=True, kw_only=True):
    """One thread. `run_ns`, `delay_ns`, `timeslices` come with CONFIG_SCHED_INFO; `start_ticks` with the tid is its identity.

    `inner_tid` is what it is called in its own PID namespace, the innermost.
    """

    tid: int
    name: str | None = None
    state: str | None = None
    start_ticks: int | None = None
    last_cpu: int | None = None
    run_ns: int | None = None
    delay_ns: int | None = None
    timeslices: int | None = None
    allowed_cpus: CpuSet | None = None
    allowed_nodes: CpuSet | None = None
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    inner_tid: int | None = None


class TaskGroup(Fact, frozen=True, kw_only=True):
    """One process: its threads, its memory (bytes), and its cgroups by controller ("" is the v2 hierarchy)."""

    pid: int
    tasks: tuple[Task, ...]
    resident_bytes: int | None = None
    page_table_bytes: int | None = None
    swapped_bytes: int | None = None
    anon_huge_bytes: int | None = None
    cgroups: dict[str, str] = {}
    virtual_bytes: int | None = None
    data_bytes: int | None = None


def read(root: SysRoot, pids: Iterable[int], known: Mapping[int, Stat] = NOTHING, accounted: Collection[int] = ()) -> tuple[TaskGroup, ...]:
    """`known`: what the table of processes told of their first threads, which is not asked for again.

    Of those that are `accounted` for by their group neither huge pages nor groups: smaps_rollup walks all that a process has mapped, while
    the process waits to map more, and is most of what is read here.
    """
    before, now = cast("dict[int, Kept]", root.last.get("proc_task", {})), dict[int, Kept]()
    for pid in sorted(set(pids)):
        if (kept := _process(root, pid, known.get(pid), pid not in accounted, before.get(pid))) is not None:
            now[pid] = kept
    root.last["proc_task"] = {pid: kept for pid, kept in now.items() if kept.said}
    return tuple([kept.group for kept in now.values()])


class Kept(NamedTuple):
    """What status `said` of a process of which, and of its one thread, nothing else is asked but how long it ran; with what it means."""

    said: bytes
    first: Stat | None
    group: TaskGroup


def _process(root: SysRoot, pid: int, first: Stat | None, alone: bool, before: Kept | None) -> Kept | None:
    said = root.raw(f"proc/{pid}/status") or b""
    root.date(pid)
    if before is not None and not alone and (said, first) == (before.said, before.first):
        # Most processes sleep from one scrape to the next.
        (own,) = before.group.tasks
        if root.parse(f"proc/{pid}/task/{pid}/schedstat", parse_schedstat) == (own.run_ns, own.delay_ns, own.timeslices):
            return before
    status = root.parse_bytes(f"proc/{pid}/status", said, parse_status)
    # The one thread of a process is called as the process is, which most have.
    single = status.get("Threads") == "1"
    tids = [pid] if single else sorted(int(tid) for tid in root.names(f"proc/{pid}/task") if tid.isdecimal())
    # A process' own status is its first thread's, too.
    leader = status, first if status else None
    tasks = tuple([task for tid in tids if (task := _task(root, pid, tid, *(leader if tid == pid else (None, None)))) is not None])
    if not tasks:
        return None
    group = TaskGroup(
        pid=pid,
        tasks=tasks,
        resident_bytes=_bytes(status, "VmRSS"),
        page_table_bytes=_bytes(status, "VmPTE"),
        virtual_bytes=_bytes(status, "VmSize"),
        data_bytes=_bytes(status, "VmData"),
        swapped_bytes=_bytes(status, "VmSwap"),
        anon_huge_bytes=root.parse(f"proc/{pid}/smaps_rollup", parse_anon_huge) if alone else None,
        cgroups=root.parse(f"proc/{pid}/cgroup", parse_cgroup) or {} if alone else {},
    )
    return Kept(said if single and first and not alone else b"", first, group)


def _task(root: SysRoot, pid: int, tid: int, status: dict[str, str] | None, stat: Stat | None) -> Task | None:
    directory = f"proc/{pid}/task/{tid}"
    if stat is None:
        stat = root.parse(f"{directory}/stat", process_stat)
    schedstat = root.parse(f"{directory}/schedstat", parse_schedstat)
    if status is None:
        status = root.parse(f"{directory}/status", parse_status) or {}
    if stat is None and schedstat is None and not status:
        return None
    run_ns, delay_ns, timeslices = schedstat or (None, None, None)
    return Task(
        tid=tid,
        name=stat.name if stat else None,
        state=stat.state if stat else None,
        start_ticks=stat.start_ticks if stat else None,
        last_cpu=stat.last_cpu if stat else None,
        run_ns=run_ns,
        delay_ns=delay_ns,
        timeslices=timeslices,
        allowed_cpus=_list(status, "Cpus_allowed_list"),
        allowed_nodes=_list(status, "Mems_allowed_list"),
        voluntary_switches=_count(status, "voluntary_ctxt_switches"),
        involuntary_switches=_count(status, "nonvoluntary_ctxt_switches"),
        # Since Linux 4.1 ("/proc/PID/status: show all sets of pid according to ns").
        inner_tid=integer(words[-1]) if (words := status.get("NSpid", "").split()) else None,
    )


def parse_schedstat(text: str) -> tuple[int, int, int]:
    """Nanoseconds on a CPU, nanoseconds waiting for one, timeslices."""
    words = text.split()
    if len(words) != 3:
        raise Malformed(f"expected three numbers, got {text[:60]!r}")
    run_ns, delay_ns, timeslices = numbers(words)
    return run_ns, delay_ns, timeslices


# In the order in which the kernel writes them (fs/proc/array.c), so that what was passed is not searched again.
_STATUS = (
    *("NSpid", "VmSize", "VmRSS", "VmData", "VmPTE", "VmSwap", "Threads", "Cpus_allowed_list", "Mems_allowed_list"),
    *("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"),
)
_KEYS = tuple((key, f"\n{key}:", len(key) + 2) for key in _STATUS)


def parse_status(text: str) -> dict[str, str]:
    """Those lines of sixty that are of use here. A name with a line feed in it is escaped, and cannot be one of them."""
    found: dict[str, str] = {}
    text, passed = f"\n{text}", 0
    for key, begins, length in _KEYS:
        start = text.find(begins, passed)
        if start < 0 and (start := text.find(begins)) < 0:
            continue
        passed = end if (end := text.find("\n", start + 1)) >= 0 else len(text)
        found[key] = text[start + length : passed].strip()
    return found


def parse_anon_huge(text: str) -> int | None:
    """AnonHugePages of smaps_rollup: memory of this process that transparent huge pages back."""
    for line in newline_separated(text):
        if line.startswith("AnonHugePages:"):
            return size_bytes(line[14:])
    return None


def parse_cgroup(text: str) -> dict[str, str]:
    """ "4:memory:/docker/ID", "0::/system.slice". systemd's "1:name=systemd:..." may stand before the "0::" line."""
    found: dict[str, str] = {}
    for number, line in enumerate(newline_separated(text), 1):
        parts = line.split(":", 2)
        if len(parts) != 3:
            raise Malformed(f"expected 'id:controllers:path', got {line[:60]!r}", number)
        for controller in parts[1].split(","):
            found[controller] = parts[2]
    return found


def _list(status: dict[str, str], key: str) -> CpuSet | None:
    return cpu_list(status[key]) if key in status else None


def _count(status: dict[str, str], key: str) -> int | None:
    return integer(status[key]) if key in status else None


def _bytes(status: dict[str, str], key: str) -> int | None:
    return size_bytes(status[key]) if key in status else None
