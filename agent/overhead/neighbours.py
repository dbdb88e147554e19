"""Window -> who else ran on the CPUs that a workload may use, and how much of them each took.

No counter of control groups v2 tells CPU time by workload and CPU. What may run on some of these CPUs only took all of its time there. What
may run elsewhere, too, is a guess: each thread's time is divided over the CPUs that it may use in the proportion in which others than this
workload kept them busy. Parts conserve: all of them, the rest and the idle time are the CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from agent.model.facts.proc_task import Thread
from agent.model.neighbours import Neighbour, Neighbours
from agent.model.values import USER_HZ, CpuSet
from agent.model.workload import Workload
from agent.overhead.activity import counter_increase, every_thread
from agent.overhead.window import Window

LEAST_CPUS = 1e-6
"""Who took less of the CPUs did not run, as far as clocks can tell."""

_CUT_SECONDS = 0.02
"""Starts of threads are cut to 1/100 s, and so is the uptime."""

_Earlier = Mapping[tuple[str, str], Workload]
"""The workloads as the window began, by id and identity."""
_Share = Callable[[CpuSet], float | None]
"""The share of the time of whoever may use these CPUs that it spent on the workload's; None where that is not known."""


def neighbours(window: Window, workload: Workload) -> Neighbours | None:
    """None where its CPUs are not known, or there is one reading only: the lives of workloads are no common window."""
    allowed, seconds = workload.placement.allowed_cpus, window.seconds
    if not allowed or window.before is None or not seconds:
        return None
    earlier = {(was.id, was.identity): was for was in window.before.workloads}
    own, busy = cpu_time(window, earlier, workload), window.busy_cpus(allowed)
    share = _share(window, allowed, own)
    others = [
        _neighbour(window, earlier, other, allowed, share)
        for other in _unrelated(window.after.workloads, workload)
        if other.placement.allowed_cpus is None or other.placement.allowed_cpus & allowed
    ]
    ran = [other for other in others if other.taken_cpus is None or other.taken_cpus >= LEAST_CPUS]
    room = None if busy is None or own is None else max(0.0, busy - own)
    listed = sorted(_fitted(ran, room), key=lambda other: -1.0 if other.taken_cpus is None else other.taken_cpus, reverse=True)
    taken = sum(other.taken_cpus or 0.0 for other in listed)
    return Neighbours(
        allowed_cpus=allowed,
        seconds=seconds,
        own_cpus=own,
        own_waiting_cpus=_waiting(window, workload),
        workloads=tuple(listed),
        # What of it a neighbour took that is not known is nobody's guess.
        rest_cpus=None if room is None or any(other.taken_cpus is None for other in listed) else max(0.0, room - taken),
        idle_cpus=None if busy is None else max(0.0, len(allowed) - busy),
    )


def _neighbour(window: Window, earlier: _Earlier, other: Workload, allowed: CpuSet, share: _Share) -> Neighbour:
    spent, part = cpu_time(window, earlier, other), _part(window, earlier, other, allowed, share)
    return Neighbour(
        workload=other.id,
        name=other.name,
        paradigm=other.paradigm,
        taken_cpus=None if spent is None or part is None else spent * part[0],
        origin="inferred" if part is not None and not part[1] else None,
        waiting_cpus=_waiting(window, other),
    )


def _waiting(window: Window, workload: Workload) -> float | None:
    activity = window.activity(workload)
    return None if activity is None or activity.delay_seconds is None else activity.delay_seconds / activity.seconds


def cpu_time(window: Window, earlier: _Earlier, workload: Workload) -> float | None:
    """CPUs that it used on average: by its group, where it has one, with the short-lived processes in it, else by its threads."""
    activity = window.activity(workload)
    if activity is None:
        return None
    if _has_group(workload):
        return None if activity.usage_seconds is None else activity.usage_seconds / activity.group_seconds
    ran = [nanoseconds for _, nanoseconds in _ran(window, earlier, workload)]
    return None if not ran or None in ran else sum(nanoseconds or 0 for nanoseconds in ran) * 1e-9 / activity.seconds


def _has_group(workload: Workload) -> bool:
    """Whether its control group is its own: a sandbox is in somebody else's, and a machine may be."""
    return workload.cgroup is not None and workload.paradigm in ("containerization", "process")


def _share(window: Window, allowed: CpuSet, own: float | None) -> _Share:
    busy = window.busy_cpus(allowed)
    # Where it ran itself of its CPUs is not known, either: as the others did.
    left = None if busy is None or own is None else max(0.0, 1 - own / busy) if busy else 1.0

    def share(cpus: CpuSet) -> float | None:
        if not cpus or cpus <= allowed:
            return 1.0
        common = cpus & allowed
        if not common:
            return 0.0
        here, elsewhere = window.busy_cpus(common), window.busy_cpus(cpus - allowed)
        if here is None or elsewhere is None or left is None:
            return None
        by_others = here * left
        return by_others / (by_others + elsewhere) if by_others + elsewhere else len(common) / len(cpus)

    return share


def _part(window: Window, earlier: _Earlier, other: Workload, allowed: CpuSet, share: _Share) -> tuple[float, bool] | None:
    """The part of its time that it spent on these CPUs, and whether that is certain."""
    everywhere = other.placement.allowed_cpus
    if everywhere is None:
        return None
    if everywhere <= allowed:
        return 1.0, True
    total = spent = 0.0
    certain = True
    for thread, ran in _ran(window, earlier, other):
        part = share(thread.allowed_cpus if thread.allowed_cpus is not None else everywhere)
        if ran is None or part is None:
            return None
        total, spent = total + ran, spent + ran * part
        certain = certain and (not ran or part in (0.0, 1.0))
    if total:
        return spent / total, certain
    # Who ran has ended since.
    whole = share(everywhere)
    return None if whole is None else (whole, False)


def _ran(window: Window, earlier: _Earlier, workload: Workload) -> Iterator[tuple[Thread, float | None]]:
    """Its threads, of a machine its vCPUs', too, and how many nanoseconds each ran in the window; None of one that came from elsewhere."""
    was = earlier.get((workload.id, workload.identity))
    began = None if window.before is None else window.before.identity.uptime_seconds
    run_before = {(thread.tid, thread.start_ticks): thread.run_ns for thread in every_thread(was)} if was else {}
    for thread in every_thread(workload):
        is_young = thread.start_ticks is not None and (began is None or thread.start_ticks / USER_HZ >= began - _CUT_SECONDS)
        start = run_before.get((thread.tid, thread.start_ticks), 0 if is_young else None)
        yield thread, counter_increase(start, thread.run_ns)


def _fitted(others: Sequence[Neighbour], room: float | None) -> Sequence[Neighbour]:
    """Guesses together are at most what is left of the room beside what is certain."""
    guessed = sum(other.taken_cpus or 0.0 for other in others if other.origin is not None)
    if room is None or not guessed:
        return others
    certain = sum(other.taken_cpus or 0.0 for other in others if other.origin is None)
    scale = min(1.0, max(0.0, room - certain) / guessed)
    return [
        other if other.origin is None or other.taken_cpus is None else replace(other, taken_cpus=other.taken_cpus * scale)
        for other in others
    ]


def _unrelated(workloads: Sequence[Workload], workload: Workload) -> Iterator[Workload]:
    """The workloads that neither run in this one nor have it in them, each once: what runs in another one is in that one's time.

    Of a unit that has containers or machines in it these stand for it: they have names of their own.
    """
    around = _nesting(workloads)
    candidates = {
        other.id: other
        for other in workloads
        if other.id not in around[workload.id] | {workload.id}
        and workload.id not in around[other.id]
        and not (other.guest is not None and other.guest.elsewhere)
    }
    filled = {outer for other in candidates.values() if other.paradigm != "sandbox" for outer in around[other.id]}
    opened = {id_ for id_, other in candidates.items() if other.paradigm == "process" and id_ in filled}
    for id_, other in candidates.items():
        if id_ not in opened and not around[id_] & (candidates.keys() - opened):
            yield other


def _nesting(workloads: Sequence[Workload]) -> dict[str, set[str]]:
    """Of each workload those that it runs in: by its parents, and by the groups around its own."""
    by_id = {workload.id: workload for workload in workloads}
    owners = {workload.cgroup: workload.id for workload in workloads if workload.cgroup and _has_group(workload)}
    around: dict[str, set[str]] = {}
    for workload in workloads:
        outer: set[str] = set()
        parent = workload.parent
        while parent in by_id and parent not in outer:
            outer.add(parent)
            parent = by_id[parent].parent
        path = workload.cgroup or ""
        while len(path) > 1:
            if path in owners:
                outer.add(owners[path])
            path = path.rpartition("/")[0]
        around[workload.id] = outer - {workload.id}
    return around
