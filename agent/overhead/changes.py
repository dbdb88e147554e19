"""What each change of a workload alters in the model: the workload itself, its activity, how busy its CPUs are."""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from agent.model.change import Change
from agent.model.facts.proc_task import Thread
from agent.model.runtimes import Paradigm
from agent.model.values import CpuSet, Limit
from agent.model.workload import Workload
from agent.overhead import paradigms, parameters
from agent.overhead.activity import Activity, scheduled
from agent.overhead.throttling import throttled_periods_share
from agent.overhead.window import Window

DEFAULT_PERIOD_USEC = 100_000
"""Of a group that never had a quota (kernel/sched/fair.c, default_cfs_period())."""


class Case(Struct, kw_only=True):
    """A workload in a window, read or altered."""

    workload: Workload
    window: Window
    activity: Activity | None
    assumed: list[str]
    caveats: list[str]


def altered(case: Case, change: Change) -> Case:
    """The model as it would be. A change to what is already so alters nothing."""
    case = Case(workload=case.workload, window=case.window, activity=case.activity, assumed=[*case.assumed], caveats=[*case.caveats])
    if change.paradigm is not None and change.paradigm != case.workload.paradigm:
        _becomes(case, change.paradigm)
    if change.pin is not None:
        _pinned(case, change.pin)
    if change.cpus is not None:
        _limited(case, change.cpus)
    if change.weight is not None:
        _weighed(case, change.weight)
    if change.hugepages:
        _huge(case)
    if change.node is not None:
        _bound(case, change.node)
    return case


def _becomes(case: Case, paradigm: Paradigm) -> None:
    case.workload, assumed = paradigms.become(case.workload, paradigm)
    case.assumed += assumed
    case.caveats.append("device input and output, and what the application itself does differently there")
    if paradigm == "virtualization":
        case.caveats.append("exits of its vCPUs, and how its guest would schedule and boot")


def _pinned(case: Case, cpus: CpuSet) -> None:
    workload, host = case.workload, case.window.after
    if not cpus or not cpus <= host.physical.cpus.online:
        raise ValueError(f"CPUs {cpus - host.physical.cpus.online or 'none'}: not online here")
    allowed = workload.placement.allowed_cpus
    if cpus == allowed:
        return
    _moved(case, cpus)
    nodes = [node.os_index for node in host.physical.nodes if node.cpus and node.cpus & cpus]
    last = workload.placement.last_cpus
    placement = replace(
        workload.placement,
        allowed_cpus=cpus,
        nodes_spanned=CpuSet(nodes) if all(node.cpus is not None for node in host.physical.nodes) and nodes else None,
        last_cpus=last if last and last <= cpus else cpus,
    )
    first = next(iter(cpus))

    def moved(thread: Thread) -> Thread:
        """On a CPU of its new node; on several nodes nobody knows which."""
        stays = thread.last_cpu is not None and thread.last_cpu in cpus
        return replace(thread, allowed_cpus=cpus, last_cpu=thread.last_cpu if stays else first if len(nodes) == 1 else None)

    case.workload = replace(
        workload,
        placement=placement,
        threads=tuple(moved(thread) for thread in workload.threads),
        vcpus=tuple(replace(vcpu, affinity=cpus, pinned=True, thread=vcpu.thread and moved(vcpu.thread)) for vcpu in workload.vcpus),
    )


def _moved(case: Case, cpus: CpuSet) -> None:
    """The workload's time leaves the CPUs where its threads ran last and spreads over `cpus`; what others ask of them stays."""
    activity, window = case.activity, case.window
    if activity is None:
        return
    busy = {cpu: window.busy_cpus(CpuSet((cpu,))) for cpu in window.after.physical.cpus.online}
    own = None if activity.run_seconds is None else activity.run_seconds / activity.seconds
    ran = _where(case.workload, own)
    busy_known = {cpu: share for cpu, share in busy.items() if share is not None}
    if own is None or ran is None or len(busy_known) < len(busy):
        case.activity = None
        case.caveats.append("waiting and switching: where its threads ran, or how busy each CPU is, is not known")
        return
    others = {cpu: max(0.0, share - ran.get(cpu, 0.0)) for cpu, share in busy_known.items()}
    others_on_target = sum(others[cpu] for cpu in cpus)
    gets = min(own, _room(activity, len(cpus), others_on_target, own))
    case.window = replace(window, supposed={cpu: share + (gets / len(cpus) if cpu in cpus else 0.0) for cpu, share in others.items()})
    case.activity = _running(activity, gets, own)
    limit, stopped = case.workload.cpu.limit_cpus, activity.throttled_seconds
    before = case.workload.placement.allowed_cpus
    if stopped and limit is not None and before:
        threads = max(activity.runnable_threads or 0.0, own + stopped / activity.group_seconds)
        # Fewer run queues stand still where there are fewer CPUs.
        queues = min(threads, float(len(before))) - limit
        fewer = max(0.0, min(threads, float(len(cpus))) - limit) / queues if queues > 0 else 1.0
        case.activity = replace(case.activity, throttled_seconds=stopped * fewer)


def _where(workload: Workload, own: float | None) -> dict[int, float] | None:
    """CPUs' worth of its running by the CPU on which each thread ran last."""
    run_ns: dict[int, float] = {}
    for thread in scheduled(workload):
        if thread.last_cpu is None or thread.run_ns is None:
            return None
        run_ns[thread.last_cpu] = run_ns.get(thread.last_cpu, 0.0) + thread.run_ns
    total_ns = sum(run_ns.values())
    if own is None or (own and not total_ns):
        return None
    return {cpu: own * part / total_ns for cpu, part in run_ns.items()} if total_ns else {}


def _room(activity: Activity, cpus: int, others: float, own: float) -> float:
    """CPUs that its threads could run on beside `others`: what those leave, or an equal part by thread."""
    threads = max(activity.runnable_threads or 0.0, own)
    return min(threads, max(cpus - others, cpus * threads / (threads + others) if threads else 0.0))


def _running(activity: Activity, gets: float, own: float) -> Activity:
    """It runs `gets` CPUs' worth in the place of `own`, and its group's usage follows; where that is not counted, running is usage."""
    scale = gets / own if own > 0 else 1.0
    run, usage = activity.run_seconds, activity.usage_seconds
    return replace(
        activity,
        run_seconds=None if run is None else run * scale,
        usage_seconds=None if (usage is None and run is None) else (run or 0.0) * scale if usage is None else usage * scale,
    )


def _limited(case: Case, cpus: Limit) -> None:
    workload = case.workload
    if not cpus > 0:
        raise ValueError(f"{cpus:g} CPUs: a quota is more than none")
    period = workload.cpu.period_usec or DEFAULT_PERIOD_USEC
    old = workload.cpu.quota_usec
    quota = Limit(cpus * period)
    if quota == (Limit(math.inf) if old is None else old):
        return
    above = workload.cpu.limit_cpus if workload.cpu.limited_by != workload.cgroup else None
    if above is not None and above < cpus:
        case.caveats.append(f"a group above allows {above:g} CPUs, which then binds")
    case.workload = replace(
        workload,
        cpu=replace(
            workload.cpu,
            quota_usec=quota,
            period_usec=period,
            limit_cpus=min(above, Limit(cpus)) if above is not None else Limit(cpus),
            limited_by=workload.cpu.limited_by if above is not None and above < cpus else workload.cgroup,
        ),
    )
    if case.activity is not None:
        _demand(case, case.activity, None if old is None or old.unlimited else old / period, min(cpus, above or cpus), period * 1e-6)


def _demand(case: Case, activity: Activity, old: float | None, new: float, period: float) -> None:
    """What it would run, and how long its group would stand still, under a quota of `new` CPUs in the place of `old`."""
    allowed, window = case.workload.placement.allowed_cpus, case.window
    busy = window.busy_cpus(allowed) if allowed else None
    run, runnable = activity.run_seconds, activity.runnable_threads
    stood = 0.0 if old is None and activity.throttled_seconds is None else activity.throttled_seconds
    others = None if busy is None or run is None else window.others(busy, activity, run, activity.seconds)
    if run is None or runnable is None or stood is None or not allowed or others is None:
        case.activity = None
        case.caveats.append("waiting and standing still: its threads' time, or its CPUs', is not known")
        return
    own, stopped = run / activity.seconds, stood / activity.group_seconds
    # As the prediction has it: stopped threads were runnable, and no more than there are CPUs run at a time.
    threads = min(max(runnable, own + stopped), float(len(allowed)))
    held_back = old is not None and threads > old and own >= 0.95 * old
    if held_back and old is not None:
        # They never sleep: each CPU more is run on, until there are no more threads or CPUs.
        room = max(own, _room(activity, len(allowed), others, own))
        gets = own * new / old if new < old else min(own + new - old, room)
        stands = stopped * max(0.0, threads - new) / (threads - old)
    else:
        gets = min(own, new)
        stands = _falls_behind(own, new, threads) if new < own else _stands(stopped, own, old, new, period, threads)
        if new >= own and (stopped or new < threads):
            case.caveats.append("how long a group stands still whose demand varies around its quota")
    # Of what CPUs did since boot its life is a part only.
    part = activity.seconds / window.cpu_seconds if activity.since_start and window.cpu_seconds else 1.0
    case.window = replace(window, supposed=_scaled(window, allowed, others + gets * part))
    case.activity = replace(
        _running(activity, gets, own),
        # Who stands still could run.
        runnable_threads=max(runnable, min(gets + stands, math.ceil(threads))) if stands else runnable,
        periods=activity.periods or math.ceil(activity.group_seconds / period),
        throttled_periods=None,
        throttled_seconds=stands * activity.group_seconds,
    )


def _scaled(window: Window, cpus: CpuSet, wanted: float) -> dict[int, float]:
    """Busy shares whose sum over `cpus` is `wanted`: what the others ask is in it as it was."""
    busy_shares = {cpu: window.busy_cpus(CpuSet((cpu,))) for cpu in window.after.physical.cpus.online | cpus}
    shares = {cpu: share for cpu, share in busy_shares.items() if share is not None}
    busy = sum(shares[cpu] for cpu in cpus)
    return shares | {cpu: shares[cpu] * wanted / busy if busy else wanted / len(cpus) for cpu in cpus}


def _falls_behind(own: float, new: float, threads: float) -> float:
    """Standing still under a quota below what it runs now: each turn takes longer, and it sleeps as long between two of them as before."""
    most = float(math.ceil(threads))
    return max(0.0, most - new - (most - threads) * new / own)


def _stands(stopped: float, own: float, old: float | None, new: float, period: float, threads: float) -> float:
    """Standing still now, by how much rarer or more frequent throttling is predicted to be; at most what threads that never sleep do."""
    if not stopped or old is None:
        return 0.0
    variation = parameters.BURSTINESS.mode
    now = throttled_periods_share(own * period, variation, old * period, period, threads)
    then = throttled_periods_share(own * period, variation, new * period, period, threads)
    return min(max(0.0, threads - new), stopped * then / now if now > 0 else stopped)


def _weighed(case: Case, weight: int) -> None:
    if not 1 <= weight <= 10000:
        raise ValueError(f"weight {weight}: between 1 and 10000")
    cpu = case.workload.cpu
    # kernel/sched/core.c, cpu_weight_write_u64(): weight 100 is 1024 shares.
    cpu = replace(cpu, shares=max(2, round(weight * 10.24))) if cpu.shares is not None else replace(cpu, weight=weight)
    case.workload = replace(case.workload, cpu=cpu)
    case.caveats.append("waiting: its formula counts threads as equals")


def _huge(case: Case) -> None:
    memory = case.workload.memory
    stat = dict(memory.stat)
    for all_pages, huge in (("anon", "anon_thp"), ("total_rss", "total_rss_huge")):
        if huge in stat and all_pages in stat:
            stat[huge] = stat[all_pages] + stat.get("file_mapped" if all_pages == "anon" else "total_mapped_file", 0)
    case.workload = replace(
        case.workload,
        memory=replace(
            memory,
            stat=stat,
            backing_huge_bytes=None if memory.backing_huge_bytes is None else memory.backing_bytes,
            anon_huge_bytes=None if memory.anon_huge_bytes is None else memory.resident_bytes,
        ),
    )
    case.caveats.append("how often it walks page tables is not counted here: how much time cheaper walks save is not said")
    if case.workload.paradigm == "virtualization":
        case.caveats.append("the guest's own pages: huge ones below small ones shorten the host's half of a walk only")


def _bound(case: Case, node: int) -> None:
    host, placement = case.window.after, case.workload.placement
    if node not in {entry.os_index for entry in host.physical.nodes}:
        raise ValueError(f"node {node}: not there")
    if not placement.memory_by_node:
        case.caveats.append("on which nodes its memory lies is not known here")
        return
    pages = {node: sum(placement.memory_by_node.values())}
    case.workload = replace(case.workload, placement=replace(placement, memory_by_node=pages))
