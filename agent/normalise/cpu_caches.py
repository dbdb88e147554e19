"""Caches, by level, type and the CPUs that share them: ids are missing on virtual machines and repeat on hybrid ones."""

from __future__ import annotations

from agent.collect.sample import Sample
from agent.model.physical import Cache, Core
from agent.model.values import CpuSet


def caches(sample: Sample, online: CpuSet, cores: tuple[Core, ...]) -> tuple[Cache, ...]:
    """The distinct caches of online CPUs, sorted by level, type and first CPU."""
    core_of = {cpu: core.cpus for core in cores for cpu in core.cpus}
    listed = [cache for cache in (sample.statics.cpus.caches if sample.statics.cpus else ()) if cache.cpu in online]
    # Where the kernel names no CPU for any cache of a kind (ia64, old virtual machines), we assume that only one core shares each.
    named = {(cache.level, cache.type) for cache in listed if cache.shared}
    distinct: dict[tuple[int, str, CpuSet], Cache] = {}
    for cache in listed:
        shared = None if cache.shared is None else cache.shared & online
        if not shared and (cache.level, cache.type) in named:
            continue
        cpus = shared or core_of.get(cache.cpu, CpuSet((cache.cpu,)))
        distinct.setdefault(
            (cache.level, cache.type, cpus),
            Cache(
                level=cache.level,
                type=cache.type,
                cpus=cpus,
                size_bytes=cache.size_bytes,
                line_bytes=cache.line_bytes,
                # 0 and -1 both mean fully associative, or not known: neither is a number of ways.
                ways=cache.ways if cache.ways and cache.ways > 0 else None,
                sets=cache.sets,
                id=cache.id,
                sharing_origin=None if shared else "inferred",
            ),
        )
    return tuple(sorted(distinct.values(), key=lambda cache: (cache.level, cache.type, next(iter(cache.cpus)))))
