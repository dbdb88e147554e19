"""Families of what sits on the machine's channels: memory devices and their errors, PCI devices, routes of interrupts.

`slot` is a memory device's position in the SMBIOS table; `dimm` is what a controller's driver calls it.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.model.channels import IrqRoute, PciDevice
from agent.model.physical import Memory, Physical
from exporters.metrics.family import Family


def device_families(physical: Physical, routes: tuple[IrqRoute, ...]) -> Iterator[Family]:
    yield from _dimms(physical.memory)
    yield from _errors(physical.memory)
    yield from _pci(physical.channels.pci if physical.channels else ())
    places = [
        (
            (
                ("irq", route.irq),
                ("device", route.device),
                ("affinity", route.affinity),
                ("effective_affinity", route.effective_affinity),
            ),
            1,
        )
        for route in routes
    ]
    yield Family("strata_irq_route_info", "info", "CPUs that an interrupt may go to, and goes to.", places)
    counts = [((("irq", route.irq),), route.count) for route in routes]
    yield Family("strata_irq_interrupts_total", "counter", "Interrupts taken, on all CPUs.", counts)


def _dimms(memory: Memory) -> Iterator[Family]:
    infos = [
        (
            (
                ("slot", dimm.slot),
                ("locator", dimm.locator),
                ("bank", dimm.bank),
                ("type", dimm.type),
                ("form", dimm.form),
                ("manufacturer", dimm.manufacturer),
                ("part_number", dimm.part_number),
                ("channel", dimm.channel),
                ("node", dimm.node),
            ),
            1,
        )
        for dimm in memory.dimms
    ]
    yield Family("strata_dimm_info", "info", "The places for memory devices, as firmware lists them.", infos)
    sizes = [((("slot", dimm.slot),), dimm.size_bytes) for dimm in memory.dimms]
    yield Family("strata_dimm_size_bytes", "gauge", "Size of a memory device; 0 is an empty place.", sizes)
    rates = [((("slot", dimm.slot),), None if dimm.configured_mts is None else dimm.configured_mts * 1_000_000) for dimm in memory.dimms]
    yield Family("strata_dimm_configured_transfers_per_second", "gauge", "Rate at which a memory device runs.", rates)
    bandwidths = [((("channel", channel.name),), channel.bandwidth_bytes_per_second) for channel in memory.channels]
    yield Family(
        "strata_memory_channel_theoretical_bandwidth_bytes_per_second", "gauge", "Width x rate of a channel. Not measured.", bandwidths
    )
    whole = [((), memory.theoretical_bandwidth_bytes_per_second)]
    yield Family("strata_memory_theoretical_bandwidth_bytes_per_second", "gauge", "Channels x width x rate. Not measured.", whole)


def _errors(memory: Memory) -> Iterator[Family]:
    dimms = [((("controller", mc.os_index), ("dimm", dimm.name)), dimm) for mc in memory.controllers for dimm in mc.dimms]
    infos = [
        (
            (
                *labels,
                ("label", dimm.label),
                ("location", dimm.location),
                ("type", dimm.mem_type),
                ("mode", dimm.edac_mode),
                ("slot", dimm.slot),
            ),
            1,
        )
        for labels, dimm in dimms
    ]
    yield Family("strata_edac_dimm_info", "info", "DIMMs or ranks as the driver of their controller shows them.", infos)
    correctable = [(labels, dimm.correctable_errors) for labels, dimm in dimms]
    yield Family("strata_edac_correctable_errors_total", "counter", "Errors of a DIMM that were corrected.", correctable)
    uncorrectable = [(labels, dimm.uncorrectable_errors) for labels, dimm in dimms]
    yield Family("strata_edac_uncorrectable_errors_total", "counter", "Errors of a DIMM that were not.", uncorrectable)
    whole = [((("controller", mc.os_index),), mc) for mc in memory.controllers]
    corrected = [(labels, mc.correctable_errors) for labels, mc in whole]
    yield Family(
        "strata_edac_controller_correctable_errors_total", "counter", "Corrected errors of a controller, unplaced ones, too.", corrected
    )
    lost = [(labels, mc.uncorrectable_errors) for labels, mc in whole]
    yield Family("strata_edac_controller_uncorrectable_errors_total", "counter", "Uncorrected errors, unplaced ones, too.", lost)


def _pci(devices: tuple[PciDevice, ...]) -> Iterator[Family]:
    infos = [
        (
            (
                ("address", device.address),
                ("kind", device.kind),
                ("class", device.class_code),
                ("vendor", device.vendor),
                ("device", device.device),
                ("driver", device.driver),
                ("node", device.node),
                ("cpus", device.cpus),
            ),
            1,
        )
        for device in devices
    ]
    yield Family("strata_pci_device_info", "info", "Network, storage, display and accelerator devices, and where they sit.", infos)
    links = [
        ((("address", device.address), ("bound", bound)), link)
        for device in devices
        for bound, link in (("current", device.link), ("max", device.max_link))
        if link is not None
    ]
    lanes = [(labels, link.lanes) for labels, link in links]
    yield Family("strata_pci_link_lanes", "gauge", "Lanes of a device's link.", lanes)
    rates = [(labels, None if link.gigatransfers_per_second is None else link.gigatransfers_per_second * 1e9) for labels, link in links]
    yield Family("strata_pci_link_transfers_per_second", "gauge", "Transfers a second on each lane of a device's link.", rates)
