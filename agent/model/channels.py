"""What connects the parts of a machine: memory devices on their channels, sockets, PCI devices, routes of interrupts."""

from __future__ import annotations

from typing import Literal

from agent.model.facts.sys_pci import PciDevice
from agent.model.values import CpuSet, Fact

Evidence = Literal["smbios", "edac", "inferred"]
"""Who says it: firmware's tables, the driver of the memory controller, or we, by a rule that stands beside it."""


class Dimm(Fact, frozen=True, kw_only=True):
    """A place for a memory device as SMBIOS lists it; `size_bytes` 0 is an empty one. Speeds are MT/s.

    `slot` is its position in the table, from 0. `error_correction` is that of its array. Where it sits is never stated by firmware:
    `channel_origin` and `node_origin` say who did, `node_evidence` by what.
    """

    slot: int
    handle: str
    locator: str | None = None
    bank: str | None = None
    size_bytes: int | None = None
    type: str | None = None
    form: str | None = None
    technology: str | None = None
    manufacturer: str | None = None
    part_number: str | None = None
    rated_mts: int | None = None
    configured_mts: int | None = None
    total_width_bits: int | None = None
    data_width_bits: int | None = None
    ranks: int | None = None
    minimum_millivolts: int | None = None
    maximum_millivolts: int | None = None
    configured_millivolts: int | None = None
    error_correction: str | None = None
    channel: str | None = None
    channel_origin: Evidence | None = None
    node: int | None = None
    node_origin: Evidence | None = None
    node_evidence: str | None = None


class MemoryChannel(Fact, frozen=True, kw_only=True):
    """A channel that has memory. `bandwidth_bytes_per_second` is width x rate: what its wires could carry, not what anybody measured."""

    name: str
    origin: Evidence
    slots: tuple[int, ...] = ()
    width_bits: int | None = None
    configured_mts: int | None = None
    bandwidth_bytes_per_second: int | None = None


class SocketLink(Fact, frozen=True):
    """Two packages (positions in `physical.packages`) with a link of their own; `distance` is the SLIT's between their nearest nodes."""

    packages: tuple[int, int]
    distance: int | None = None


class Interconnect(Fact, frozen=True):
    """What the sockets talk over: `technology` by CPU model, `links` by distances. No kernel interface states either."""

    technology: str | None = None
    links: tuple[SocketLink, ...] = ()
    origin: Evidence = "inferred"


class Channels(Fact, frozen=True):
    interconnect: Interconnect | None = None
    pci: tuple[PciDevice, ...] = ()


class IrqRoute(Fact, frozen=True, kw_only=True):
    """Where an interrupt may go (`affinity`), goes now (`effective_affinity`) and went since boot (`taken_by`, `count` in all).

    `irq` is the name of its line in `interrupts`; `device` the address of the PCI device that raises it.
    """

    irq: int
    device: str | None = None
    affinity: CpuSet | None = None
    effective_affinity: CpuSet | None = None
    taken_by: CpuSet | None = None
    count: int | None = None
