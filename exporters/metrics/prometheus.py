"""The snapshot as Prometheus text (0.0.4) or OpenMetrics (1.0).

A family is written by the function that holds its name, nowhere else. Ids are on value series, what they are called on `_info`
series; absent values make no series. Units are base units. Measured and predicted families never share a name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from agent.model.components import METRIC_UNITS, UNITS
from agent.model.host import Identity
from agent.model.logical import Cpu, Logical, Memory, Scheduler, Thp
from agent.model.physical import Physical
from agent.model.snapshot import Claim, Param, Prediction, Snapshot
from agent.model.values import CpuSet, Fact
from agent.model.workload import Workload
from exporters.metrics.family import Family, Labels, Sample
from exporters.metrics.of_devices import device_families
from exporters.metrics.of_machines import machine_families
from exporters.metrics.of_sandboxes import sandbox_families

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

By = Callable[[Callable[[Workload], float | None]], list[Sample]]


class Run(Fact, frozen=True, kw_only=True):
    """What one pass cost: seconds by source, and the agent's own process."""

    seconds: dict[str, float] = {}
    cpu_seconds: float | None = None
    resident_bytes: int | None = None
    open_fds: int | None = None
    started_at: float | None = None


def render(snapshot: Snapshot, run: Run, openmetrics: bool = False) -> bytes:
    """The whole exposition. A family without samples is not written."""
    lines: list[str] = []
    for family in families(snapshot, run):
        _write(lines, family, openmetrics)
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def families(snapshot: Snapshot, run: Run) -> Iterator[Family]:
    yield Family("strata_build_info", "info", "The agent.", [((("version", snapshot.agent.version),), 1)])
    yield from _sources(snapshot, run)
    yield from _host(snapshot.host)
    yield from _physical(snapshot.physical)
    yield from device_families(snapshot.physical, snapshot.logical.cpu.irq_routes)
    yield from _logical(snapshot.logical)
    yield from _workloads(snapshot.workloads)
    yield from machine_families(snapshot.workloads, snapshot.devices)
    yield from sandbox_families(snapshot.workloads)
    found = [((("finding", one.id), ("workload", one.workload)), 1) for one in snapshot.findings]
    yield Family("strata_finding_info", "info", "What the placement and the figures of a workload, or of this host, mean.", found)
    yield from _overheads(snapshot.predictions)
    yield from _residuals(snapshot)
    yield from _claims(snapshot.claims)
    yield from _parameters(snapshot.parameters)
    yield from _own(run)


def _sources(snapshot: Snapshot, run: Run) -> Iterator[Family]:
    silent = {gap.source for gap in snapshot.gaps}
    up = [((("source", source),), int(source not in silent)) for source in run.seconds]
    yield Family("strata_source_up", "gauge", "1 when a source answered without a gap.", up)
    took = [((("source", source),), seconds) for source, seconds in run.seconds.items()]
    yield Family("strata_source_duration_seconds", "gauge", "How long a source took.", took)
    gaps = sorted({(gap.source, gap.reason) for gap in snapshot.gaps})
    yield Family(
        "strata_source_gap_info", "info", "What a source could not say, and why.", [((("source", s), ("reason", r)), 1) for s, r in gaps]
    )


def _host(host: Identity) -> Iterator[Family]:
    virtual = host.virtualization
    labels = (
        ("hostname", host.hostname),
        ("kernel", host.kernel),
        ("architecture", host.architecture),
        ("virtualization", virtual.kind if virtual else None),
        ("hypervisor", virtual.hypervisor if virtual else None),
        ("cgroup", host.cgroup.version if host.cgroup else None),
    )
    yield Family("strata_host_info", "info", "The host.", [(labels, 1)])
    boot = [] if host.boot_time is None else [((), host.boot_time)]
    yield Family("strata_host_boot_time_seconds", "gauge", "When the host booted, Unix time.", boot)


def _physical(physical: Physical) -> Iterator[Family]:
    nodes = {cpu: node.os_index for node in physical.nodes for cpu in node.cpus or ()}
    dies = {cpu: index for index, die in enumerate(physical.dies) for cpu in die.cpus}
    cpus = [
        (
            (
                ("cpu", cpu),
                ("core", core.os_index),
                ("die", dies.get(cpu)),
                ("package", physical.packages[core.package].os_index),
                ("node", nodes.get(cpu)),
            ),
            1,
        )
        for core in physical.cores
        for cpu in core.cpus
    ]
    yield Family("strata_cpu_info", "info", "Where each online CPU sits; core numbers repeat in every package.", sorted(cpus, key=_cpu))
    present = physical.cpus.present or physical.cpus.online
    online = [((("cpu", cpu),), int(cpu in physical.cpus.online)) for cpu in present]
    yield Family("strata_cpu_online", "gauge", "1 when a present CPU is online.", online)
    isolated = physical.cpus.isolated
    apart = [] if isolated is None else [((("cpu", cpu),), int(cpu in isolated)) for cpu in present]
    yield Family("strata_cpu_isolated", "gauge", "1 when the scheduler's balancing leaves a CPU alone.", apart)
    counts = (("package", physical.packages), ("core", physical.cores), ("thread", physical.cpus.online), ("node", physical.nodes))
    counted = [((("kind", kind),), len(things)) for kind, things in counts if things]
    yield Family("strata_topology_objects", "gauge", "How many packages, cores, threads and nodes are online.", counted)
    packages = [
        (
            (
                ("package", package.os_index),
                ("cpus", package.cpus),
                ("vendor", package.vendor),
                ("model_name", package.model_name),
                ("microcode", package.microcode),
            ),
            1,
        )
        for package in physical.packages
    ]
    yield Family("strata_package_info", "info", "The packages (sockets).", packages)
    caches = [((("level", c.level), ("type", c.type), ("cpus", c.cpus)), c.size_bytes) for c in physical.caches]
    yield Family("strata_cache_size_bytes", "gauge", "Each cache and the CPUs that share it.", caches)
    shapes = [((("node", n.os_index), ("cpus", n.cpus), ("local_cpus", n.local_cpus), ("kind", n.kind)), 1) for n in physical.nodes]
    yield Family("strata_node_info", "info", "The memory nodes and their CPUs.", shapes)
    sizes = [((("node", node.os_index),), node.memory_bytes) for node in physical.nodes]
    yield Family("strata_node_memory_bytes", "gauge", "Memory of a node.", sizes)
    free = [((("node", node.os_index),), node.free_bytes) for node in physical.nodes]
    yield Family("strata_node_memory_free_bytes", "gauge", "Free memory of a node.", free)
    distances = [
        ((("node", node.os_index), ("target", target)), distance) for node in physical.nodes for target, distance in node.distances.items()
    ]
    yield Family("strata_node_distance", "gauge", "SLIT distance between nodes; local is 10.", distances)
    yield from _reach(physical)
    pools = [
        ((("node", node.os_index), ("page_bytes", pool.page_bytes)), pool.total_pages) for node in physical.nodes for pool in node.hugepages
    ]
    yield Family("strata_node_hugepages", "gauge", "Explicit huge pages in a node's pool.", pools)


def _reach(physical: Physical) -> Iterator[Family]:
    """How near memory is, by those who reach it best."""
    tiers = [((("node", node.os_index),), node.tier) for node in physical.nodes]
    yield Family("strata_node_tier", "gauge", "The kernel's memory tier of a node; a smaller number is faster.", tiers)
    stated = [
        ((("node", node.os_index), ("class", number), ("initiators", access.initiators)), access)
        for node in physical.nodes
        for number, access in node.access.items()
    ]
    latencies = [
        ((*labels, ("operation", operation)), None if value is None else value / 1e9)
        for labels, access in stated
        for operation, value in (("read", access.read_latency_ns), ("write", access.write_latency_ns))
    ]
    yield Family("strata_node_access_latency_seconds", "gauge", "Latency of a node's memory for its best initiators (HMAT).", latencies)
    bandwidths = [
        ((*labels, ("operation", operation)), value)
        for labels, access in stated
        for operation, value in (("read", access.read_bandwidth_bytes), ("write", access.write_bandwidth_bytes))
    ]
    yield Family(
        "strata_node_access_bandwidth_bytes_per_second", "gauge", "Bandwidth of a node's memory for its best initiators (HMAT).", bandwidths
    )
    caches = [
        ((("node", node.os_index), ("level", level)), cache.size_bytes)
        for node in physical.nodes
        for level, cache in node.side_caches.items()
    ]
    yield Family("strata_node_side_cache_size_bytes", "gauge", "Memory that caches a node's memory.", caches)
    devices = [
        ((("device", dax.name), ("node", dax.target_node), ("backing", dax.backing), ("driver", dax.driver)), dax.size_bytes)
        for dax in physical.dax
    ]
    yield Family("strata_dax_device_size_bytes", "gauge", "Memory that is mapped directly, or made a node's by the driver kmem.", devices)
    regions = [((("region", region.name), ("node", region.target_node)), region.size_bytes) for region in physical.pmem]
    yield Family("strata_pmem_region_size_bytes", "gauge", "Regions of persistent memory.", regions)
    wrong = Counter(entry.subject for entry in physical.contradictions)
    yield Family(
        "strata_topology_contradictions",
        "gauge",
        "Sets of CPUs that cannot all be true.",
        [((("subject", s),), n) for s, n in wrong.items()],
    )


def _cpu(sample: Sample) -> int:
    labels, _ = sample
    cpu = labels[0][1]
    return cpu if isinstance(cpu, int) else 0


def _logical(logical: Logical) -> Iterator[Family]:
    cpu, memory = logical.cpu, logical.memory
    modes = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
    times = [((("cpu", time.cpu), ("mode", mode)), getattr(time, f"{mode}_seconds")) for time in cpu.times for mode in modes]
    yield Family("strata_cpu_seconds_total", "counter", "CPU time by mode; user holds guest, nice holds guest_nice.", times)
    delays = [((("cpu", queue.cpu),), queue.delay_ns / 1e9) for queue in cpu.run_queues]
    yield Family("strata_cpu_run_delay_seconds_total", "counter", "Time that tasks waited on a CPU's run queue.", delays)
    ipis = [
        ((("cpu", entry.cpu), ("type", kind)), getattr(entry, kind))
        for entry in cpu.ipis
        for kind in ("reschedule", "function_call", "tlb_shootdown")
    ]
    yield Family("strata_ipis_total", "counter", "Inter-processor interrupts that a CPU took.", ipis)
    yield Family("strata_runnable_tasks", "gauge", "Tasks that run or wait for a CPU.", [((), cpu.runnable_tasks)])
    yield Family("strata_context_switches_total", "counter", "Context switches of the host.", [((), cpu.context_switches)])
    yield from _scheduling(cpu)
    for resource in ("cpu", "memory", "io", "irq"):
        stall = getattr(logical.pressure, resource) if logical.pressure else None
        if stall is not None:
            waiting, stalled = [((), stall.some_usec / 1e6)], [] if stall.full_usec is None else [((), stall.full_usec / 1e6)]
            yield Family(f"strata_pressure_{resource}_waiting_seconds_total", "counter", f"Time some tasks waited for {resource}.", waiting)
            yield Family(f"strata_pressure_{resource}_stalled_seconds_total", "counter", f"Time all tasks waited for {resource}.", stalled)
    fields = [((("field", name),), size) for name, size in memory.meminfo_bytes.items()]
    yield Family("strata_meminfo_bytes", "gauge", "Memory of the host, under the kernel's names.", fields)
    zones = [((("node", zone.node), ("zone", zone.name)), zone.free_pages) for zone in memory.zones]
    yield Family("strata_zone_free_pages", "gauge", "Free pages of a zone.", zones)
    blocks = [
        ((("node", zone.node), ("zone", zone.name), ("order", order)), count)
        for zone in memory.zones
        for order, count in enumerate(zone.free_blocks)
    ]
    yield Family("strata_zone_free_blocks", "gauge", "Free blocks of 2^order pages in the buddy allocator.", blocks)
    yield from _kernel_memory(memory)


def _scheduling(cpu: Cpu) -> Iterator[Family]:
    scheduler = cpu.scheduler or Scheduler()
    about = (
        ("fair_class", scheduler.fair_class),
        ("origin", scheduler.fair_class_origin),
        ("preemption", scheduler.preemption),
    )
    infos = [(about, 1)] if cpu.scheduler else []
    yield Family("strata_scheduler_info", "info", "How ordinary tasks share CPUs: EEVDF or CFS; and what may be preempted.", infos)
    base_slice = [((), None if scheduler.base_slice_ns is None else scheduler.base_slice_ns / 1e9)]
    yield Family("strata_scheduler_base_slice_seconds", "gauge", "Slice of an ordinary task under EEVDF.", base_slice)
    runtime = [((), None if scheduler.rt_runtime_usec is None else scheduler.rt_runtime_usec / 1e6)]
    yield Family("strata_scheduler_realtime_runtime_seconds", "gauge", "What real-time tasks may run of each period.", runtime)
    period = [((), None if scheduler.rt_period_usec is None else scheduler.rt_period_usec / 1e6)]
    yield Family("strata_scheduler_realtime_period_seconds", "gauge", "The period of that bound.", period)
    yield Family("strata_scheduler_tick_hertz", "gauge", "Ticks in a second, CONFIG_HZ.", [((), cpu.tick_hz)])
    domains = [
        ((("name", domain.name), ("cpus", domain.cpus), ("members", domain.members), ("origin", domain.origin)), 1)
        for domain in cpu.domains
    ]
    yield Family("strata_scheduling_domain_info", "info", "CPUs among which load is balanced.", domains)
    partitions: list[Sample] = [
        ((("cgroup", group), ("kind", part.kind), ("cpus", part.cpus), ("valid", "no" if part.invalid else "yes")), 1)
        for group, part in {part.group: part for part in cpu.partitions}.items()
    ]
    yield Family("strata_cpuset_partition_info", "info", "Control groups whose CPUs are balanced apart, or not at all.", partitions)
    softirqs = [((("type", softirq.name),), sum(softirq.counts)) for softirq in cpu.softirqs]
    yield Family("strata_softirqs_total", "counter", "Deferred interrupt work, all CPUs together.", softirqs)


# Counts of /proc/vmstat: family, help, label, and the kernel's name of each of the label's values.
_VMSTAT: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("strata_page_faults_total", "Page faults; major ones waited for a device.", "kind", {"all": "pgfault", "major": "pgmajfault"}),
    (
        "strata_reclaim_scanned_pages_total",
        "Pages that reclaim looked at, by who did.",
        "by",
        {by: f"pgscan_{by}" for by in ("kswapd", "direct", "khugepaged", "proactive")},
    ),
    (
        "strata_reclaimed_pages_total",
        "Pages that reclaim took, by who did.",
        "by",
        {by: f"pgsteal_{by}" for by in ("kswapd", "direct", "khugepaged", "proactive")},
    ),
    (
        "strata_compactions_total",
        "Allocations that waited for compaction, and how it ended.",
        "result",
        {"stalled": "compact_stall", "failed": "compact_fail", "succeeded": "compact_success"},
    ),
    ("strata_swapped_pages_total", "Pages moved between memory and swap.", "direction", {"in": "pswpin", "out": "pswpout"}),
    (
        "strata_numa_balancing_total",
        "Page table entries marked, faults on them, and pages moved between nodes.",
        "event",
        {"marked": "numa_pte_updates", "faulted": "numa_hint_faults", "local": "numa_hint_faults_local", "moved": "numa_pages_migrated"},
    ),
    (
        "strata_transparent_hugepages_total",
        "Huge pages that a fault got or did not get, that khugepaged made, and that were split.",
        "event",
        {"faulted": "thp_fault_alloc", "missed": "thp_fault_fallback", "collapsed": "thp_collapse_alloc", "split": "thp_split_page"},
    ),
)


def _kernel_memory(memory: Memory) -> Iterator[Family]:
    marks = [
        ((("node", zone.node), ("zone", zone.name), ("mark", mark)), getattr(zone, f"{mark}_pages"))
        for zone in memory.zones
        for mark in ("min", "low", "high")
    ]
    yield Family("strata_zone_watermark_pages", "gauge", "Free pages below which reclaim begins, and up to which it goes.", marks)
    unusable = [
        ((("node", zone.node), ("zone", zone.name), ("order", order)), share)
        for zone in memory.zones
        for order, share in enumerate(zone.unusable_ratio)
    ]
    yield Family("strata_zone_unusable_ratio", "gauge", "Share of free pages in blocks too small for 2^order pages.", unusable)
    states = ("total", "free", "surplus", "overcommit", "reserved")
    pools = [((("page_bytes", p.page_bytes), ("state", state)), getattr(p, f"{state}_pages")) for p in memory.hugepages for state in states]
    yield Family("strata_hugepages", "gauge", "Explicit huge pages of the host, by what they are.", pools)
    thp = memory.thp or Thp()
    choices = (("enabled", thp.enabled), ("defrag", thp.defrag), ("shmem", thp.shmem_enabled))
    policy = [(choices, 1)] if memory.thp else []
    yield Family("strata_transparent_hugepage_policy_info", "info", "When the kernel makes huge pages.", policy)
    merged = [((("kind", kind),), getattr(memory.ksm, f"pages_{kind}")) for kind in ("shared", "sharing", "unshared") if memory.ksm]
    yield Family("strata_ksm_pages", "gauge", "Pages that are merged, that were merged into them, and that found no equal.", merged)
    profit = [((), memory.ksm.general_profit_bytes)] if memory.ksm else []
    yield Family("strata_ksm_profit_bytes", "gauge", "What merging saves less what it takes.", profit)
    # Files may be of one name, below different roots.
    swaps = {swap.name: swap for swap in memory.swaps or ()}
    sizes = [((("area", name),), swap.size_bytes) for name, swap in swaps.items()]
    yield Family("strata_swap_size_bytes", "gauge", "Size of a swap area.", sizes)
    used = [((("area", name),), swap.used_bytes) for name, swap in swaps.items()]
    yield Family("strata_swap_used_bytes", "gauge", "What of it is used.", used)
    zram = [
        ((("device", f"zram{device.number}"), ("kind", kind)), getattr(device, f"{kind}_bytes"))
        for device in memory.zram or ()
        for kind in ("original", "compressed", "memory_used")
    ]
    yield Family("strata_zram_bytes", "gauge", "What was written to compressed memory, and what it takes.", zram)
    for name, help_, label, keys in _VMSTAT:
        yield Family(name, "counter", help_, [(((label, value),), memory.vmstat.get(key)) for value, key in keys.items()])
    yield Family("strata_oom_kills_total", "counter", "Processes that the kernel killed for memory.", [((), memory.vmstat.get("oom_kill"))])


def _workloads(workloads: tuple[Workload, ...]) -> Iterator[Family]:
    infos: list[Sample] = [
        (
            _told(
                (
                    ("workload", w.id),
                    ("paradigm", w.paradigm),
                    ("runtime", w.runtime),
                    ("name", w.name),
                    ("image", w.image),
                    ("parent", w.parent),
                    ("execution_mode", w.execution_mode),
                    ("memory_mode", w.memory_mode),
                )
            ),
            1,
        )
        for w in workloads
    ]
    yield Family("strata_workload_info", "info", "The workloads; their ids are on every other series of theirs.", infos)
    pods = [
        ((("workload", w.id), ("pod", w.pod.name), ("namespace", w.pod.namespace), ("uid", w.pod.uid), ("qos", w.pod.qos)), 1)
        for w in workloads
        if w.pod
    ]
    yield Family("strata_workload_pod_info", "info", "The Kubernetes pod that a container is in.", pods)
    labels = [((("workload", w.id), ("label", label), ("value", value)), 1) for w in workloads for label, value in w.labels.items()]
    yield Family("strata_workload_label_info", "info", "Labels of containers, of those that --label names.", labels)
    places: list[Sample] = [
        (_told((("workload", w.id), ("cpus", _listed(w.placement.allowed_cpus)), ("nodes", _listed(w.placement.allowed_nodes)))), 1)
        for w in workloads
        if w.placement.allowed_cpus is not None
    ]
    yield Family("strata_workload_placement_info", "info", "CPUs and nodes that a workload may use.", places)

    marked = [(_labels((("workload", w.id),)), w) for w in workloads]

    def by(value: Callable[[Workload], float | None]) -> list[Sample]:
        return [(mark, found) for mark, w in marked if (found := value(w)) is not None]

    def each(label: str, values: Callable[[Workload], dict[Any, int]]) -> list[Sample]:
        """Numbers by event or by node: few names for all workloads."""
        known: dict[object, str] = {}
        found: list[Sample] = []
        for mark, w in marked:
            for key, value in values(w).items():
                if key not in known:
                    known[key] = f',{label}="{_escaped(str(key))}"}}'
                found.append((mark[:-1] + known[key], value))
        return found

    def seconds(usec: int | None) -> float | None:
        return None if usec is None else usec / 1e6

    def spanned(w: Workload) -> int | None:
        return None if w.placement.nodes_spanned is None else len(w.placement.nodes_spanned)

    yield Family("strata_workload_nodes_spanned", "gauge", "Memory nodes whose CPUs a workload may use.", by(spanned))
    sharing = by(lambda w: w.placement.sharing_workloads)
    yield Family("strata_workload_sharing_workloads", "gauge", "Other workloads that may run on the same cores.", sharing)
    limits = by(lambda w: w.cpu.limit_cpus)
    yield Family("strata_workload_cpu_limit_cpus", "gauge", "Tightest CPU quota of a workload and all around it, in CPUs.", limits)
    usage = by(lambda w: seconds(w.cpu.usage_usec))
    yield Family("strata_workload_cpu_seconds_total", "counter", "CPU time of a workload's cgroup.", usage)
    # A sum over processes falls when one of them ends, and would be taken for a counter that begins anew.
    delayed = by(lambda w: None if w.processes != 1 or w.cpu.process_delay_ns is None else w.cpu.process_delay_ns / 1e9)
    help_ = "Time the threads of a workload's one process waited for a CPU, those that have ended, too."
    yield Family("strata_workload_run_delay_seconds_total", "counter", help_, delayed)
    periods = by(lambda w: w.cpu.periods)
    yield Family("strata_workload_cpu_periods_total", "counter", "Quota periods in which a workload ran.", periods)
    throttled = by(lambda w: w.cpu.throttled_periods)
    yield Family("strata_workload_cpu_throttled_periods_total", "counter", "Quota periods in which it was throttled.", throttled)
    stopped = by(lambda w: seconds(w.cpu.throttled_usec))
    yield Family("strata_workload_cpu_throttled_seconds_total", "counter", "Throttled time, summed over run queues.", stopped)
    waiting = by(lambda w: seconds(w.cpu.pressure_some_usec))
    yield Family("strata_workload_pressure_cpu_waiting_seconds_total", "counter", "Time some tasks waited for a CPU.", waiting)
    pressed = by(lambda w: seconds(w.memory.pressure_some_usec))
    yield Family("strata_workload_pressure_memory_waiting_seconds_total", "counter", "Time some tasks waited for memory.", pressed)
    bounds = by(lambda w: w.memory.limit_bytes)
    yield Family("strata_workload_memory_limit_bytes", "gauge", "Tightest memory limit of a workload and all around it.", bounds)
    current = by(lambda w: w.memory.current_bytes)
    yield Family("strata_workload_memory_current_bytes", "gauge", "Memory charged to a workload's cgroup.", current)
    resident = by(lambda w: w.memory.resident_bytes)
    yield Family("strata_workload_memory_resident_bytes", "gauge", "Resident size of a workload's one process.", resident)
    allotted = by(lambda w: w.memory.allotted_bytes)
    yield Family("strata_workload_memory_allotted_bytes", "gauge", "Memory that a guest or a sandbox sees.", allotted)
    backing = by(lambda w: w.memory.backing_bytes)
    yield Family("strata_workload_memory_backing_bytes", "gauge", "What of the allotted memory is resident on the host.", backing)
    events = each("event", lambda w: w.memory.events)
    yield Family("strata_workload_memory_events_total", "counter", "Memory events of a workload's cgroup.", events)
    yield from _groups(by, each)


def _groups(by: By, each: Callable[[str, Callable[[Workload], dict[Any, int]]], list[Sample]]) -> Iterator[Family]:
    """What a control group tells besides."""
    user = by(lambda w: None if w.cpu.user_usec is None else w.cpu.user_usec / 1e6)
    yield Family("strata_workload_cpu_user_seconds_total", "counter", "CPU time of a workload's cgroup in user mode.", user)
    system = by(lambda w: None if w.cpu.system_usec is None else w.cpu.system_usec / 1e6)
    yield Family("strata_workload_cpu_system_seconds_total", "counter", "CPU time of a workload's cgroup in the kernel.", system)
    for resource, what in (("cpu", "a CPU"), ("memory", "memory"), ("io", "input and output"), ("irq", "interrupts")):
        # The other two are older than the rest, and above.
        if resource == "io":
            some = by(lambda w: None if w.io_pressure_some_usec is None else w.io_pressure_some_usec / 1e6)
            yield Family("strata_workload_pressure_io_waiting_seconds_total", "counter", f"Time some tasks waited for {what}.", some)
        full = by(_STALLED[resource])
        yield Family(f"strata_workload_pressure_{resource}_stalled_seconds_total", "counter", f"Time all tasks waited for {what}.", full)
    peak = by(lambda w: w.memory.peak_bytes)
    yield Family("strata_workload_memory_peak_bytes", "gauge", "The most that was ever charged to a workload's cgroup.", peak)
    yield Family("strata_workload_memory_swap_bytes", "gauge", "Swap that a workload's cgroup uses.", by(lambda w: w.memory.swap_bytes))
    anon = by(lambda w: w.memory.anon_bytes)
    yield Family("strata_workload_memory_anon_bytes", "gauge", "Anonymous memory of a workload's cgroup.", anon)
    yield Family("strata_workload_memory_file_bytes", "gauge", "Page cache of a workload's cgroup.", by(lambda w: w.memory.file_bytes))
    kernel = by(lambda w: w.memory.kernel_bytes)
    yield Family("strata_workload_memory_kernel_bytes", "gauge", "Kernel memory of a workload's cgroup.", kernel)
    nodes = each("node", lambda w: w.placement.memory_by_node)
    yield Family("strata_workload_memory_node_bytes", "gauge", "A workload's memory on each node.", nodes)
    remote = by(lambda w: w.placement.remote_memory_ratio)
    yield Family("strata_workload_memory_remote_ratio", "gauge", "Share of it on nodes that have none of its CPUs.", remote)
    faults = by(lambda w: w.memory.page_faults)
    yield Family("strata_workload_page_faults_total", "counter", "Page faults of a workload's cgroup.", faults)
    major = by(lambda w: w.memory.major_faults)
    yield Family("strata_workload_major_page_faults_total", "counter", "Page faults that had to wait for a device.", major)
    refaults = by(lambda w: w.memory.refaults)
    yield Family("strata_workload_refaults_total", "counter", "Faults of pages that were reclaimed a short while before.", refaults)
    reclaimed = by(lambda w: w.memory.reclaimed_pages)
    yield Family("strata_workload_reclaimed_pages_total", "counter", "Pages that reclaim took from a workload's cgroup.", reclaimed)
    tasks = by(lambda w: w.pids.current if w.pids else None)
    yield Family("strata_workload_tasks", "gauge", "Tasks of a workload's cgroup, threads counted.", tasks)
    bounds = by(lambda w: w.pids.limit if w.pids else None)
    yield Family("strata_workload_tasks_limit", "gauge", "Tightest limit of tasks of a workload and all around it.", bounds)


_STALLED: dict[str, Callable[[Workload], float | None]] = {
    "cpu": lambda w: None if w.cpu.pressure_full_usec is None else w.cpu.pressure_full_usec / 1e6,
    "memory": lambda w: None if w.memory.pressure_full_usec is None else w.memory.pressure_full_usec / 1e6,
    "io": lambda w: None if w.io_pressure_full_usec is None else w.io_pressure_full_usec / 1e6,
    "irq": lambda w: None if w.cpu.irq_pressure_full_usec is None else w.cpu.irq_pressure_full_usec / 1e6,
}


def _overheads(predictions: tuple[Prediction, ...]) -> Iterator[Family]:
    for unit in METRIC_UNITS:
        these = [p for p in predictions if UNITS[p.unit].metric == unit]
        predicted = [
            ((("workload", p.workload), ("component", p.component), ("bound", bound)), value)
            for p in these
            for bound, value in (("lo", p.lo), ("mode", p.value), ("hi", p.hi))
        ]
        yield Family(f"strata_overhead_predicted_{unit}", "gauge", "Predicted cost of a workload's layers. Not measured.", predicted)
        measured = [((("workload", p.workload), ("component", p.component)), p.measured) for p in these]
        yield Family(f"strata_overhead_measured_{unit}", "gauge", "Measured counterpart of a prediction.", measured)
    inside = [((("workload", p.workload), ("component", p.component)), None if p.inside is None else int(p.inside)) for p in predictions]
    yield Family("strata_overhead_inside_interval", "gauge", "1 when the measured value lies in the predicted interval.", inside)


def _residuals(snapshot: Snapshot) -> Iterator[Family]:
    ratios = [((("workload", p.workload), ("component", p.component)), p.smoothed_ratio) for p in snapshot.predictions]
    yield Family("strata_overhead_smoothed_ratio", "gauge", "Measured over predicted, with a half-life of 15 minutes.", ratios)


def _claims(claims: tuple[Claim, ...]) -> Iterator[Family]:
    verdicts = [((("claim", one.id), ("basis", one.basis), ("verdict", one.verdict)), 1) for one in claims]
    yield Family("strata_overhead_claim_info", "info", "The concept document's ordinal claims and what becomes of them here.", verdicts)


def _parameters(parameters: tuple[Param, ...]) -> Iterator[Family]:
    for unit in ("ratio", "seconds"):
        bounds = [
            ((("parameter", one.name), ("origin", one.origin), ("bound", bound)), value)
            for one in parameters
            if one.unit == unit
            for bound, value in (("lo", one.lo), ("mode", one.mode), ("hi", one.hi))
        ]
        yield Family(f"strata_overhead_parameter_{unit}", "gauge", "Parameters that this host measured of itself.", bounds)


def _own(run: Run) -> Iterator[Family]:
    yield Family("process_cpu_seconds_total", "counter", "CPU time of the agent.", [((), run.cpu_seconds)])
    yield Family("process_resident_memory_bytes", "gauge", "Resident size of the agent.", [((), run.resident_bytes)])
    yield Family("process_open_fds", "gauge", "Open descriptors of the agent.", [((), run.open_fds)])
    yield Family("process_start_time_seconds", "gauge", "When the agent started, Unix time.", [((), run.started_at)])


def _write(lines: list[str], family: Family, openmetrics: bool) -> None:
    # Most lines are of a kind that needs no function: a workload's labels, written once, and a count.
    name = family.name
    written = [
        f"{name}{labels if type(labels) is str else _labels(labels)} {value if type(value) is int else _number(value)}"
        for labels, value in family.samples
        if value is not None
    ]
    if not written:
        return
    head, kind = family.name, family.kind
    if openmetrics:
        head = family.name.removesuffix({"counter": "_total", "info": "_info"}.get(kind, "\0"))
    elif kind == "info":
        kind = "gauge"
    lines.append(f"# HELP {head} {family.help}")
    lines.append(f"# TYPE {head} {kind}")
    lines += written


def _labels(labels: Labels) -> str:
    """Labels without a value are left out: an empty one means the same to Prometheus."""
    if isinstance(labels, str):
        return labels
    pairs = [f'{name}="{_escaped(str(value))}"' for name, value in labels if value is not None]
    return f"{{{','.join(pairs)}}}" if pairs else ""


@lru_cache(1 << 13)
def _told(labels: tuple[tuple[str, str | None], ...]) -> str:
    """The same of words that most workloads show again at the next scrape. No numbers: 1 and True are one key, and two texts."""
    return _labels(labels)


@lru_cache(1 << 10)
def _listed(cpus: CpuSet | None) -> str | None:
    return None if cpus is None else str(cpus)


def _escaped(text: str) -> str:
    if text.isalnum():
        return text
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float | int) -> str:
    if value == math.inf:
        return "+Inf"
    return repr(float(value)) if isinstance(value, float) else str(int(value))
