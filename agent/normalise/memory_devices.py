"""DIMM -> channel -> node, each with its source. Firmware lists devices, drivers list channels, the kernel lists nodes.

A DIMM's channel is stated by its controller's driver where labels match, else by an unambiguous locator string of the firmware. Its node
follows from addresses, else from the socket in its locator. Where addresses match several nodes, they are not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.channels import Dimm, Evidence, MemoryChannel
from agent.model.facts.edac import MemoryController
from agent.model.physical import MainMemory, Node, Package
from agent.model.values import sum_if_known
from collectors.smbios import AddressRange, MemoryDevice, Smbios

T = TypeVar("T")

# "P1-DIMMA1", "CPU0_DIMM_B2", "P0_Node1_Channel0_Dimm0", "Controller1-ChannelA-DIMM0". A letter without the word "channel" is one to some
# makers and a socket to others (Dell's DIMM A1 is the first place of CPU 1): it counts only behind a socket. Gigabyte has DIMM_P0_A0.
_PLACE = re.compile(r"(?<![A-Z])(CPU|PROC|SOCKET|P|NODE|DIE|CONTROLLER|I?MC|BRANCH)[ _#-]?(\d{1,3})(?!\d)")
_SOCKETS = ("CPU", "PROC", "SOCKET", "P")
_CHANNEL = re.compile(r"(?<![A-Z])CH(?:AN(?:NEL)?)?[ _#-]?([A-Z]|\d{1,3})(?![A-Z0-9])")
_LETTER = re.compile(r"DIMM[ _]?([A-OQ-Z])\d{0,2}(?![A-Z0-9])")
_PLACES_PER_CHANNEL = 3  # no board of DDR3 or later has more
# Devices that share the channels of main memory, but are not what its bandwidth is made of.
_PERSISTENT = ("Logical non-volatile device", "Intel Optane persistent memory", "NVDIMM-F", "NVDIMM-P")


class Wiring(NamedTuple):
    """Socket and channel in a device's locator. The socket is a word and a number, because each word has a numbering of its own."""

    socket: tuple[str, int] | None
    channel: str | None


def memory_devices(sample: Sample, memory: MainMemory, nodes: tuple[Node, ...], packages: tuple[Package, ...]) -> MainMemory:
    """`memory` with its DIMMs, controllers and channels."""
    firmware = sample.statics.smbios
    not_system_memory = {array.handle for array in firmware.arrays if not array.system_memory} if firmware else set()
    devices = {slot: device for slot, device in enumerate(firmware.devices) if device.array not in not_system_memory} if firmware else {}
    controllers = _controllers(sample, devices)
    wirings = _wirings(devices)
    channel_by_slot = {dimm.slot: dimm.channel for controller in controllers for dimm in controller.dimms if dimm.channel}
    where = _nodes(sample, firmware or Smbios(), wirings, nodes, packages)
    corrections = {array.handle: array.error_correction for array in firmware.arrays} if firmware else {}
    dimms = tuple(
        _dimm(slot, device, corrections.get(device.array), _channel(channel_by_slot.get(slot), wirings[slot]), where(slot, device))
        for slot, device in devices.items()
    )
    channels = _channels(controllers, dimms)
    return replace(
        memory,
        installed_bytes=sum_if_known(dimm.size_bytes for dimm in dimms),
        dimms=dimms,
        controllers=controllers,
        channels=channels,
        theoretical_bandwidth_bytes_per_second=sum_if_known(channel.bandwidth_bytes_per_second for channel in channels),
    )


def _dimm(
    slot: int, device: MemoryDevice, correction: str | None, channel: tuple[str, Evidence] | None, node: tuple[int, str] | None
) -> Dimm:
    if device.size_bytes == 0:
        channel = node = None
    return Dimm(
        slot=slot,
        handle=f"0x{device.handle:04x}",
        locator=device.locator,
        bank=device.bank,
        size_bytes=device.size_bytes,
        type=device.type,
        form=device.form,
        technology=device.technology,
        manufacturer=device.manufacturer,
        part_number=device.part_number,
        rated_mts=device.rated_mts,
        configured_mts=device.configured_mts,
        total_width_bits=device.total_width_bits,
        data_width_bits=device.data_width_bits,
        ranks=device.ranks,
        minimum_millivolts=device.minimum_mv,
        maximum_millivolts=device.maximum_mv,
        configured_millivolts=device.configured_mv,
        error_correction=correction,
        channel=channel[0] if channel else None,
        channel_origin=channel[1] if channel else None,
        node=node[0] if node else None,
        node_origin="inferred" if node else None,
        node_evidence=node[1] if node else None,
    )


def _controllers(sample: Sample, devices: dict[int, MemoryDevice]) -> tuple[MemoryController, ...]:
    slots = _labels(devices)
    return tuple(
        replace(controller, dimms=tuple(replace(dimm, slot=slots.get(dimm.label or "")) for dimm in controller.dimms))
        for controller in sample.host.memory_controllers or ()
    )


def _labels(devices: dict[int, MemoryDevice]) -> dict[str, int]:
    """Slots by the names that EDAC may give them, if unique: the locator, with or without the bank (drivers/firmware/dmi_scan.c)."""
    names: dict[str, set[int]] = {}
    for slot, device in devices.items():
        if device.locator:
            for name in {device.locator, *((f"{device.bank} {device.locator}", f"{device.locator} {device.bank}") if device.bank else ())}:
                names.setdefault(name, set()).add(slot)
    return {name: next(iter(slots)) for name, slots in names.items() if len(slots) == 1}


def _wirings(devices: dict[int, MemoryDevice]) -> dict[int, Wiring]:
    """The wiring of each slot. Channels are dropped if one name has more slots than a channel can have: such names are incomplete."""
    wirings = {slot: _wiring(device) for slot, device in devices.items()}
    places = Counter(wiring.channel for wiring in wirings.values() if wiring.channel)
    trusted = not places or max(places.values()) <= _PLACES_PER_CHANNEL
    return wirings if trusted else {slot: wiring._replace(channel=None) for slot, wiring in wirings.items()}


def _wiring(device: MemoryDevice) -> Wiring:
    text = f"{device.bank or ''} {device.locator or ''}".upper()
    places = sorted(set(_PLACE.findall(text)))
    # CPU1 may be P0: each word has its own numbering.
    numbers = ((word, _only_value(int(number) for kind, number in places if kind == word)) for word in _SOCKETS)
    socket = next(((word, number) for word, number in numbers if number is not None), None)
    channel = _only_value(_CHANNEL.findall(text)) or (_only_value(_LETTER.findall(text)) if socket else None)
    name = " ".join(f"{kind}{number}" for kind, number in places)
    return Wiring(socket, f"{name} channel {channel}".strip() if channel else None)


def _channel(edac_channel: str | None, wiring: Wiring) -> tuple[str, Evidence] | None:
    if edac_channel is not None:
        return edac_channel, "edac"
    return None if wiring.channel is None else (wiring.channel, "inferred")


def _nodes(
    sample: Sample, firmware: Smbios, wirings: dict[int, Wiring], nodes: tuple[Node, ...], packages: tuple[Package, ...]
) -> Callable[[int, MemoryDevice], tuple[int, str] | None]:
    """A function from a device to its node and the evidence. Weaker evidence is used only where the stronger one is inconclusive."""
    spans = _spans(sample, nodes)
    sockets = _by_socket(wirings, nodes, packages)
    by_device, by_array = _by_owner(firmware.device_ranges), _by_owner(firmware.array_ranges)

    def where(slot: int, device: MemoryDevice) -> tuple[int, str] | None:
        if _persistent(device):
            # It may share the array and the socket, but it is memory of another node, or a disk.
            return None
        ranges = (("SMBIOS type 20 addresses", by_device.get(device.handle)), ("SMBIOS type 19 addresses", by_array.get(device.array)))
        for evidence, address_ranges in ranges:
            if address_ranges and not spans:
                return None
            near = {
                node for addresses in address_ranges or () for node, start, end in spans if addresses.start < end and start < addresses.end
            }
            if len(near) == 1:
                return near.pop(), evidence
        node = sockets.get(wirings[slot].socket)
        return None if node is None else (node, "socket in its locator")

    return where


def _by_owner(ranges: tuple[AddressRange, ...]) -> dict[int, list[AddressRange]]:
    by_owner: dict[int, list[AddressRange]] = {}
    for addresses in ranges:
        by_owner.setdefault(addresses.owner, []).append(addresses)
    return by_owner


def _spans(sample: Sample, nodes: tuple[Node, ...]) -> list[tuple[int, int, int]]:
    """(node, first physical address, end) of every zone; empty where the start of a zone with pages is not known.

    The spans of two nodes may overlap: a device in both of them has no node by its addresses.
    """
    memory = sample.host.memory
    spans = []
    for span in memory.zones if memory else ():
        if span.spanned_pages == 0:
            continue
        page = memory.page_bytes if memory else None
        if span.start_page is None or span.spanned_pages is None or page is None:
            return []
        spans.append((span.zone.node, span.start_page * page, (span.start_page + span.spanned_pages) * page))
    with_memory = {node.os_index for node in nodes if node.memory_bytes != 0}
    return spans if with_memory <= {node for node, _, _ in spans} else []


def _by_socket(wirings: dict[int, Wiring], nodes: tuple[Node, ...], packages: tuple[Package, ...]) -> dict[tuple[str, int] | None, int]:
    """The node of each socket in the locators, if there are as many sockets as packages and each package has one node.

    Boards number sockets from 0 or from 1; empty slots are listed, too, so that no number is missing.
    """
    sockets = sorted({wiring.socket for wiring in wirings.values() if wiring.socket is not None})
    numbers = [package.os_index for package in packages]
    if len(sockets) != len(packages) or None in numbers or len(set(numbers)) != len(numbers) or any(node.cpus is None for node in nodes):
        return {}
    node_by_socket: dict[tuple[str, int] | None, int] = {}
    for socket, package in zip(sockets, sorted(packages, key=lambda package: package.os_index or 0), strict=True):
        near = [node for node in nodes if node.cpus and node.cpus & package.cpus]
        if len(near) != 1 or not near[0].memory_bytes or not (near[0].cpus or package.cpus) <= package.cpus:
            return {}
        node_by_socket[socket] = near[0].os_index
    return node_by_socket


def _channels(controllers: tuple[MemoryController, ...], dimms: tuple[Dimm, ...]) -> tuple[MemoryChannel, ...]:
    """The channels with memory, by drivers, else by locators; empty unless all of them are known."""
    filled = [dimm for dimm in dimms if dimm.size_bytes != 0 and not _persistent(dimm)]
    members: dict[str, list[Dimm]] = {}
    origin: Evidence = "edac"
    ranks = [rank for controller in controllers for rank in controller.dimms if rank.size_bytes != 0]
    if ranks:
        if not all(_complete(controller) for controller in controllers) or any(rank.channel is None for rank in ranks):
            return ()
        bare = {rank.channel or "": [dimm for dimm in filled if dimm.channel == rank.channel] for rank in ranks}
        # Where labels do not match, each channel gets the width and rate of all devices, if these are equal.
        matched = sum(map(len, bare.values())) == len(filled)
        members = bare if matched else dict.fromkeys(bare, filled)
    else:
        origin, matched = "inferred", True
        if any(dimm.channel is None for dimm in filled):
            return ()
        for dimm in filled:
            members.setdefault(dimm.channel or "", []).append(dimm)
    return tuple(
        _memory_channel(name, origin, channel_dimms, matched)
        for name, channel_dimms in sorted(members.items(), key=lambda item: _natural(item[0]))
    )


def _memory_channel(name: str, origin: Evidence, dimms: list[Dimm], matched: bool) -> MemoryChannel:
    width, rate = _only_value(dimm.data_width_bits for dimm in dimms), _only_value(dimm.configured_mts for dimm in dimms)
    bandwidth = None if width is None or rate is None else width * rate * 1_000_000 // 8
    return MemoryChannel(
        name=name,
        origin=origin,
        slots=tuple(dimm.slot for dimm in dimms) if matched else (),
        width_bits=width,
        configured_mts=rate,
        bandwidth_bytes_per_second=bandwidth,
    )


def _complete(controller: MemoryController) -> bool:
    """Whether the sizes of its DIMMs sum to the controller's size."""
    return controller.size_bytes is not None and sum_if_known(dimm.size_bytes for dimm in controller.dimms) == controller.size_bytes


def _persistent(device: MemoryDevice | Dimm) -> bool:
    return device.type in _PERSISTENT or device.technology in _PERSISTENT


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.findall(r"[0-9]+|[^0-9]+", name)]


def _only_value(values: Iterable[T]) -> T | None:
    """The value that all of them have; None where they differ or there is none."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None
