"""Metrics of CPUs, packages and caches. Labels `cpu`, `core`, `die`, `package` and `node` are those of other exporters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from agent.model.physical import Physical
from agent.model.values import CpuSet
from exporters.metrics.family import Family, Row, Sample, declared, from_rows, gauge, info


def physical_families(physical: Physical) -> Iterator[Family]:
    yield from from_rows(_PHYSICAL, physical)


def _places(physical: Physical) -> Iterable[Sample]:
    """Each online CPU of a core, in the order of their numbers."""
    nodes = {cpu: node.os_index for node in physical.nodes for cpu in node.cpus or ()}
    dies = {cpu: index for index, die in enumerate(physical.dies) for cpu in die.cpus}
    cores = sorted(((cpu, core) for core in physical.cores for cpu in core.cpus), key=lambda entry: entry[0])
    return [((cpu, core.os_index, dies.get(cpu), physical.packages[core.package].os_index, nodes.get(cpu)), 1) for cpu, core in cores]


def _by_present_cpu(physical: Physical, cpus: CpuSet | None) -> Iterable[Sample]:
    present = physical.cpus.present or physical.cpus.online
    return [] if cpus is None else [((cpu,), int(cpu in cpus)) for cpu in present]


def _objects(physical: Physical) -> Iterable[Sample]:
    kinds = (("package", physical.packages), ("core", physical.cores), ("thread", physical.cpus.online), ("node", physical.nodes))
    unplaced = sum(len(package.cpus) for package in physical.packages) < len(physical.cpus.online)
    return [((kind,), len(objects)) for kind, objects in kinds if objects and not (unplaced and kind in ("package", "core"))]


def _packages(physical: Physical) -> Iterable[Sample]:
    return [((package.os_index, package.cpus, package.vendor, package.model_name, package.microcode), 1) for package in physical.packages]


_PHYSICAL: tuple[Row[Physical], ...] = (
    info(
        "strata_cpu_info",
        "Where each online CPU sits: numbers of cores repeat in every package",
        "/sys/devices/system/cpu/cpuN/topology and /sys/devices/system/node/nodeN/cpulist",
        _places,
        labels=("cpu", "core", "die", "package", "node"),
    ),
    gauge(
        "strata_cpu_online",
        "Whether a present CPU is online",
        "1 or 0",
        "/sys/devices/system/cpu/online",
        lambda physical: _by_present_cpu(physical, physical.cpus.online),
        labels=("cpu",),
    ),
    gauge(
        "strata_cpu_isolated",
        "Whether a present CPU is left out of the scheduler's load balancing",
        "1 or 0",
        "/sys/devices/system/cpu/isolated",
        lambda physical: _by_present_cpu(physical, physical.cpus.isolated),
        labels=("cpu",),
    ),
    gauge(
        "strata_topology_objects",
        "Packages, cores, threads (CPUs) and memory nodes that are online",
        "objects",
        "/sys/devices/system/cpu and /sys/devices/system/node",
        _objects,
        labels=("kind",),
    ),
    info(
        "strata_package_info",
        "The packages (sockets), their CPUs and model",
        "/sys/devices/system/cpu/cpuN/topology and /proc/cpuinfo",
        _packages,
        labels=("package", "cpus", "vendor", "model_name", "microcode"),
    ),
    gauge(
        "strata_cache_size_bytes",
        "Size of each cache, and the CPUs that share it",
        "bytes",
        "/sys/devices/system/cpu/cpuN/cache/indexN",
        lambda physical: [((cache.level, cache.type, cache.cpus), cache.size_bytes) for cache in physical.caches],
        labels=("level", "type", "cpus"),
    ),
    gauge(
        "strata_topology_contradictions",
        "Sets of CPUs that cannot all be true of one machine",
        "objects",
        "`physical.contradictions` of `agent snapshot`",
        lambda physical: [((subject,), n) for subject, n in Counter(entry.subject for entry in physical.contradictions).items()],
        labels=("subject",),
    ),
)

PHYSICAL_METRICS = declared(_PHYSICAL)
