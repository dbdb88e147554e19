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
from agent.overhead.parameters import Param, bounds, exactly
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
    """Seconds of delay in a second, summed over the workload's threads (of a machine: its vCPUs'; the host level of two)."""
    cpus = workload.placement.allowed_cpus
    busy = window.busy_cpus(cpus) if cpus else None
    run, slices = activity.run_seconds, activity.timeslices
    if not cpus or busy is None or run is None or slices is None or activity.runnable_threads is None or activity.active_threads is None:
        return None
    own = run / activity.seconds
    others = max(0.0, busy - own)
    flags = _flags(activity, window)
    inputs = {"cpus": float(len(cpus)), "own_busy_cpus": own, "other_busy_cpus": others, "timeslices_per_second": slices / activity.seconds}
    # A thread that its group's quota holds back is runnable and may count as waiting.
    held = (activity.throttled_seconds or 0.0) / activity.seconds
    if (own + others) / len(cpus) >= SATURATED:
        runnable = max(activity.runnable_threads, own)
        crowd = max(others, (window.runnable_tasks or 0.0) - runnable)
        low = scheduling.saturated_delay(own, others, len(cpus))
        point = scheduling.saturated_delay(runnable, math.sqrt(others * crowd), len(cpus))
        high = scheduling.saturated_delay(runnable, crowd, len(cpus))
        interval = (point, min(low, point), max(high, point) + held)
        inputs |= {"own_runnable_threads": runnable, "other_runnable_tasks": crowd}
        formula = "n*(1 - m/(n + k)): n own and k other runnable threads of equal weight on m CPUs"
        flags.append("saturated")
    else:
        interval = _unsaturated(window, activity, len(cpus), own, others, inputs)
        interval = (interval[0], interval[1], interval[2] + held)
        formula = "timeslices/s * (W + wake-up); W between Erlang C over m CPUs and rho/(1-rho), times the mean burst"
    measured = None if activity.delay_seconds is None else activity.delay_seconds / activity.seconds
    source = "/proc/PID/task/TID/schedstat, field 2"
    return _prediction(workload, "run_queue_delay", interval, "seconds/second", "contention", formula, inputs, flags, measured, source)


def _unsaturated(
    window: Window, activity: Activity, cpus: int, own: float, others: float, inputs: dict[str, float]
) -> tuple[float, float, float]:
    slices = activity.timeslices or 0
    if not slices or not activity.run_seconds:
        return 0.0, 0.0, 0.0
    online = len(window.after.physical.cpus.online)
    stated = window.after.logical.cpu.tick_hz
    tick = exactly("scheduler tick", "1/second", stated, "/proc/config.gz") if stated else parameters.TICK_HZ
    virtual = window.after.identity.virtualization
    wake = parameters.WAKE_GUEST if virtual is not None and virtual.kind == "guest" else parameters.WAKE
    base = scheduling.base_slice_seconds(online, parameters.SLICE_NORM.mode)
    burst = min(activity.run_seconds / slices, scheduling.slice_seconds(base, tick.lo))
    # To one thread its siblings are others, too.
    siblings = own * (1 - 1 / max(1, activity.active_threads or 1))
    utilisation = min(SATURATED, (others + siblings) / cpus)
    balanced = scheduling.wait_balanced_seconds(cpus, utilisation, burst)
    alone = scheduling.wait_alone_seconds(utilisation, burst)
    inputs |= {"utilisation_by_others": utilisation, "mean_burst_seconds": burst, "wake_up_seconds": wake.mode}
    rate = slices / activity.seconds
    return rate * (math.sqrt(balanced * alone) + wake.mode), rate * (balanced + wake.lo), rate * (alone + wake.hi)


def throttled(workload: Workload, window: Window, activity: Activity) -> Iterable[Prediction | None]:
    """Share of periods with throttling, and throttled time, of a group with a quota of its own."""
    cpu, cpus = workload.cpu, workload.placement.allowed_cpus
    if cpu.quota_usec is None or cpu.quota_usec.unlimited or not cpu.period_usec or not cpus:
        return
    usage, runnable = activity.usage_seconds, activity.runnable_threads
    if usage is None or runnable is None:
        return
    quota, period = cpu.quota_usec * 1e-6, cpu.period_usec * 1e-6
    periods = activity.periods or activity.seconds / period
    threads = min(runnable, float(len(cpus)))
    overrun = parameters.SLICE_RETURN.hi * min(len(cpus), math.ceil(max(threads, 1.0)))
    flags = _flags(activity, window)
    inputs = {"quota_seconds": quota, "period_seconds": period, "runnable_threads": runnable, "cpus": float(len(cpus)), "periods": periods}
    share = None if not activity.periods or activity.throttled_periods is None else activity.throttled_periods / activity.periods
    time = None if activity.throttled_seconds is None else activity.throttled_seconds / activity.seconds
    # Demand beyond the quota cannot be seen in the usage; that the threads never sleep can.
    bound = threads * period > quota and usage / activity.seconds >= 0.8 * quota / period
    # The periods at both ends of the window are seen in part.
    edge = min(1.0, 1.5 / periods)
    if bound:
        interval = (1.0, max(0.0, 1 - overrun / quota - edge), 1.0)
        formula = "1: threads that never sleep and may use more than the quota in a period are stopped in each"
        yield _prediction(
            workload,
            "throttled_periods",
            interval,
            "ratio",
            "contention",
            formula,
            inputs,
            flags,
            share,
            "cpu.stat nr_throttled/nr_periods",
        )
        fewest, most = max(quota / period, math.floor(threads)), min(float(len(cpus)), math.ceil(threads))
        point = throttling.throttled_seconds(quota, period, threads) / period
        low = throttling.throttled_seconds(quota + overrun, period, fewest) / period * (1 - edge)
        high = throttling.throttled_seconds(quota, period, most) / period * (1 + edge)
        formula = "(n*P - Q)/P: each of n run queues stands still after Q/n of the period"
        yield _prediction(
            workload,
            "throttled_time",
            (point, min(low, point), max(high, point)),
            "seconds/second",
            "contention",
            formula,
            inputs,
            flags,
            time,
            "cpu.stat throttled time",
        )
        return
    mean = usage / periods
    burst = (cpu.burst_usec or 0) * 1e-6
    reach = max(threads, 1.0, math.ceil(usage / activity.seconds))

    def simulated(variation: float) -> float:
        return throttling.throttled_periods_share(mean, variation, quota, period, min(reach, float(len(cpus))), burst)

    formula = "token bucket of quota + burst, demand by period gamma distributed with the measured mean"
    yield _prediction(
        workload,
        "throttled_periods",
        bounds(simulated, parameters.BURSTINESS),
        "ratio",
        "contention",
        formula,
        inputs | {"mean_demand_seconds": mean, "variation": parameters.BURSTINESS.mode},
        [*flags, "prior_only"],
        share,
        "cpu.stat nr_throttled/nr_periods",
    )


def walks(workload: Workload, window: Window) -> Iterable[Prediction | None]:
    """References of a page walk, and what one costs with the caches of this host."""
    levels = window.after.logical.cpu.page_table_levels
    if levels is None:
        return
    kvm = window.after.logical.kvm
    machine = workload.paradigm == "virtualization"
    if machine and workload.guest is not None and workload.guest.accelerator != "kvm":
        # An emulator translates in software: there is no walk of the guest's.
        return
    nested = machine and kvm is not None and kvm.nested_paging is True
    huge = _huge_share(workload)
    flags = [] if huge is not None else ["prior_only"]
    flags.append("no_counterpart")
    pages = levels - (huge or 0.0)
    inputs: dict[str, float] = {"levels": float(levels)} | ({} if huge is None else {"huge_page_share": huge})
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
        flags.append("unknown_mmu" if kvm is None or kvm.nested_paging is None else "shadow")
        interval = (float(levels), float(smallest), float(translation.references_nested(levels, levels)))
        formula = "g: shadow page tables are walked as native ones; g*h + g + h if paging is nested after all"
    else:
        interval = (pages, float(smallest), float(levels))
        formula = "n levels; a huge page saves one"
    yield _prediction(workload, "walk_references", interval, "references/walk", "intrinsic", formula, inputs, flags)
    yield _walk_cost(workload, window, nested, huge, flags)


def _walk_cost(workload: Workload, window: Window, nested: bool, huge: float | None, flags: list[str]) -> Prediction | None:
    used = workload.memory.backing_bytes or workload.memory.resident_bytes or workload.memory.current_bytes
    capacities = _capacities(window, workload.placement.allowed_cpus)
    if not used or not capacities:
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
        small = _walk(span, memory.PAGE_BYTES, nested, caches)
        large = _walk(span, HUGE_PAGE_BYTES, nested, caches)
        share = {"lo": 1.0, "mode": huge or 0.0, "hi": 0.0}[pick]
        return share * large + (1 - share) * small

    interval = (cost("mode"), cost("lo"), cost("hi"))
    inputs = {"used_bytes": float(used), "working_set_share": parameters.WORKING_SET_SHARE.mode} | {
        f"l{level}_bytes": capacity for level, capacity in enumerate(capacities, 1)
    }
    formula = "fixed + leaf entry + upper entries past the paging-structure caches, each at the latency of the cache that holds it"
    return _prediction(workload, "walk_cost", interval, "seconds/walk", "intrinsic", formula, inputs, flags)


def _walk(span: float, page: int, nested: bool, caches: translation.Hierarchy) -> float:
    if nested:
        return translation.walk_nested_seconds(span, memory.PAGE_BYTES, page, caches)
    return translation.walk_native_seconds(span, page, caches)


def _huge_share(workload: Workload) -> float | None:
    held = workload.memory
    if held.backing_bytes and held.backing_huge_bytes is not None:
        return min(1.0, held.backing_huge_bytes / held.backing_bytes)
    if held.resident_bytes and held.anon_huge_bytes is not None:
        return min(1.0, held.anon_huge_bytes / held.resident_bytes)
    return None


def _capacities(window: Window, cpus: CpuSet | None) -> tuple[float, ...]:
    """Bytes of the data caches of one allowed CPU, innermost first, as far as each level's size is known."""
    sizes: list[float] = []
    for cache in window.after.physical.caches:
        if cpus and next(iter(cpus)) in cache.cpus and cache.type != "Instruction" and cache.level == len(sizes) + 1 and cache.size_bytes:
            sizes.append(float(cache.size_bytes))
    return tuple(sizes[:3])


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
    if guest is None or not workload.vcpus:
        return None
    iothreads, vcpus = guest.iothreads or 0, len(workload.vcpus)
    video = float(guest.video_bytes or 0)

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
    if tables is None or not processes:
        return None
    threads, cpus = len(workload.threads), len(window.after.physical.cpus.online)

    def formula(per_thread: float, per_process: float, per_cpu: float) -> float:
        return memory.container_kernel_bytes(per_thread, threads, per_process, processes, per_cpu, cpus, tables)

    interval = bounds(formula, parameters.KERNEL_PER_THREAD, parameters.KERNEL_PER_PROCESS, parameters.KERNEL_PER_CPU)
    inputs = {"threads": float(threads), "processes": float(processes), "cpus": float(cpus), "page_table_bytes": float(tables)}
    text = "kernel memory by thread, by process, by CPU, and page tables; the engine's own processes are outside the group"
    source = "memory.stat kernel (v1: memory.kmem.usage_in_bytes)"
    measured = workload.memory.kernel_bytes
    return _prediction(workload, "memory_overhead", interval, "bytes", "intrinsic", text, inputs, [], measured, source)


def _sandbox_memory(workload: Workload) -> Prediction | None:
    """What a page of a linear memory is resident for beyond its size cannot be: the cost is page tables of sparse reservations."""
    requested, committed = workload.memory.allotted_bytes, workload.memory.backing_bytes
    if requested is None or committed is None:
        return None
    touched = sum(1 for linear in workload.memories if linear.resident_bytes)
    cost = memory.sandbox_bytes(touched, committed, requested)
    tables = Param("page-table pages per reservation", "pages", 2, 3, 4, "one for each level that only this reservation uses")
    interval = bounds(lambda pages: cost / 3 * pages, tables)
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
    if not all(math.isfinite(figure) for figure in (value, lo, hi, *inputs.values())):
        return None
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
