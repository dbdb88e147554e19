"""Window -> predictions: which component applies to which workload, with which inputs, beside which measurement.

An input that is not there makes the prediction absent, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from agent.model.snapshot import Prediction
from agent.model.values import CpuSet
from agent.model.workload import Workload
from agent.overhead import memory, parameters, scheduling, throttling, translation
from agent.overhead.parameters import bounds
from agent.overhead.window import Activity, Window

SATURATED = 0.95
HUGE_PAGE_BYTES = 2 << 20

Kind = Literal["intrinsic", "contention"]


def predict(window: Window) -> tuple[Prediction, ...]:
    found: list[Prediction | None] = []
    for workload in window.after.workloads:
        activity = window.activity(workload)
        if activity is not None:
            found.append(run_queue_delay(workload, window, activity))
            found += throttled(workload, window, activity)
        found += walks(workload, window)
        found.append(memory_overhead(workload, window))
    return tuple(prediction for prediction in found if prediction is not None)


def run_queue_delay(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """Seconds of delay in a second, summed over the workload's threads (of a machine: its vCPUs'; the host level of two).

    The kernel counts the time in which a group's quota holds its runnable threads back as their run delay, on 6.18, too, which
    dequeues them. A group waits in that time for its quota and in the rest, `eligible`, for a CPU.
    """
    cpus = workload.placement.allowed_cpus
    busy = window.busy_cpus(cpus) if cpus else None
    run, runnable, stopped = activity.run_seconds, activity.runnable_threads, _stopped(workload, activity)
    if not cpus or busy is None or window.cpu_seconds is None or run is None or runnable is None or stopped is None:
        return None
    own = run / activity.seconds
    # Both are averages, each over its own time: a workload's life may be shorter than the CPUs'.
    others = max(0.0, busy - run / window.cpu_seconds)
    # States are two moments only; what ran or was stopped was runnable.
    threads = max(runnable, own + stopped)
    if stopped and activity.periods is None:
        return None
    held = throttling.held_threads(stopped, threads, len(cpus))
    eligible = min(1.0, max(1 - held / threads, own / len(cpus))) if held else 1.0
    demand = own / eligible if own else 0.0
    flags = _flags(activity, window)
    limit = workload.cpu.limit_cpus
    unseen = (
        limit is not None and not limit.unlimited and (activity.throttled_seconds is None or workload.cpu.limited_by != workload.cgroup)
    )
    if unseen or workload.cpu.weight not in (None, 100) or workload.cpu.shares not in (None, 1024):
        # What a group above holds back is not in this one's counters, and threads count as equals.
        flags.append("extrapolated")
    inputs = {"cpus": float(len(cpus)), "own_busy_cpus": own, "other_busy_cpus": others, "held_threads": held}
    if (demand + others) / len(cpus) >= SATURATED:
        tasks, elsewhere = window.runnable_tasks, window.busy_cpus(window.after.physical.cpus.online - cpus)
        if tasks is None or (elsewhere is None and not window.after.physical.cpus.online <= cpus):
            return None
        # The tasks of the host that are not ours, nor run on a CPU that we may not use: at most these compete.
        crowd = max(others, tasks - (threads - held) - (elsewhere or 0.0))
        low = scheduling.saturated_delay(demand, others, len(cpus))
        point = scheduling.saturated_delay(threads, math.sqrt(others * crowd), len(cpus))
        high = scheduling.saturated_delay(threads, crowd, len(cpus))
        interval = (point, min(low, point), max(high, point))
        inputs |= {"own_runnable_threads": threads, "other_runnable_tasks": crowd}
        formula = "held + eligible*n*(1 - m/(n + k)): n own and k other runnable threads of equal weight on m CPUs"
        flags.append("saturated")
    else:
        unsaturated = _unsaturated(window, activity, len(cpus), demand, others, inputs)
        if unsaturated is None:
            return None
        # It counts timeslices, all of which are in the eligible time.
        interval = (unsaturated[0] / eligible, unsaturated[1] / eligible, unsaturated[2] / eligible)
        formula = "held + timeslices/s * (phi*W + wake-up); W between Erlang C over m CPUs and rho/(1-rho), times the mean burst"
    # Both counters, of the delay and of the stop, grow when the wait is over: what is cut off at the ends of the window differs.
    cut = held * _edge(activity.periods or 0) if held else 0.0
    point, low, high = (held + eligible * figure for figure in interval)
    low, high = max(0.0, low - cut), high + cut
    if held:
        # Beside others a thread of a group out of quota may wait without being stopped, but no longer than it does not run.
        high = max(high, threads - own + cut)
    measured = None if activity.delay_seconds is None else activity.delay_seconds / activity.seconds
    source = "/proc/PID/task/TID/schedstat, field 2"
    return _prediction(
        workload, "run_queue_delay", (point, low, high), "seconds/second", "contention", formula, inputs, flags, measured, source
    )


def _stopped(workload: Workload, activity: Activity) -> float | None:
    """Run queues of the group that stand still, on average; none without a quota of its own."""
    if activity.throttled_seconds is not None:
        return activity.throttled_seconds / activity.seconds
    return 0.0 if workload.cpu.quota_usec is None or workload.cpu.quota_usec.unlimited else None


def _unsaturated(
    window: Window, activity: Activity, cpus: int, own: float, others: float, inputs: dict[str, float]
) -> tuple[float, float, float] | None:
    slices, run, active = activity.timeslices, activity.run_seconds, activity.active_threads
    virtual, online = window.after.identity.virtualization, len(window.after.physical.cpus.online)
    if slices is None or run is None or active is None or virtual is None or not online:
        return None
    if not slices or not run:
        return 0.0, 0.0, 0.0
    wake = parameters.WAKE_GUEST if virtual.kind == "guest" else parameters.WAKE
    # To one thread its siblings are others, too.
    utilisation = min(SATURATED, (others + own * (1 - 1 / max(1, active))) / cpus)

    # A stated tick is not asked for: few kernels show their configuration, and a figure must not depend on whether they do.
    def burst(norm: float, tick: float) -> float:
        return min(run / slices, scheduling.slice_seconds(scheduling.base_slice_seconds(online, norm), tick))

    norm, tick, rate = parameters.SLICE_NORM, parameters.TICK_HZ, slices / activity.seconds
    queued = parameters.QUEUED
    balanced, alone = scheduling.wait_balanced_seconds(cpus, utilisation, 1.0), scheduling.wait_alone_seconds(utilisation, 1.0)
    mean = burst(norm.mode, tick.mode)
    inputs |= {
        "timeslices_per_second": rate,
        "utilisation_by_others": utilisation,
        "mean_burst_seconds": mean,
        "queued_share": queued.mode,
        "wake_up_seconds": wake.mode,
    }
    return (
        rate * (queued.mode * math.sqrt(balanced * alone) * mean + wake.mode),
        rate * (queued.lo * balanced * burst(norm.lo, tick.hi) + wake.lo),
        rate * (queued.hi * alone * burst(norm.hi, tick.lo) + wake.hi),
    )


def throttled(workload: Workload, window: Window, activity: Activity) -> Iterable[Prediction | None]:
    """Share of periods with throttling, and throttled time, of a group with a quota of its own."""
    cpu, cpus = workload.cpu, workload.placement.allowed_cpus
    if cpu.quota_usec is None or cpu.quota_usec.unlimited or not cpu.period_usec or not cpus:
        return
    usage, runnable, periods = activity.usage_seconds, activity.runnable_threads, activity.periods
    quota, period = cpu.quota_usec * 1e-6, cpu.period_usec * 1e-6
    if usage is None or runnable is None or periods is None or quota <= 0 or period <= 0:
        return
    threads = min(runnable, float(len(cpus)))
    flags = _flags(activity, window)
    inputs = {"quota_seconds": quota, "period_seconds": period, "runnable_threads": runnable, "cpus": float(len(cpus)), "periods": periods}
    # Without an active period nothing was measured: no share of none.
    share = None if not periods or activity.throttled_periods is None else activity.throttled_periods / periods
    time = None if activity.throttled_seconds is None else activity.throttled_seconds / activity.seconds
    edge = _edge(periods)
    mean = usage / max(1, periods)
    reach = min(max(threads, 1.0, math.ceil(min(usage / activity.seconds, len(cpus)))), float(len(cpus)))
    overrun = parameters.SLICE_RETURN.hi * min(len(cpus), math.ceil(max(threads, 1.0)))
    # Demand beyond the quota cannot be seen in the usage; that the threads never sleep, and use it up, can.
    bound = threads * period > quota and mean >= 0.95 * (1 - edge) * quota
    others = 0.0
    if bound:
        busy = window.busy_cpus(cpus)
        if busy is None or window.cpu_seconds is None:
            return
        others = max(0.0, busy - usage / window.cpu_seconds)
        inputs |= {"other_busy_cpus": others}
        shares = (1.0, max(0.0, throttling.throttled_share_beside(quota, period, threads, others) - overrun / quota - edge), 1.0)
        formula = "1: threads that never sleep and may use more than the quota in a period are stopped in each"
    else:
        shares = _shares(mean, cpu.burst_usec or 0, quota, period, reach, overrun, edge)
        inputs |= {"mean_demand_seconds": mean, "variation": parameters.BURSTINESS.mode}
        formula = "token bucket of quota + burst, demand by period gamma distributed with the measured mean"
    source = "cpu.stat nr_throttled/nr_periods"
    weak = flags if bound else [*flags, "prior_only"]
    yield _prediction(workload, "throttled_periods", shares, "ratio", "contention", formula, inputs, weak, share, source)
    if bound:
        fewest, most = max(quota / period, math.floor(threads)), min(float(len(cpus)), math.ceil(threads))
        point = throttling.throttled_seconds(quota, period, threads) / period
        low = throttling.throttled_seconds_beside(quota + overrun, period, fewest, others) / period * (1 - edge)
        high = throttling.throttled_seconds(quota, period, most) / period * (1 + edge)
        interval = (point, min(low, point), max(high, point))
        formula = "(n*P - Q)/P: each of n run queues stands still while its CPU does not run the group"
        source = "cpu.stat throttled time"
        yield _prediction(workload, "throttled_time", interval, "seconds/second", "contention", formula, inputs, flags, time, source)


def _edge(periods: int) -> float:
    """The periods at both ends of the window are seen in part, and a share of few periods is a coarse number."""
    return min(1.0, 1.5 / max(1, periods))


def _shares(
    mean: float, burst_usec: int, quota: float, period: float, threads: float, overrun: float, edge: float
) -> tuple[float, float, float]:
    """Point and interval over the variation of demand and the quota that CPUs overrun, or keep from one another."""

    def share(variation: float, served: float) -> float:
        return throttling.throttled_periods_share(mean, variation, served, period, threads, burst_usec * 1e-6) if served > 0 else 1.0

    wide = parameters.BURSTINESS
    if mean <= 0 or quota >= threads * period:
        point = low = 0.0
    else:
        point, low = share(wide.mode, quota), min(share(wide.lo, quota + overrun), share(wide.hi, quota + overrun))
    high = max(share(wide.lo, quota - overrun), share(wide.hi, quota - overrun))
    return point, max(0.0, min(low, point) - edge), min(1.0, max(high, point) + edge)


def walks(workload: Workload, window: Window) -> Iterable[Prediction | None]:
    """References of a page walk, and what one costs with the caches of this host."""
    levels, kvm = window.after.logical.cpu.page_table_levels, window.after.logical.kvm
    machine = workload.paradigm == "virtualization"
    if machine and (workload.guest is None or workload.guest.accelerator != "kvm" or kvm is None):
        # An emulator translates in software: there is no walk of the guest's.
        return
    nested = machine and kvm is not None and kvm.nested_paging is True
    if machine and kvm is not None and kvm.nested_paging is None and kvm.vendor_module in (None, "kvm_intel", "kvm_amd"):
        # These can do both. Others (a software MMU) cannot.
        return
    mapped = _mapped(workload)
    if levels is None or levels < 2 or mapped is None:
        return
    used, huge = mapped
    flags = ["no_counterpart"]
    pages = levels - huge
    inputs = {"levels": float(levels), "huge_page_share": huge}
    smallest = translation.references_native(levels, 1)
    if nested:
        # What pages the guest uses is not seen from here: 4 KiB is its default.
        interval = (
            levels * pages + levels + pages,
            float(translation.references_nested(smallest, smallest)),
            float(translation.references_nested(levels, levels)),
        )
        formula = "g*h + g + h, g levels in the guest and h on the host; a huge page saves one"
    elif machine:
        flags.append("shadow")
        interval = (float(levels), float(smallest), float(levels))
        formula = "g: shadow page tables are walked as native ones"
    else:
        interval = (pages, float(smallest), float(levels))
        formula = "n levels; a huge page saves one"
    yield _prediction(workload, "walk_references", interval, "references/walk", "intrinsic", formula, inputs, flags)
    yield _walk_cost(workload, window, nested, used, huge, flags)


def _walk_cost(workload: Workload, window: Window, nested: bool, used: float, huge: float, flags: list[str]) -> Prediction | None:
    capacities = _capacities(window, workload.placement.allowed_cpus)
    if not capacities:
        return None

    def cost(pick: Literal["lo", "mode", "hi"]) -> float:
        helps: Literal["lo", "mode", "hi"] = "hi" if pick == "lo" else "lo" if pick == "hi" else "mode"
        latencies = (parameters.L1_SECONDS, parameters.L2_SECONDS, parameters.L3_SECONDS)[: len(capacities)]
        caches = translation.Hierarchy(
            capacities,
            tuple(getattr(latency, pick) for latency in latencies),
            getattr(parameters.DRAM_SECONDS, pick),
            getattr(parameters.STRUCTURE_HIT_SECONDS, pick),
            getattr(parameters.LEAF_SHARE, helps),
            {"lo": (64.0, 32.0), "mode": (32.0, 16.0), "hi": (16.0, 4.0)}[pick],
        )
        span = max(float(memory.PAGE_BYTES), used * getattr(parameters.WORKING_SET_SHARE, pick))
        # Which pages a guest uses is not seen from here: the smallest at worst, huge ones at best.
        guest = HUGE_PAGE_BYTES if pick == "lo" else memory.PAGE_BYTES
        small = _walk(span, guest, memory.PAGE_BYTES, nested, caches)
        large = _walk(span, guest, HUGE_PAGE_BYTES, nested, caches)
        share = {"lo": 1.0, "mode": huge, "hi": 0.0}[pick]
        return share * large + (1 - share) * small

    interval = (cost("mode"), cost("lo"), cost("hi"))
    inputs = {"used_bytes": used, "huge_page_share": huge, "working_set_share": parameters.WORKING_SET_SHARE.mode} | {
        f"l{level}_bytes": capacity for level, capacity in enumerate(capacities, 1)
    }
    formula = "fixed + leaf entry + upper entries past the paging-structure caches, each at the latency of the cache that holds it"
    return _prediction(workload, "walk_cost", interval, "seconds/walk", "intrinsic", formula, inputs, flags)


def _walk(span: float, guest_page: int, page: int, nested: bool, caches: translation.Hierarchy) -> float:
    if nested:
        return translation.walk_nested_seconds(span, guest_page, page, caches)
    return translation.walk_native_seconds(span, page, caches)


def _mapped(workload: Workload) -> tuple[float, float] | None:
    """Mapped bytes of the workload, and how much of them lies in huge pages (0..1). One source for each kind, or none."""
    held = workload.memory
    used: int | None
    match workload.paradigm:
        case "virtualization":
            used, whole, huge = held.backing_bytes, held.backing_bytes, held.backing_huge_bytes
        case "containerization":
            # v2, then v1, whose counts below the group are "total_".
            stat = held.stat
            anon, mapped, huge = stat.get("anon"), stat.get("file_mapped"), stat.get("anon_thp")
            if anon is None:
                anon, mapped, huge = stat.get("total_rss"), stat.get("total_mapped_file"), stat.get("total_rss_huge")
            used = whole = None if anon is None or mapped is None else anon + mapped
        case "sandbox":
            used, whole, huge = held.backing_bytes, held.resident_bytes, held.anon_huge_bytes
        case _:
            used, whole, huge = held.resident_bytes, held.resident_bytes, held.anon_huge_bytes
    if not used or not whole or huge is None or used < 0 or whole < 0:
        return None
    return float(used), min(1.0, max(0.0, huge / whole))


def _capacities(window: Window, cpus: CpuSet | None) -> tuple[float, ...]:
    """Bytes of the data caches of one allowed CPU, innermost first; none where a level's size is not known."""
    cpu = next(iter(cpus), None) if cpus else None
    sizes = {cache.level: cache.size_bytes for cache in window.after.physical.caches if cpu in cache.cpus and cache.type != "Instruction"}
    known = [float(sizes.get(level) or 0) for level in range(1, max(sizes, default=0) + 1)]
    return tuple(known[:3]) if all(size > 0 for size in known) else ()


def memory_overhead(workload: Workload, window: Window) -> Prediction | None:
    """Bytes beyond what the application itself uses."""
    match workload.paradigm:
        case "virtualization":
            return _machine_memory(workload)
        case "containerization":
            return _container_memory(workload, window)
        case "sandbox":
            return _sandbox_memory(workload)
    return None


def _machine_memory(workload: Workload) -> Prediction | None:
    guest, held = workload.guest, workload.memory
    if guest is None or not workload.vcpus or guest.iothreads is None or guest.video_bytes is None:
        return None
    iothreads, vcpus, video = guest.iothreads, len(workload.vcpus), float(guest.video_bytes)

    def formula(base: float, vcpu: float, iothread: float, shown: float) -> float:
        return memory.qemu_bytes(base, vcpu, vcpus, iothread, iothreads, video * shown)

    interval = bounds(formula, parameters.QEMU_BASE, parameters.QEMU_PER_VCPU, parameters.QEMU_PER_IOTHREAD, parameters.QEMU_VIDEO)
    measured = None if held.resident_bytes is None or held.backing_bytes is None else held.resident_bytes - held.backing_bytes
    inputs = {"vcpus": float(vcpus), "iothreads": float(iothreads), "video_bytes": video}
    text = "base + per vCPU + per iothread + video memory, of the QEMU process beyond guest memory"
    source = "resident size of QEMU less that of the guest's memory (status, smaps)"
    return _prediction(workload, "memory_overhead", interval, "bytes", "intrinsic", text, inputs, [], measured, source)


def _container_memory(workload: Workload, window: Window) -> Prediction | None:
    tables, processes = workload.memory.page_table_bytes, workload.processes
    threads, cpus = len(workload.threads), len(window.after.physical.cpus.online)
    if tables is None or not processes or not threads or not cpus:
        return None

    def formula(per_thread: float, per_process: float, per_cpu: float) -> float:
        return memory.container_kernel_bytes(per_thread, threads, per_process, processes, per_cpu, cpus, tables)

    interval = bounds(formula, parameters.KERNEL_PER_THREAD, parameters.KERNEL_PER_PROCESS, parameters.KERNEL_PER_CPU)
    inputs = {"threads": float(threads), "processes": float(processes), "cpus": float(cpus), "page_table_bytes": float(tables)}
    text = "kernel memory by thread, by process, by CPU, and page tables; the engine's own processes are outside the group"
    source = "memory.stat kernel (v1: memory.kmem.usage_in_bytes)"
    measured = workload.memory.kernel_bytes
    return _prediction(workload, "memory_overhead", interval, "bytes", "intrinsic", text, inputs, [], measured, source)


def _sandbox_memory(workload: Workload) -> Prediction | None:
    """No more of a linear memory is resident than its size: what it costs are the page tables of sparse reservations."""
    requested, committed = workload.memory.allotted_bytes, workload.memory.backing_bytes
    if requested is None or committed is None:
        return None
    touched = sum(1 for linear in workload.memories if linear.resident_bytes)
    interval = bounds(lambda tables: memory.sandbox_bytes(touched, committed, requested, tables), parameters.PAGE_TABLES)
    inputs = {"memories": float(len(workload.memories)), "touched_memories": float(touched)}
    text = "page-table pages that only a sparse reservation needs; code and instances are not seen from outside"
    return _prediction(workload, "memory_overhead", interval, "bytes", "intrinsic", text, inputs, ["no_counterpart"])


def _flags(activity: Activity, window: Window) -> list[str]:
    """What weakens a contention figure."""
    flags = ["since_start"] if activity.since_start else []
    virtual = window.after.identity.virtualization
    if virtual is not None and virtual.kind == "guest":
        # This host's own steal is in every delay seen from inside it.
        flags.append("host_is_guest")
    return flags


def _prediction(
    workload: Workload,
    component: str,
    interval: tuple[float, float, float],
    unit: str,
    kind: Kind,
    formula: str,
    inputs: dict[str, float],
    flags: list[str],
    measured: float | None = None,
    source: str | None = None,
) -> Prediction | None:
    value, lo, hi = interval
    # Counters of a broken machine may be any number; what comes of them is not a prediction.
    if not all(math.isfinite(figure) and figure >= 0 for figure in (value, lo, hi, *inputs.values())):
        return None
    if measured is not None and not 0 <= measured < math.inf:
        # Two sources that do not count the same (hugetlb pages are in no process's resident size), or a counter that was broken at birth.
        measured = None
    return Prediction(
        workload.id,
        component,
        value,
        lo,
        hi,
        unit,
        kind,
        formula,
        inputs,
        tuple(flags) or ("ok",),
        measured,
        source if measured is not None else None,
        None if measured is None or value <= 0 else measured / value,
        None if measured is None else lo <= measured <= hi,
    )
