"""Everything that leaves as a metric: the families of one snapshot, and the declarations of all that there can be, by group."""

from __future__ import annotations

from collections.abc import Iterator

from agent.model.snapshot import Snapshot
from exporters.metrics.family import Family, Metric
from exporters.metrics.of_agent import AGENT_METRICS, PROCESS_METRICS, Run, agent_families, process_families
from exporters.metrics.of_devices import DEVICE_METRICS, device_families
from exporters.metrics.of_host import HOST_METRICS, host_families
from exporters.metrics.of_kernel_memory import KERNEL_MEMORY_METRICS, kernel_memory_families
from exporters.metrics.of_logical import LOGICAL_METRICS, logical_families
from exporters.metrics.of_machines import MACHINE_METRICS, machine_families
from exporters.metrics.of_nodes import NODE_METRICS, node_families
from exporters.metrics.of_overhead import OVERHEAD_METRICS, overhead_families
from exporters.metrics.of_physical import PHYSICAL_METRICS, physical_families
from exporters.metrics.of_sandboxes import SANDBOX_METRICS, sandbox_families
from exporters.metrics.of_workload_memory import WORKLOAD_MEMORY_METRICS, workload_memory_families
from exporters.metrics.of_workloads import WORKLOAD_METRICS, workload_families
from exporters.metrics.text import TextCache, render

GROUPS: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    ("The host, and what was found", HOST_METRICS),
    ("CPUs, packages, caches", PHYSICAL_METRICS),
    ("Memory nodes", NODE_METRICS),
    ("Memory devices, PCI devices, interrupts", DEVICE_METRICS),
    ("CPU time, scheduling, pressure", LOGICAL_METRICS),
    ("Memory as the kernel manages it", KERNEL_MEMORY_METRICS),
    ("Workloads", WORKLOAD_METRICS),
    ("Workloads: memory", WORKLOAD_MEMORY_METRICS),
    ("Virtual machines", MACHINE_METRICS),
    ("Sandboxes", SANDBOX_METRICS),
    ("The model: predicted and measured", OVERHEAD_METRICS),
    ("The agent", AGENT_METRICS),
    ("The agent's process", PROCESS_METRICS),
)

METRICS = tuple(metric for _, metrics in GROUPS for metric in metrics)


def families(snapshot: Snapshot, run: Run) -> Iterator[Family]:
    """All families of one snapshot, each once; one that has nothing to say is there without samples."""
    yield from agent_families(snapshot, run)
    yield from host_families(snapshot)
    yield from physical_families(snapshot.physical)
    yield from node_families(snapshot.physical)
    yield from device_families(snapshot.physical, snapshot.logical.cpu.irq_routes)
    yield from logical_families(snapshot.logical)
    yield from kernel_memory_families(snapshot.logical.memory)
    yield from workload_families(snapshot.workloads)
    yield from workload_memory_families(snapshot.workloads)
    yield from machine_families(snapshot.workloads, snapshot.devices)
    yield from sandbox_families(snapshot.workloads)
    yield from overhead_families(snapshot)
    yield from process_families(run)


def exposition(snapshot: Snapshot, run: Run, cache: TextCache, openmetrics: bool = False) -> bytes:
    """One snapshot as a scrape has it. Whoever does this again and again hands in the same cache."""
    return render(families(snapshot, run), cache, openmetrics)
