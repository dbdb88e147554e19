"""Memory that runs out: OOM kills, limits that are full of what cannot be reclaimed, pages that come back, and who waits for them.

Sources: Documentation/admin-guide/cgroup-v2.rst (memory.events, memory.stat), cgroup-v1/memory.rst (memory.oom_control, with
`oom_kill` since Linux 4.13), Documentation/accounting/psi.rst, mm/workingset.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.model.finding import Finding, Severity
from agent.model.remedies import MIB, limit_memory, limit_memory_of
from agent.model.workload import Workload
from agent.overhead.activity import counter_increase
from agent.overhead.memory_limit import free_swap
from agent.overhead.window import Window
from agent.overhead.workload_window import WorkloadWindow

FULL_RATIO = 0.9
ALMOST_ALL_RATIO = 0.95
"""Shares of its limit that a group cannot give back, from which on it is near its limit, and about to be killed."""
PRESSURE_RATIO = 0.1
STALLED_RATIO = 0.5
"""Shares of the window in which some task, and all of them, waited for memory."""
REFAULTS_A_SECOND = 250.0
THRASHING_PRESSURE_RATIO = 0.02
"""Pages that were dropped and came back cost nothing to speak of where nobody waits for them."""
_PAGE = 4096
_ROOM = 1.5
"""A limit that is full becomes so many times as large."""
_BIGGEST = "ps -eo rss,pid,comm --sort=-rss | head"


def memory_troubles(cases: Sequence[WorkloadWindow]) -> Iterator[Finding]:
    """What goes wrong with the memory of each workload."""
    killed = [(case, kills) for case in cases if (kills := _kills(case))]
    # The count of a group holds those of the groups in it: the innermost is meant.
    for case, kills in killed:
        if not any(_is_in(inner.workload, case.workload) for inner, _ in killed):
            yield _oom_kills(case, kills)
    for case in cases:
        if (near := _near_limit(case)) is not None:
            yield near
        if _has_waited(case) and (short := _thrashing(case) or _pressure(case)) is not None:
            yield short


def host_memory_troubles(window: Window, cases: Sequence[WorkloadWindow]) -> Iterator[Finding]:
    """OOM kills that no workload's count holds, and tasks of the host that wait for memory."""
    before, after = window.before, window.after
    if before is None or not window.seconds:
        return
    kills = counter_increase(before.logical.memory.vmstat.get("oom_kill"), after.logical.memory.vmstat.get("oom_kill"))
    counted = sum(_kills(case) or 0 for case in cases) if kills else 0.0
    if kills and kills > counted:
        yield Finding.of(
            kind="oom_kills",
            workload=None,
            text="the kernel's OOM killer ended processes that are in no workload's count",
            evidence=f"{kills - counted:.0f} more within {window.seconds:.1f} s (oom_kill in /proc/vmstat)",
            remedy=_BIGGEST,
        )
    stalls = [host.logical.pressure.memory if host.logical.pressure else None for host in (before, after)]
    some = counter_increase(*(stall.some_usec if stall else None for stall in stalls))
    full = counter_increase(*(stall.full_usec if stall else None for stall in stalls))
    share = None if some is None else some * 1e-6 / window.seconds
    if share is not None and share >= PRESSURE_RATIO:
        stalled = (full or 0.0) * 1e-6 / window.seconds
        yield Finding.of(
            kind="memory_pressure",
            workload=None,
            text=f"tasks of this host wait for memory {min(1.0, share):.0%} of the time",
            evidence=f"some {share:.1%}, all of them {stalled:.1%} of {window.seconds:.1f} s (/proc/pressure/memory)",
            remedy=_BIGGEST,
            severity="critical" if stalled >= STALLED_RATIO else None,
        )


def _has_waited(case: WorkloadWindow) -> bool:
    """Most never do, and nothing more is asked of them."""
    was = case.was
    return was is not None and case.workload.memory.pressure_some_usec != was.memory.pressure_some_usec


def _kills(case: WorkloadWindow) -> float | None:
    was, kills = case.was, case.workload.memory.events.get("oom_kill")
    if not kills or (was is not None and was.memory.events.get("oom_kill") == kills):
        return None
    return case.grown(lambda workload: workload.memory.events.get("oom_kill"))


def _is_in(inner: Workload, outer: Workload) -> bool:
    return inner.id != outer.id and bool(inner.cgroup and outer.cgroup) and f"{inner.cgroup}/".startswith(f"{outer.cgroup}/")


def _oom_kills(case: WorkloadWindow, kills: float) -> Finding:
    limit = case.workload.memory.limit_bytes
    bound = "no limit of its own" if limit is None or limit.unlimited else f"limit {limit / MIB:.0f} MiB"
    return Finding.of(
        kind="oom_kills",
        workload=case.workload.id,
        text="processes of it are being ended by the OOM killer",
        evidence=f"{kills:.0f} within {case.window.seconds or 0.0:.1f} s (oom_kill of its group); {bound}",
        remedy=_more_memory(case),
    )


def _more_memory(case: WorkloadWindow) -> str:
    """More of what binds: its own limit, or that of the group above that is tighter. Where none does, the host has too little."""
    memory, limit = case.workload.memory, case.workload.memory.limit_bytes
    if limit is None or limit.unlimited:
        return _BIGGEST
    if memory.limited_by is not None and memory.limited_by != case.workload.cgroup and memory.max_bytes != limit:
        return limit_memory_of(memory.limited_by, limit * _ROOM, case.version)
    return limit_memory(case.workload, limit * _ROOM, case.version)


def unreclaimable_bytes(case: WorkloadWindow) -> tuple[int, str] | None:
    """What of a group's memory the kernel cannot take back, and of what it consists: anonymous and shared memory for which there is no
    swap, what is locked, and the kernel's own that is no cache. None where a part of it is not known."""
    memory = case.workload.memory
    stat, anonymous = memory.stat, memory.anon_bytes
    shared = stat.get("total_shmem", stat.get("shmem"))
    if anonymous is None or shared is None:
        return None
    locked = stat.get("total_unevictable", stat.get("unevictable", 0))
    swap = free_swap(case.window.after, case.workload)
    if swap is None:
        return None
    # What is locked may be anonymous, shared, or of files; each byte of it counts once.
    swappable = max(0, anonymous + shared - locked)
    kept = max(anonymous + shared, locked) - min(swappable, int(swap))
    kernel = max(0, (memory.kernel_bytes or 0) - stat.get("slab_reclaimable", 0)) if "slab_reclaimable" in stat else 0
    total = kept + kernel
    if memory.current_bytes is not None:
        total = min(total, memory.current_bytes)
    parts = (("anonymous", anonymous), ("shared (tmpfs)", shared), ("locked", locked), ("kernel", kernel))
    return total, ", ".join(f"{size / MIB:.0f} MiB {name}" for name, size in parts if size >= MIB)


def _near_limit(case: WorkloadWindow) -> Finding | None:
    memory, limit = case.workload.memory, case.workload.memory.max_bytes
    if limit is None or limit.unlimited or limit <= 0 or memory.current_bytes is None or memory.current_bytes < FULL_RATIO * limit:
        return None
    kept = unreclaimable_bytes(case)
    if kept is None or kept[0] < FULL_RATIO * limit:
        return None
    size, parts = kept
    return Finding.of(
        kind="memory_near_limit",
        workload=case.workload.id,
        text=f"{size / limit:.0%} of its memory limit is full of what cannot be reclaimed",
        evidence=f"{size / MIB:.0f} of {limit / MIB:.0f} MiB: {parts}; swap that it may still use is counted off",
        remedy=limit_memory(case.workload, size * _ROOM, case.version),
        severity="critical" if size >= ALMOST_ALL_RATIO * limit else None,
    )


def _thrashing(case: WorkloadWindow) -> Finding | None:
    refaults = case.rate(lambda workload: workload.memory.refaults)
    if refaults is None or refaults < REFAULTS_A_SECOND:
        return None
    waited = case.rate(lambda workload: workload.memory.pressure_some_usec)
    if waited is None or waited * 1e-6 < THRASHING_PRESSURE_RATIO:
        return None
    swapped = case.rate(_swap_refaults) or 0.0
    return Finding.of(
        kind="thrashing",
        workload=case.workload.id,
        text="pages that it was made to give up are read again, and it waits for them",
        evidence=(
            f"{refaults:.0f} pages a second came back ({refaults * _PAGE / MIB:.1f} MiB of 4 KiB pages), {swapped:.0f} from swap; "
            f"it waited for memory {min(1.0, waited * 1e-6):.0%} of the time"
        ),
        remedy=_more_memory(case),
        severity=_of_stalls(case),
    )


def _swap_refaults(workload: Workload) -> int | None:
    stat = workload.memory.stat
    return stat.get("total_workingset_refault_anon", stat.get("workingset_refault_anon"))


def _pressure(case: WorkloadWindow) -> Finding | None:
    waited = case.rate(lambda workload: workload.memory.pressure_some_usec)
    if waited is None or waited * 1e-6 < PRESSURE_RATIO:
        return None
    stalled = case.rate(lambda workload: workload.memory.pressure_full_usec)
    limit = case.workload.memory.limit_bytes
    bound = "no limit of its own" if limit is None or limit.unlimited else f"limit {limit / MIB:.0f} MiB"
    return Finding.of(
        kind="memory_pressure",
        workload=case.workload.id,
        text=f"it waits for memory {min(1.0, waited * 1e-6):.0%} of the time",
        evidence=f"some of its tasks {waited * 1e-6:.1%}, all of them {(stalled or 0.0) * 1e-6:.1%} (memory.pressure); {bound}",
        remedy=_more_memory(case),
        severity=_of_stalls(case),
    )


def _of_stalls(case: WorkloadWindow) -> Severity | None:
    stalled = case.rate(lambda workload: workload.memory.pressure_full_usec)
    return "critical" if stalled is not None and stalled * 1e-6 >= STALLED_RATIO else None
