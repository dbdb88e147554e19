"""The snapshot as Prometheus text (0.0.4) or OpenMetrics (1.0).

A family is written by the function that holds its name, nowhere else. Ids are on value series, what they are called on `_info`
series; absent values make no series. Units are base units. Measured and predicted families never share a name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from agent.model.host import Identity
from agent.model.logical import Logical
from agent.model.physical import Physical
from agent.model.snapshot import Prediction, Snapshot
from agent.model.values import Fact
from agent.model.workload import Workload

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Kind = Literal["gauge", "counter", "info"]
Labels = tuple[tuple[str, object], ...]
Sample = tuple[Labels, float | int | None]


class Family(NamedTuple):
    """`name` as Prometheus text shows it: with `_total` or `_info`. Samples without a value are left out."""

    name: str
    kind: Kind
    help: str
    samples: Iterable[Sample]


class Run(Fact, frozen=True):
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
    yield from _logical(snapshot.logical)
    yield from _workloads(snapshot.workloads)
    yield from _machines(snapshot.workloads)
    yield from _overheads(snapshot.predictions)
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
    shapes = [((("node", node.os_index), ("cpus", node.cpus), ("kind", node.kind)), 1) for node in physical.nodes]
    yield Family("strata_node_info", "info", "The memory nodes and their CPUs.", shapes)
    sizes = [((("node", node.os_index),), node.memory_bytes) for node in physical.nodes]
    yield Family("strata_node_memory_bytes", "gauge", "Memory of a node.", sizes)
    free = [((("node", node.os_index),), node.free_bytes) for node in physical.nodes]
    yield Family("strata_node_memory_free_bytes", "gauge", "Free memory of a node.", free)
    distances = [
        ((("node", node.os_index), ("target", target)), distance) for node in physical.nodes for target, distance in node.distances.items()
    ]
    yield Family("strata_node_distance", "gauge", "SLIT distance between nodes; local is 10.", distances)
    pools = [
        ((("node", node.os_index), ("page_bytes", pool.page_bytes)), pool.total_pages) for node in physical.nodes for pool in node.hugepages
    ]
    yield Family("strata_node_hugepages", "gauge", "Explicit huge pages in a node's pool.", pools)


def _cpu(sample: Sample) -> int:
    cpu = sample[0][0][1]
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


def _workloads(workloads: tuple[Workload, ...]) -> Iterator[Family]:
    infos = [
        (
            (
                ("workload", w.id),
                ("paradigm", w.paradigm),
                ("runtime", w.runtime),
                ("name", w.name),
                ("image", w.image),
                ("parent", w.parent),
                ("execution_mode", w.execution_mode),
                ("memory_mode", w.memory_mode),
            ),
            1,
        )
        for w in workloads
    ]
    yield Family("strata_workload_info", "info", "The workloads; their ids are on every other series of theirs.", infos)
    places = [
        ((("workload", w.id), ("cpus", w.placement.allowed_cpus), ("nodes", w.placement.allowed_nodes)), 1)
        for w in workloads
        if w.placement.allowed_cpus is not None
    ]
    yield Family("strata_workload_placement_info", "info", "CPUs and nodes that a workload may use.", places)

    def by(value: Callable[[Workload], float | None]) -> list[Sample]:
        return [((("workload", w.id),), value(w)) for w in workloads]

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
    events = [((("workload", w.id), ("event", event)), count) for w in workloads for event, count in w.memory.events.items()]
    yield Family("strata_workload_memory_events_total", "counter", "Memory events of a workload's cgroup.", events)
    memories = [((("workload", w.id),), len(w.memories)) for w in workloads if w.paradigm == "sandbox"]
    yield Family("strata_workload_linear_memories", "gauge", "Linear memories of a sandbox process.", memories)


def _machines(workloads: tuple[Workload, ...]) -> Iterator[Family]:
    vcpus = [((("workload", w.id), ("vcpu", vcpu.number)), vcpu) for w in workloads for vcpu in w.vcpus]
    infos = [((*labels, ("affinity", v.affinity), ("pinned", {True: "yes", False: "no", None: None}[v.pinned])), 1) for labels, v in vcpus]
    yield Family("strata_vcpu_info", "info", "The vCPUs, and the host CPUs that each may use.", infos)
    yield Family("strata_vcpu_last_cpu", "gauge", "Host CPU that a vCPU ran on last.", [(labels, v.last_cpu) for labels, v in vcpus])
    times = [(labels, None if v.time_ns is None else v.time_ns / 1e9) for labels, v in vcpus]
    yield Family("strata_vcpu_seconds_total", "counter", "CPU time of a vCPU, as libvirt counts it.", times)
    delays = [(labels, v.thread.delay_ns / 1e9 if v.thread and v.thread.delay_ns is not None else None) for labels, v in vcpus]
    yield Family("strata_vcpu_run_delay_seconds_total", "counter", "Time a vCPU's thread waited for a host CPU: its steal.", delays)


_UNITS = {
    "ratio": "ratio",
    "seconds/second": "ratio",
    "bytes": "bytes",
    "references/walk": "references",
    "seconds/walk": "seconds",
}


def _overheads(predictions: tuple[Prediction, ...]) -> Iterator[Family]:
    for unit in ("ratio", "bytes", "references", "seconds"):
        these = [p for p in predictions if _UNITS[p.unit] == unit]
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


def _own(run: Run) -> Iterator[Family]:
    yield Family("process_cpu_seconds_total", "counter", "CPU time of the agent.", [((), run.cpu_seconds)])
    yield Family("process_resident_memory_bytes", "gauge", "Resident size of the agent.", [((), run.resident_bytes)])
    yield Family("process_open_fds", "gauge", "Open descriptors of the agent.", [((), run.open_fds)])
    yield Family("process_start_time_seconds", "gauge", "When the agent started, Unix time.", [((), run.started_at)])


def _write(lines: list[str], family: Family, openmetrics: bool) -> None:
    written = [f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples if value is not None]
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
    pairs = [f'{name}="{_escaped(str(value))}"' for name, value in labels if value is not None]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float | int) -> str:
    if value == math.inf:
        return "+Inf"
    return repr(float(value)) if isinstance(value, float) else str(int(value))
