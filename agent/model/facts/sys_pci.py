"""PCI devices that move data: /sys/bus/pci/devices. Source: Documentation/ABI/testing/sysfs-bus-pci."""

from __future__ import annotations

from typing import Literal

from agent.model.values import CpuSet, Fact


class Link(Fact, frozen=True):
    """A PCI Express link: gigatransfers per second on each lane, and lanes."""

    gigatransfers_per_second: float | None = None
    lanes: int | None = None


class PciDevice(Fact, frozen=True, kw_only=True):
    """`cpus` are the online ones near it. `node` and `cpus` are absent where firmware says nothing."""

    address: str
    kind: Literal["storage", "network", "display", "accelerator"]
    class_code: str
    vendor: str | None = None
    device: str | None = None
    driver: str | None = None
    node: int | None = None
    cpus: CpuSet | None = None
    link: Link | None = None
    max_link: Link | None = None
