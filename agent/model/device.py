"""The three device models of CPU and memory, physical, virtual and logical, counted on one host."""

from __future__ import annotations

from agent.model.values import CpuSet, Fact


class CpuOvercommit(Fact, frozen=True, kw_only=True):
    """vCPUs a CPU among `cpus`, each vCPU counted in equal parts where it may run. `scope`: "host", "node", "llc" or "core"."""

    name: str
    scope: str
    cpus: CpuSet
    vcpus: float
    ratio: float


class MemoryOvercommit(Fact, frozen=True, kw_only=True):
    """What running machines have been given of the host's memory, or of a node's.

    `machines_bytes` is what their balloons leave them, `machines_max_bytes` what they may take at most. Each counts in equal parts on
    the nodes that it is bound to or may use. `ratio` is of the first.
    """

    name: str
    scope: str
    memory_bytes: int
    machines_bytes: float
    machines_max_bytes: float
    ratio: float
    node: int | None = None


class CpuDevices(Fact, frozen=True, kw_only=True):
    """`logical` CPUs are the kernel's, one a hardware thread that is online; `virtual` ones are the vCPUs of running machines."""

    packages: int | None = None
    cores: int | None = None
    threads: int | None = None
    logical: CpuSet | None = None
    virtual: int | None = None
    virtual_pinned: int | None = None
    runtime_threads: int | None = None
    overcommit: tuple[CpuOvercommit, ...] = ()


class RuntimeProcesses(Fact, frozen=True):
    """A Wasm runtime: the processes that hold it, and those of them with memories. It may be `visible`, or keep them on the heap.

    How many hold it is not known where the map of any process, however small, could not be read.
    """

    name: str
    processes: int | None
    active: int | None
    visible: bool


class MemoryDevices(Fact, frozen=True, kw_only=True):
    """Bytes: the host's, the guests' physical memory, the linear memories that sandboxes see."""

    physical_bytes: int | None = None
    nodes: int | None = None
    virtual_bytes: int | None = None
    logical_bytes: int | None = None
    logical_memories: int | None = None
    runtimes: tuple[RuntimeProcesses, ...] = ()
    overcommit: tuple[MemoryOvercommit, ...] = ()


class Devices(Fact, frozen=True):
    cpu: CpuDevices
    memory: MemoryDevices
