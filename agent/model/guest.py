"""What a virtual machine was told it is, and what it was given, as its definition has it in force."""

from __future__ import annotations

from agent.model.values import CpuSet, Fact, Limit


class GuestCell(Fact, frozen=True):
    """A memory node that the guest is shown; `distances` by cell."""

    number: int
    cpus: CpuSet | None = None
    memory_bytes: int | None = None
    distances: dict[int, int] = {}


class CellMemory(Fact, frozen=True):
    """The host nodes behind one cell."""

    cell: int
    mode: str | None = None
    nodes: CpuSet | None = None


class Schedule(Fact, frozen=True):
    """The policy of some threads: `threads` "vcpu", "iothread" or "emulator", by number where there are several."""

    threads: str
    policy: str
    numbers: CpuSet | None = None
    priority: int | None = None


class BackingPages(Fact, frozen=True):
    """Explicit huge pages behind the guest. `size_bytes` None: the host's default size; `cells` None: behind all of it."""

    size_bytes: int | None = None
    cells: CpuSet | None = None


class Bandwidth(Fact, frozen=True):
    """A quota a period, microseconds."""

    period_usec: int | None = None
    quota_usec: Limit | None = None


class Tuning(Fact, frozen=True, kw_only=True):
    """Pins by number, weights and quotas. `vcpu` is of each vCPU, `machine` of the machine as a whole."""

    vcpu_pins: dict[int, CpuSet] = {}
    emulator_pin: CpuSet | None = None
    iothread_pins: dict[int, CpuSet] = {}
    shares: int | None = None
    vcpu: Bandwidth = Bandwidth()
    machine: Bandwidth = Bandwidth()
    emulator: Bandwidth = Bandwidth()
    iothread: Bandwidth = Bandwidth()
    schedules: tuple[Schedule, ...] = ()


class Backing(Fact, frozen=True, kw_only=True):
    """What guest memory is made of. `mergeable` False: KSM is kept off."""

    hugepages: tuple[BackingPages, ...] = ()
    locked: bool = False
    mergeable: bool = True
    source: str | None = None
    shared: bool | None = None


class Guest(Fact, frozen=True, kw_only=True):
    """A virtual machine as it was defined; of one that only the kernel knows, as much as its descriptors tell.

    `enlightenments` are paravirtual features that change what it costs. `kvm` and `balloon` are what its monitor told, under their
    own names, `told_seconds_ago`. `elsewhere`: it does not run on this host, its hypervisor was asked over the network or invents it.
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
    balloon: dict[str, int] = {}
    told_seconds_ago: float | None = None
