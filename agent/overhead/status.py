"""Window, and the document of it -> the first look at a host, in time that grows with the number of workloads and no faster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from shlex import quote

from msgspec.structs import replace

from agent.model import names
from agent.model.components import RUN_QUEUE_DELAY
from agent.model.facts.proc_pressure import Pressure
from agent.model.finding import SEVERITIES, Finding, Severity
from agent.model.physical import Node
from agent.model.runtimes import Paradigm
from agent.model.snapshot import Prediction, Snapshot
from agent.model.status import (
    FindingStatus,
    MachineStatus,
    MendableGap,
    NodeStatus,
    PredictedWait,
    Resource,
    SharedCpus,
    SortKey,
    Stalled,
    Status,
    WorkloadStatus,
)
from agent.model.values import CpuSet, Gap, Reason
from agent.model.workload import Workload
from agent.overhead.activity import Activity, counter_increase
from agent.overhead.neighbours import cpu_time
from agent.overhead.window import Window

BUSIEST = 5
"""So many of those that share CPUs are named."""
_REASONS: tuple[Reason, ...] = ("denied", "late", "failed", "unsupported", "absent")
_WITNESSES = {"cgroup", "processes"}
"""The sources that workloads are found by."""
_NOTHING_TO_MEND = "nothing to do"


def status(window: Window, snapshot: Snapshot) -> Status:
    """The whole first look, rows in the order of the document; `chosen` sorts and filters them."""
    named = _references(snapshot.workloads)
    findings = tuple(sorted((_finding(finding, named) for finding in snapshot.findings), key=_severity_rank))
    rows = tuple(_rows(window, snapshot, named, findings))
    shared, unplaced = _shared(window, snapshot.workloads, {row.id: row for row in rows})
    mendable, others = _gaps(snapshot.gaps)
    return Status(
        taken_at=snapshot.taken_at,
        seconds=window.seconds if window.before is not None else None,
        machine=_machine(window, snapshot),
        findings=findings,
        counts=_counts(snapshot),
        rows=rows,
        shared=shared,
        unplaced=unplaced,
        gaps=mendable,
        other_gaps=others,
    )


_NUMBERS: dict[SortKey, Callable[[WorkloadStatus], float | None]] = {
    "cpu": lambda row: row.cpus_used,
    "wait": lambda row: row.wait,
    "throttled": lambda row: row.throttled_ratio,
    "memory": lambda row: row.memory_bytes,
    "lost": lambda row: row.lost_ratio,
}


def chosen(whole: Status, paradigms: Iterable[Paradigm] = (), sort: SortKey = "cpu", top: int | None = None) -> Status:
    """The same look with some rows: of these paradigms (none named: of all), sorted, the first `top`.

    Who has no such number comes last. Equal ones are in the order of their names.
    """
    wanted = frozenset(paradigms)
    rows = [row for row in whole.rows if not wanted or row.paradigm in wanted]
    rows.sort(key=lambda row: (row.name, row.id))
    if sort == "kind":
        rows.sort(key=lambda row: (row.paradigm, row.runtime))
    elif sort != "name":
        number = _NUMBERS[sort]
        # A reversed sort keeps equal ones in their order, too.
        rows.sort(key=lambda row: -1.0 if (value := number(row)) is None else value, reverse=True)
    shown = rows if top is None else rows[:top]
    return replace(whole, rows=tuple(shown), not_shown=len(rows) - len(shown))


def exit_code(look: Status) -> int:
    """2 where something is critical, 1 where something is a warning, else 0."""
    severities = {finding.severity for finding in look.findings}
    return 2 if "critical" in severities else 1 if "warning" in severities else 0


def _counts(snapshot: Snapshot) -> dict[Paradigm, int] | None:
    """None where neither groups nor processes could be read: that is not the same as none."""
    silent = {gap.source for gap in snapshot.gaps}
    return Counter(workload.paradigm for workload in snapshot.workloads) if snapshot.workloads or not silent >= _WITNESSES else None


def _references(workloads: Sequence[Workload]) -> dict[str, tuple[str, str]]:
    """By id: the name to show, and the word that other verbs take."""
    index = names.index(workloads)
    return {workload.id: (workload.name or workload.id[: names.SHORT_ID], index.word_for(workload)) for workload in workloads}


def _severity_rank(finding: FindingStatus) -> int:
    return SEVERITIES.index(finding.severity)


def _finding(finding: Finding, named: Mapping[str, tuple[str, str]]) -> FindingStatus:
    name, reference = named.get(finding.workload or "", (finding.workload, finding.workload))
    return FindingStatus(
        id=finding.id,
        severity=finding.severity,
        workload=finding.workload,
        name=name,
        text=finding.text,
        evidence=finding.evidence,
        remedy=finding.remedy,
        since=finding.since,
        command="agent topology" if reference is None else f"agent explain {quote(reference)}",
    )


def _machine(window: Window, snapshot: Snapshot) -> MachineStatus:
    identity, physical = snapshot.host, snapshot.physical
    meminfo, guest = snapshot.logical.memory.meminfo_bytes, identity.virtualization
    return MachineStatus(
        hostname=identity.hostname,
        kernel=identity.kernel,
        guest_of=(guest.hypervisor or "a hypervisor") if guest is not None and guest.kind == "guest" else None,
        packages=len(physical.packages) or None,
        cores=len(physical.cores) or None,
        online=physical.cpus.online,
        busy_cpus=window.busy_cpus(physical.cpus.online),
        memory_bytes=physical.memory.total_bytes,
        used_bytes=_less(meminfo.get("MemTotal"), meminfo.get("MemAvailable")),
        swap_bytes=meminfo.get("SwapTotal"),
        swap_used_bytes=_less(meminfo.get("SwapTotal"), meminfo.get("SwapFree")),
        pressure=tuple(_pressure(window)),
        nodes=tuple(_node(window, node) for node in physical.nodes),
    )


def _less(total: int | None, part: int | None) -> int | None:
    return None if total is None or part is None or part > total else total - part


def _node(window: Window, node: Node) -> NodeStatus:
    return NodeStatus(
        os_index=node.os_index,
        cpus=node.cpus,
        busy_cpus=window.busy_cpus(node.cpus) if node.cpus else None,
        memory_bytes=node.memory_bytes,
        free_bytes=node.free_bytes,
    )


def _pressure(window: Window) -> Iterator[Stalled]:
    """Of a window between two readings: what was counted since boot says nothing of now."""
    before = None if window.before is None else window.before.logical.pressure
    after = window.after.logical.pressure
    if before is None or after is None or not window.seconds:
        return
    ends: tuple[tuple[Resource, Pressure | None, Pressure | None], ...] = (
        ("cpu", before.cpu, after.cpu),
        ("memory", before.memory, after.memory),
        ("io", before.io, after.io),
    )
    for resource, was, now in ends:
        if was is not None and now is not None:
            # CPU pressure of all tasks is 0 for a host: some task runs.
            full = None if resource == "cpu" else _share(was.full_usec, now.full_usec, window.seconds)
            yield Stalled(resource=resource, some_ratio=_share(was.some_usec, now.some_usec, window.seconds), full_ratio=full)


def _share(was: int | None, now: int | None, seconds: float) -> float | None:
    stalled = counter_increase(was, now)
    return None if stalled is None else min(1.0, stalled * 1e-6 / seconds)


def _rows(
    window: Window, snapshot: Snapshot, named: Mapping[str, tuple[str, str]], findings: Iterable[FindingStatus]
) -> Iterator[WorkloadStatus]:
    earlier = {(was.id, was.identity): was for was in window.before.workloads} if window.before else {}
    worst: dict[str | None, Severity] = {}
    for finding in findings:
        worst.setdefault(finding.workload, finding.severity)
    waits = {found.workload: found for found in snapshot.predictions if found.component == RUN_QUEUE_DELAY.name}
    lost = {loss.workload: loss.value for loss in snapshot.losses}
    for workload in snapshot.workloads:
        activity, memory, placement = window.activity(workload), workload.memory, workload.placement
        name, reference = named[workload.id]
        yield WorkloadStatus(
            id=workload.id,
            name=name,
            reference=reference,
            paradigm=workload.paradigm,
            runtime=workload.runtime,
            parent=workload.parent,
            parent_name=named.get(workload.parent or "", (None, None))[0],
            state=workload.state,
            severity=worst.get(workload.id),
            since_start=activity is not None and activity.since_start,
            cpus_used=cpu_time(window, earlier, workload),
            cpu_limit=workload.cpu.limit_cpus,
            wait=None if activity is None or activity.delay_seconds is None else activity.delay_seconds / activity.seconds,
            throttled_ratio=_throttled(workload, activity),
            memory_bytes=_memory(workload),
            memory_limit_bytes=memory.limit_bytes,
            allotted_bytes=memory.allotted_bytes,
            last_cpus=placement.last_cpus,
            allowed_cpus=placement.allowed_cpus,
            memory_by_node=placement.memory_by_node,
            predicted_wait=_wait(waits.get(workload.id)),
            lost_ratio=lost.get(workload.id),
        )


def _throttled(workload: Workload, activity: Activity | None) -> float | None:
    """Of the periods of its own quota; 0 where none passed while it had something to run, None where it has no quota."""
    quota = workload.cpu.quota_usec
    if quota is None or quota.unlimited or activity is None or activity.periods is None or activity.throttled_periods is None:
        return None
    return min(1.0, activity.throttled_periods / activity.periods) if activity.periods else 0.0


def _memory(workload: Workload) -> int | None:
    memory = workload.memory
    match workload.paradigm:
        case "virtualization":
            return memory.resident_bytes if memory.backing_bytes is None else memory.backing_bytes
        case "sandbox":
            return memory.backing_bytes
    return memory.current_bytes


def _wait(found: Prediction | None) -> PredictedWait | None:
    if found is None:
        return None
    return PredictedWait(value=found.value, lo=found.lo, hi=found.hi, inside=found.inside, measured=found.measured, interval=found.interval)


def _shared(window: Window, workloads: Iterable[Workload], rows: Mapping[str, WorkloadStatus]) -> tuple[tuple[SharedCpus, ...], int]:
    """The online CPUs in groups that the same workloads may use; and of how many workloads nobody knows the CPUs."""
    online = window.after.physical.cpus.online
    by_mask: dict[int, list[WorkloadStatus]] = {}
    unplaced = 0
    for workload in workloads:
        allowed = workload.placement.allowed_cpus
        if workload.guest is not None and workload.guest.elsewhere:
            continue
        if allowed is None:
            unplaced += 1
        elif mask := (allowed & online).mask:
            by_mask.setdefault(mask, []).append(rows[workload.id])
    # The most that can be named of a group are the busiest of each set of CPUs: no workload is looked at again for each of its CPUs.
    sets = {mask: (len(sharing), sorted(sharing, key=_busiest_first)[:BUSIEST]) for mask, sharing in by_mask.items()}
    cores = [core.cpus.mask for core in window.after.physical.cores]
    groups = []
    for group in _parts(online.mask, by_mask):
        over = [sets[mask] for mask in sets if mask & group]
        busiest = sorted((row for _, sharing in over for row in sharing), key=_busiest_first)[:BUSIEST]
        cpus = CpuSet.of_mask(group)
        groups.append(
            SharedCpus(
                cpus=cpus,
                cores=sum(1 for core in cores if core & group) or None,
                busy_cpus=window.busy_cpus(cpus),
                workloads=sum(number for number, _ in over),
                busiest=tuple(row.name for row in busiest),
            )
        )
    return tuple(sorted(groups, key=lambda group: group.cpus.first or 0)), unplaced


def _parts(online: int, masks: Iterable[int]) -> Iterable[int]:
    """The coarsest division of the CPUs in which each set is made of whole parts."""
    parts = [online] if online else []
    for mask in masks:
        parts = [piece for part in parts for piece in (part & mask, part & ~mask) if piece]
    return parts


def _busiest_first(row: WorkloadStatus) -> tuple[float, str, str]:
    return (1.0 if row.cpus_used is None else -row.cpus_used, row.name, row.id)


def _weight(together: Iterable[Gap]) -> tuple[bool, int]:
    """Without some sources no workload is seen; then what is there and could not be read."""
    return not any(gap.source in _WITNESSES for gap in together), min(_REASONS.index(gap.reason) for gap in together)


def _gaps(gaps: Iterable[Gap]) -> tuple[tuple[MendableGap, ...], int]:
    """By remedy, and how many others there are."""
    by_remedy: dict[str, list[Gap]] = {}
    others = 0
    for gap in gaps:
        if gap.remedy is None or _NOTHING_TO_MEND in gap.remedy:
            others += 1
        else:
            by_remedy.setdefault(gap.remedy, []).append(gap)
    return tuple(
        MendableGap(
            remedy=remedy,
            reasons=tuple(dict.fromkeys(gap.reason for gap in together)),
            sources=tuple(dict.fromkeys(gap.source for gap in together)),
        )
        for remedy, together in sorted(by_remedy.items(), key=lambda item: _weight(item[1]))
    ), others
