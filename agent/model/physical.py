"""The machine: packages, dies, clusters, cores, caches, memory nodes. Locality is always a set of kernel CPU numbers."""

from __future__ import annotations

from typing import Literal

from agent.model.values import CpuSet, Fact, Origin


class Cpus(Fact, frozen=True):
    """CPU numbers by state. `offline` is present and not online: the kernel's own list also names CPUs that never were."""

    online: CpuSet
    possible: CpuSet | None = None
    present: CpuSet | None = None
    offline: CpuSet | None = None
    isolated: CpuSet | None = None
    nohz_full: CpuSet | None = None


class Package(Fact, frozen=True):
    """A socket. `os_index` is physical_package_id, absent where the kernel has none (-1)."""

    cpus: CpuSet
    os_index: int | None = None
    vendor: str | None = None
    model_name: str | None = None
    family: str | None = None
    model: str | None = None
    stepping: str | None = None
    microcode: str | None = None
    identity_origin: Origin | None = None
    dies: tuple[CpuSet, ...] = ()


class Group(Fact, frozen=True):
    """A die or a cluster that is more than the level below it and less than the one above."""

    cpus: CpuSet
    package: int
    """Position in `physical.packages`: os_index is not there on every machine."""
    os_index: int | None = None


class Core(Fact, frozen=True):
    """A core and its hardware threads. `os_index` is core_id, unique in its package only."""

    cpus: CpuSet
    package: int
    os_index: int | None = None


class Cache(Fact, frozen=True):
    """One cache and the CPUs that share it. Ids are not unique on every machine: level, type and `cpus` are its key."""

    level: int
    type: str
    cpus: CpuSet
    size_bytes: int | None = None
    line_bytes: int | None = None
    ways: int | None = None
    sets: int | None = None
    id: int | None = None
    sharing_origin: Origin | None = None


class Node(Fact, frozen=True):
    """A memory node. `distances` are SLIT numbers by node: relative, local is 10.

    Nodes need not sum to MemTotal: the kernel may initialise their pages late.
    """

    os_index: int
    cpus: CpuSet | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    kind: Literal["dram", "hbm", "pmem", "cxl", "gpu", "unknown"] | None = None
    kind_origin: Origin | None = None
    origin: Origin | None = None
    distances: dict[int, int] = {}
    hugepages: tuple[HugePages, ...] = ()
    numastat: dict[str, int] = {}


class HugePages(Fact, frozen=True):
    """A pool of explicit huge pages."""

    page_bytes: int
    total_pages: int | None = None
    free_pages: int | None = None


class CpuKind(Fact, frozen=True):
    """CPUs of one kind on a machine that has more than one, fastest first."""

    cpus: CpuSet
    name: str | None = None
    capacity: int | None = None
    max_freq_hz: int | None = None
    base_freq_hz: int | None = None
    midr: int | None = None


class Memory(Fact, frozen=True):
    """`total_bytes` is MemTotal of /proc/meminfo: what the kernel manages, not what is plugged in."""

    architecture: Literal["uma", "numa"] | None = None
    total_bytes: int | None = None


class Physical(Fact, frozen=True):
    """`architecture`: one CPU, symmetric (one memory node), or NUMA."""

    cpus: Cpus
    memory: Memory
    architecture: Literal["uniprocessor", "smp", "numa"] | None = None
    packages: tuple[Package, ...] = ()
    dies: tuple[Group, ...] = ()
    clusters: tuple[Group, ...] = ()
    cores: tuple[Core, ...] = ()
    caches: tuple[Cache, ...] = ()
    nodes: tuple[Node, ...] = ()
    cpu_kinds: tuple[CpuKind, ...] = ()
