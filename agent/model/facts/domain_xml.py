"""What a virtual machine was defined as, part by part: the XML of its libvirt domain. Source: formatdomain of libvirt."""

from __future__ import annotations

from agent.model.values import Count, CpuSet, Fact, Limit


class GuestCell(Fact, frozen=True):
    """A memory node that the guest is shown; `distances` by cell."""

    number: int
    cpus: CpuSet | None = None
    memory_bytes: Count | None = None
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

    size_bytes: Count | None = None
    cells: CpuSet | None = None


class Bandwidth(Fact, frozen=True):
    """A quota a period, microseconds."""

    period_usec: Count | None = None
    quota_usec: Limit | None = None


class Tuning(Fact, frozen=True, kw_only=True):
    """Pins by number, weights and quotas. `vcpu` is of each vCPU, `machine` of the machine as a whole."""

    vcpu_pins: dict[int, CpuSet] = {}
    emulator_pin: CpuSet | None = None
    iothread_pins: dict[int, CpuSet] = {}
    shares: Count | None = None
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
