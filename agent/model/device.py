"""The three device models of CPU and memory, physical, virtual and logical, counted on one host."""

from __future__ import annotations

from agent.model.values import CpuSet, Fact


class CpuDevices(Fact, frozen=True):
    """`logical` CPUs are the kernel's, one a hardware thread that is online; `virtual` ones are the vCPUs of running machines."""

    packages: int | None = None
    cores: int | None = None
    threads: int | None = None
    logical: CpuSet | None = None
    virtual: int | None = None
    virtual_pinned: int | None = None
    runtime_threads: int | None = None


class MemoryDevices(Fact, frozen=True):
    """Bytes: the host's, the guests' physical memory, the linear memories that sandboxes see."""

    physical_bytes: int | None = None
    nodes: int | None = None
    virtual_bytes: int | None = None
    logical_bytes: int | None = None
    logical_memories: int | None = None


class Devices(Fact, frozen=True):
    cpu: CpuDevices
    memory: MemoryDevices
