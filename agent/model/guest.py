"""What a virtual machine was told it is, and what it was given, as its definition has it in force."""

from __future__ import annotations

from agent.model.facts.domain_xml import Backing, CellMemory, GuestCell, Tuning
from agent.model.facts.libvirt_stats import Balloon
from agent.model.values import CpuSet, Fact


class Guest(Fact, frozen=True, kw_only=True):
    """A virtual machine as it was defined; of one that only the kernel knows, as much as its descriptors tell.

    `enlightenments` are paravirtual features that change what it costs. `kvm` has KVM's counters under their own names; they and `balloon`
    are what its monitor told `stats_seconds_ago`. `definition_seconds_ago`: how old libvirt's words are, where it does not answer now.
    `elsewhere`: it does not run on this host, its hypervisor was asked over the network or invents it.
    """

    machine: str | None = None
    accelerator: str | None = None
    cpu_mode: str | None = None
    cpu_model: str | None = None
    nested: bool | None = None
    max_vcpus: int | None = None
    sockets: int | None = None
    dies: int | None = None
    clusters: int | None = None
    cores: int | None = None
    threads: int | None = None
    numa_cells: int | None = None
    cells: tuple[GuestCell, ...] = ()
    numatune_mode: str | None = None
    numatune_nodes: CpuSet | None = None
    numatune_placement: str | None = None
    cell_memories: tuple[CellMemory, ...] = ()
    tuning: Tuning | None = None
    emulator_affinity: CpuSet | None = None
    hugepages: bool | None = None
    backing: Backing | None = None
    memory_slots_bytes: int | None = None
    iothreads: int | None = None
    iothread_numbers: tuple[int, ...] = ()
    enlightenments: tuple[str, ...] = ()
    video_bytes: int | None = None
    hypervisor: str | None = None
    elsewhere: bool = False
    kvm: dict[str, int] = {}
    balloon: Balloon | None = None
    stats_seconds_ago: float | None = None
    definition_seconds_ago: float | None = None
