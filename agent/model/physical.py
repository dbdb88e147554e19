"""The machine: packages, dies, clusters, cores, caches, memory nodes. Locality is always a set of kernel CPU numbers."""

from __future__ import annotations

from typing import Literal

from agent.model.channels import Channels, Dimm, MemoryChannel
from agent.model.facts.edac import MemoryController
from agent.model.facts.hugepages import HugePagePool
from agent.model.facts.sys_dax import DaxDevice
from agent.model.facts.sys_nd import PmemRegion
from agent.model.facts.sys_node import Access, SideCache
from agent.model.values import CpuSet, Fact, Origin


class Cpus(Fact, frozen=True, kw_only=True):
    """CPU numbers by state. `offline` is present and not online: the kernel's own list also names CPUs that never were."""

    online: CpuSet
    possible: CpuSet | None = None
    present: CpuSet | None = None
    offline: CpuSet | None = None
    isolated: CpuSet | None = None
    nohz_full: CpuSet | None = None


class Package(Fact, frozen=True, kw_only=True):
    """A socket. `os_index` is physical_package_id, absent where the kernel has none (-1).

    `numa_clustering` is what its maker calls the division of its memory into nodes: "SNC2", "NPS4".
    """

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
    numa_clustering: str | None = None
    numa_clustering_origin: Origin | None = None


class Assembly(Fact, frozen=True):
    """A book or a drawer of a mainframe: packages that sit together."""

    cpus: CpuSet
    os_index: int | None = None


class CpuGroup(Fact, frozen=True):
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


class Cache(Fact, frozen=True, kw_only=True):
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


class Node(Fact, frozen=True, kw_only=True):
    """A memory node. `distances` are SLIT numbers by node: relative, local is 10.

    Nodes need not sum to MemTotal: the kernel may initialise their pages late. `tier` is the kernel's: a smaller number is faster.
    `access` goes by class: 0 counts every initiator, 1 those with CPUs. `local_cpus` are a node's own, or the nearest ones of a node
    without: by the evidence that is named. `side_caches` go by level.
    """

    os_index: int
    cpus: CpuSet | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    kind: Literal["dram", "hbm", "pmem", "cxl", "gpu", "unknown"] | None = None
    kind_origin: Origin | None = None
    kind_evidence: str | None = None
    origin: Origin | None = None
    tier: int | None = None
    distances: dict[int, int] = {}
    access: dict[int, Access] = {}
    local_cpus: CpuSet | None = None
    local_cpus_evidence: Literal["own", "pci", "access1", "access0", "distance"] | None = None
    side_caches: dict[int, SideCache] = {}
    hugepages: tuple[HugePagePool, ...] = ()
    numastat: dict[str, int] = {}


class CpuKind(Fact, frozen=True, kw_only=True):
    """CPUs of one kind on a machine that has more than one, fastest first."""

    cpus: CpuSet
    name: str | None = None
    capacity: int | None = None
    max_freq_hz: int | None = None
    base_freq_hz: int | None = None
    midr: int | None = None
    origin: Origin | None = None


class Contradiction(Fact, frozen=True):
    """Sets that cannot all be true of one machine: what they speak of, the CPUs in question, and the sets."""

    subject: str
    cpus: CpuSet
    detail: str


class Restrictions(Fact, frozen=True):
    """What the agent itself may use. Nothing else of the model is cut by it."""

    allowed_cpus: CpuSet | None = None
    allowed_nodes: CpuSet | None = None


class MainMemory(Fact, frozen=True, kw_only=True):
    """`total_bytes` is MemTotal of /proc/meminfo: what the kernel manages; `installed_bytes` is what firmware says is plugged in.

    `distances_alike`: every pair of more than two nodes is as far apart. Firmware states no distances, or fills in one: they tell nothing.
    The bandwidth is theoretical: channels x width x configured rate, absent unless all three are known.
    """

    architecture: Literal["uma", "numa"] | None = None
    total_bytes: int | None = None
    distances_alike: bool | None = None
    installed_bytes: int | None = None
    dimms: tuple[Dimm, ...] = ()
    controllers: tuple[MemoryController, ...] = ()
    channels: tuple[MemoryChannel, ...] = ()
    theoretical_bandwidth_bytes_per_second: int | None = None


class Physical(Fact, frozen=True, kw_only=True):
    """`architecture`: one CPU, symmetric (one memory node), or NUMA."""

    cpus: Cpus
    memory: MainMemory
    architecture: Literal["uniprocessor", "smp", "numa"] | None = None
    packages: tuple[Package, ...] = ()
    dies: tuple[CpuGroup, ...] = ()
    clusters: tuple[CpuGroup, ...] = ()
    books: tuple[Assembly, ...] = ()
    drawers: tuple[Assembly, ...] = ()
    cores: tuple[Core, ...] = ()
    caches: tuple[Cache, ...] = ()
    nodes: tuple[Node, ...] = ()
    cpu_kinds: tuple[CpuKind, ...] = ()
    dax: tuple[DaxDevice, ...] = ()
    pmem: tuple[PmemRegion, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    restrictions: Restrictions | None = None
    channels: Channels | None = None
