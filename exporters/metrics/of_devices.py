"""Metrics of what sits on the machine's channels: memory devices and their errors, PCI devices, routes of interrupts.

`slot` is a memory device's position in the SMBIOS table; `dimm` is what a controller's driver calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.channels import Dimm, IrqRoute
from agent.model.facts.edac import EdacDimm, MemoryController
from agent.model.facts.sys_pci import Link
from agent.model.physical import MainMemory, Physical
from exporters.metrics.family import (
    Column,
    Family,
    LabelValues,
    Row,
    Sample,
    counter,
    declared,
    from_columns,
    from_rows,
    gauge,
    info,
    labelled,
)


def device_families(physical: Physical, routes: tuple[IrqRoute, ...]) -> Iterator[Family]:
    memory = physical.memory
    yield from from_rows(_MEMORY, memory)
    yield from from_columns(_BY_SLOT, [(dimm.slot,) for dimm in memory.dimms], memory.dimms)
    placed = [(controller.os_index, dimm) for controller in memory.controllers for dimm in controller.dimms]
    yield from from_columns(_BY_EDAC_DIMM, [(number, dimm.name) for number, dimm in placed], [dimm for _, dimm in placed])
    yield from from_columns(_BY_CONTROLLER, [(controller.os_index,) for controller in memory.controllers], memory.controllers)
    yield from from_rows(_PCI, physical)
    links = list(_links(physical))
    yield from from_columns(_BY_LINK, [labels for labels, _ in links], [link for _, link in links])
    yield from from_rows(_IRQ, routes)


def _slots(memory: MainMemory) -> Iterable[Sample]:
    return [
        ((dimm.slot, dimm.locator, dimm.bank, dimm.type, dimm.form, dimm.manufacturer, dimm.part_number, dimm.channel, dimm.node), 1)
        for dimm in memory.dimms
    ]


def _edac_dimms(memory: MainMemory) -> Iterable[Sample]:
    return [
        ((controller.os_index, dimm.name, dimm.label, dimm.location, dimm.mem_type, dimm.edac_mode, dimm.slot), 1)
        for controller in memory.controllers
        for dimm in controller.dimms
    ]


def _pci_devices(physical: Physical) -> Iterable[Sample]:
    devices = physical.channels.pci if physical.channels else ()
    return [((pci.address, pci.kind, pci.class_code, pci.vendor, pci.device, pci.driver, pci.node, pci.cpus), 1) for pci in devices]


def _links(physical: Physical) -> Iterator[tuple[LabelValues, Link]]:
    for device in physical.channels.pci if physical.channels else ():
        for bound, link in (("current", device.link), ("max", device.max_link)):
            if link is not None:
                yield (device.address, bound), link


def _routes(routes: tuple[IrqRoute, ...]) -> Iterable[Sample]:
    return [((route.irq, route.device, route.affinity, route.effective_affinity), 1) for route in routes]


_MEMORY: tuple[Row[MainMemory], ...] = (
    info(
        "strata_dimm_info",
        "The places for memory devices, empty ones, too, as firmware lists them",
        "SMBIOS type 17, /sys/firmware/dmi/tables/DMI",
        _slots,
        labels=("slot", "locator", "bank", "type", "form", "manufacturer", "part_number", "channel", "node"),
        level="full",
    ),
    gauge(
        "strata_memory_channel_theoretical_bandwidth_bytes_per_second",
        "What the wires of a memory channel could carry: width times configured rate, not measured",
        "bytes per second",
        "SMBIOS type 17, /sys/firmware/dmi/tables/DMI",
        lambda memory: [((channel.name,), channel.bandwidth_bytes_per_second) for channel in memory.channels],
        labels=("channel",),
        level="full",
    ),
    gauge(
        "strata_memory_theoretical_bandwidth_bytes_per_second",
        "What all memory channels could carry: channels times width times configured rate, not measured",
        "bytes per second",
        "SMBIOS type 17, /sys/firmware/dmi/tables/DMI",
        lambda memory: [((), memory.theoretical_bandwidth_bytes_per_second)],
    ),
    info(
        "strata_edac_dimm_info",
        "DIMMs or ranks as the driver of their memory controller shows them",
        "/sys/devices/system/edac/mc/mcN/{dimm,rank,csrow}N",
        _edac_dimms,
        labels=("controller", "dimm", "label", "location", "type", "mode", "slot"),
        level="full",
    ),
)

_BY_SLOT: tuple[Column[Dimm], ...] = labelled(
    ("slot",),
    gauge(
        "strata_dimm_size_bytes",
        "Size of a memory device (0: an empty place)",
        "bytes",
        "SMBIOS type 17, /sys/firmware/dmi/tables/DMI",
        lambda dimm: dimm.size_bytes,
        level="full",
    ),
    gauge(
        "strata_dimm_configured_transfers_per_second",
        "Rate at which a memory device runs",
        "transfers per second",
        "SMBIOS type 17, /sys/firmware/dmi/tables/DMI",
        lambda dimm: None if dimm.configured_mts is None else dimm.configured_mts * 1_000_000,
        level="full",
    ),
)

_BY_EDAC_DIMM: tuple[Column[EdacDimm], ...] = labelled(
    ("controller", "dimm"),
    counter(
        "strata_edac_correctable_errors_total",
        "Memory errors of a DIMM that were corrected, since the driver's start or a reset",
        "errors",
        "/sys/devices/system/edac/mc/mcN/dimmN/dimm_ce_count",
        lambda dimm: dimm.correctable_errors,
    ),
    counter(
        "strata_edac_uncorrectable_errors_total",
        "Memory errors of a DIMM that could not be corrected, since the driver's start or a reset",
        "errors",
        "/sys/devices/system/edac/mc/mcN/dimmN/dimm_ue_count",
        lambda dimm: dimm.uncorrectable_errors,
    ),
)

_BY_CONTROLLER: tuple[Column[MemoryController], ...] = labelled(
    ("controller",),
    counter(
        "strata_edac_controller_correctable_errors_total",
        "Corrected memory errors of a controller, those of no known DIMM, too",
        "errors",
        "/sys/devices/system/edac/mc/mcN/ce_count",
        lambda controller: controller.correctable_errors,
    ),
    counter(
        "strata_edac_controller_uncorrectable_errors_total",
        "Memory errors of a controller that could not be corrected, those of no known DIMM, too",
        "errors",
        "/sys/devices/system/edac/mc/mcN/ue_count",
        lambda controller: controller.uncorrectable_errors,
    ),
)

_PCI: tuple[Row[Physical], ...] = (
    info(
        "strata_pci_device_info",
        "Storage, network, display and accelerator devices, and the CPUs and node near them",
        "/sys/bus/pci/devices/ADDRESS",
        _pci_devices,
        labels=("address", "kind", "class", "vendor", "device", "driver", "node", "cpus"),
        level="full",
    ),
)

_BY_LINK: tuple[Column[Link], ...] = labelled(
    ("address", "bound"),
    gauge(
        "strata_pci_link_lanes",
        "Lanes of a PCI Express link, as it runs and at most",
        "lanes",
        "/sys/bus/pci/devices/ADDRESS/current_link_width and max_link_width",
        lambda link: link.lanes,
        level="full",
    ),
    gauge(
        "strata_pci_link_transfers_per_second",
        "Transfers on each lane of a PCI Express link, as it runs and at most",
        "transfers per second",
        "/sys/bus/pci/devices/ADDRESS/current_link_speed and max_link_speed",
        lambda link: None if link.gigatransfers_per_second is None else link.gigatransfers_per_second * 1e9,
        level="full",
    ),
)

_IRQ: tuple[Row[tuple[IrqRoute, ...]], ...] = (
    info(
        "strata_irq_route_info",
        "CPUs that an interrupt may go to, and goes to now",
        "/proc/irq/N/smp_affinity_list and effective_affinity_list",
        _routes,
        labels=("irq", "device", "affinity", "effective_affinity"),
        level="full",
    ),
    counter(
        "strata_irq_interrupts_total",
        "Interrupts taken since boot, all CPUs together",
        "interrupts",
        "/proc/interrupts",
        lambda routes: [((route.irq,), route.count) for route in routes],
        labels=("irq",),
        level="full",
    ),
)

DEVICE_METRICS = declared(_MEMORY, _BY_SLOT, _BY_EDAC_DIMM, _BY_CONTROLLER, _PCI, _BY_LINK, _IRQ)
