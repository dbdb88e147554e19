"""CPU time that a workload wants and does not get: quotas while CPUs stand idle, neighbours, weights without effect, tasks that run out.

Sources: Documentation/scheduler/sched-bwc.rst, sched-stats.rst (run delay), Documentation/admin-guide/cgroup-v2.rst (cpu.weight, pids.max).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.model.finding import Finding
from agent.model.remedies import limit_cpus, limit_pids, weigh, weigh_group
from agent.model.workload import Workload
from agent.overhead.neighbours import neighbours
from agent.overhead.window import Window
from agent.overhead.workload_window import WorkloadWindow

THROTTLED_RATIO = 0.25
"""Share of the periods in which a group ran out of its quota, from which on it is worth a look."""
BURSTS_RATIO = 0.1
"""The same of a group whose average leaves room in its quota: what it wants in a burst is all that it lacks."""
BURSTS_USED_RATIO = 0.8
LEAST_PERIODS = 5
IDLE_CPUS = 0.5
"""CPUs that stood idle of those that it may use, so that nobody would lose what it gained."""
STARVED_RATIO = 0.3
STARVED_CPUS = 0.1
"""Of the time that it wants to run, and in CPUs, what it waits for: below that nobody would notice."""
TAKEN_RATIO = 0.25
BUSY_RATIO = 0.8
"""Shares of the CPUs that it may use, which others keep busy, and which are busy in all: where one stands idle, it waits for something
else."""
PIDS_RATIO = 0.9
PIDS_ALMOST_ALL_RATIO = 0.97
_NAMED = 3
_MOST_NAMED = 20
"""Of so many workloads, those that wait most, the neighbours are named: to divide CPU time among all is work for each of them."""
_ROOM = 1.5
_WEIGHT_TIMES = 10.0


def cpu_troubles(case: WorkloadWindow) -> Iterator[Finding]:
    """What one workload's own limits keep it from."""
    if (throttled := _throttled(case)) is not None:
        yield throttled
    if (full := _pids(case)) is not None:
        yield full


def _throttled(case: WorkloadWindow) -> Finding | None:
    activity, cpu, allowed = case.activity, case.workload.cpu, case.workload.placement.allowed_cpus
    if case.seconds is None or activity is None or not activity.throttled_periods or (activity.periods or 0) < LEAST_PERIODS:
        return None
    quota, stopped, periods, usage = cpu.quota_usec, activity.throttled_periods, activity.periods, activity.usage_seconds
    if quota is None or quota.unlimited or not cpu.period_usec or not periods or usage is None or not allowed:
        return None
    share, limit, used = stopped / periods, quota / cpu.period_usec, usage / activity.group_seconds
    is_bursty = used < BURSTS_USED_RATIO * limit
    if share < (BURSTS_RATIO if is_bursty else THROTTLED_RATIO):
        return None
    usable = allowed & case.window.after.physical.cpus.online
    busy = case.window.busy_cpus(usable)
    idle = None if busy is None else len(usable) - busy
    if idle is None or idle < IDLE_CPUS or limit >= len(usable):
        return None
    wanted = max(limit * _ROOM, min(limit + idle, activity.runnable_threads or 0.0))
    text = (
        f"its bursts are stopped in {share:.0%} of the periods, though on average it leaves room in its limit"
        if is_bursty
        else f"it is stopped in {share:.0%} of the periods, while CPUs that it may use stand idle"
    )
    return Finding.of(
        kind="throttled_bursts" if is_bursty else "throttled",
        workload=case.workload.id,
        text=text,
        evidence=(f"{stopped} of {periods} periods; {used:.2f} of {limit:g} CPUs used, {idle:.2f} of {len(usable)} CPUs {usable} idle"),
        remedy=limit_cpus(case.workload, min(float(len(usable)), round(wanted + 0.049, 1)), case.version),
    )


def _pids(case: WorkloadWindow) -> Finding | None:
    pids = case.workload.pids
    limit = None if pids is None else pids.max
    if pids is None or limit is None or limit.unlimited or limit <= 0 or pids.current is None:
        return None
    if pids.current < PIDS_RATIO * limit and not pids.max_events:
        return None
    refused = case.grown(_refused_forks)
    if pids.current < PIDS_RATIO * limit and not refused:
        return None
    more = f"; {refused:.0f} forks refused within {case.window.seconds or 0.0:.1f} s" if refused else ""
    return Finding.of(
        kind="pids_near_limit",
        workload=case.workload.id,
        text="it may not start many more processes or threads" if not refused else "it is refused new processes and threads",
        evidence=f"{pids.current} tasks of {limit:.0f}{more}",
        remedy=limit_pids(case.workload, round(limit * 2), case.version),
        severity="critical" if refused or pids.current >= PIDS_ALMOST_ALL_RATIO * limit else None,
    )


def _refused_forks(workload: Workload) -> int | None:
    """By its own limit, where the kernel tells them apart (pids.events.local, since Linux 6.10)."""
    pids = workload.pids
    return None if pids is None else pids.own_max_events if pids.own_max_events is not None else pids.max_events


def starving(window: Window, cases: Sequence[WorkloadWindow]) -> Iterator[Finding]:
    """Who waits while others run on its CPUs, and who these are."""
    waiting = sorted(((wait, case) for case in cases if (wait := _waiting_cpus(case)) is not None), key=lambda pair: pair[0], reverse=True)
    for place, (wait, case) in enumerate(waiting):
        yield from _starved(window, case, wait, is_named=place < _MOST_NAMED)


def _waiting_cpus(case: WorkloadWindow) -> float | None:
    """CPUs that it waited for behind others; None where that is not much, or not known."""
    activity = case.activity
    if case.was is None or activity is None or activity.asked is None:
        return None
    ran, waited = activity.asked
    # What a quota stops waits for its quota, and counts as run delay, too.
    stopped = (activity.throttled_seconds or 0.0) / activity.group_seconds
    waited = max(0.0, waited - stopped * max(1.0, activity.runnable_threads or 1.0))
    return waited if waited >= STARVED_CPUS and waited >= STARVED_RATIO * (ran + waited) else None


def _starved(window: Window, case: WorkloadWindow, waited: float, is_named: bool) -> Iterator[Finding]:
    workload, activity, allowed = case.workload, case.activity, case.workload.placement.allowed_cpus
    if activity is None or activity.asked is None or not allowed:
        return
    usable, ran = allowed & window.after.physical.cpus.online, activity.asked[0]
    busy = window.busy_cpus(usable)
    # It waits for its own threads where nobody else is on its CPUs.
    if busy is None or not usable or busy < BUSY_RATIO * len(usable) or busy - ran < TAKEN_RATIO * len(usable):
        return
    around = neighbours(window, workload) if is_named else None
    named = [other for other in around.workloads if (other.taken_cpus or 0.0) > 0] if around else []
    names = ", ".join(f"{other.name} {(other.taken_cpus or 0.0) / len(usable):.0%}" for other in named[:_NAMED])
    rest = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    text = f"it waits {waited / (ran + waited):.0%} of the time that it wants to run"
    evidence = f"ran {ran:.2f} and waited {waited:.2f} s a second; others keep {(busy - ran) / len(usable):.0%} of CPUs {usable} busy"
    if around and around.rest_cpus is not None:
        evidence += f", {around.rest_cpus / len(usable):.0%} of it what is in no workload"
    yield Finding.of(
        kind="starved",
        workload=workload.id,
        text=text + (f", behind {names}{rest}" if names else ", behind others"),
        evidence=evidence,
        remedy=weigh(workload, _WEIGHT_TIMES, case.version),
    )
    owners = {other.id: other.cgroup for other in window.after.workloads}
    parent = _parent(workload.cgroup)
    weight = workload.cpu.weight
    if weight is None or weight <= 100 or not named or parent is None:
        return
    groups = [owners.get(other.workload) for other in named]
    if all(group is not None and _parent(group) != parent for group in groups):
        yield Finding.of(
            kind="weight_without_effect",
            workload=workload.id,
            text="its CPU weight counts among the groups beside it only, and who competes is elsewhere",
            evidence=f"cpu.weight {weight} in {parent}; {names}{rest} in {', '.join(sorted({_parent(group) or '/' for group in groups}))}",
            remedy=weigh_group(parent, weight),
        )


def _parent(path: str | None) -> str | None:
    return path.rpartition("/")[0] or None if path else None
