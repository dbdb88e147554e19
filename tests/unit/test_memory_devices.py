"""agent/normalise/memory_devices.py: from a board's names, drivers' channels and the kernel's nodes to one picture, or to none."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.physical import MainMemory
from agent.normalise.machine import physical
from collectors.edac import MC
from collectors.smbios import TABLE
from tests.lab.smbios import DDR5, DRAM, NON_VOLATILE, OPTANE, Dimm, array_address, device_address, memory_array, memory_device
from tests.unit.small_machines import regular
from tests.unit.test_edac import controller
from tests.unit.test_edac import dimm as rank
from tests.unit.tree import recorded

SOURCES = ("sys_cpu", "sys_node", "proc_vm", "smbios", "edac")
GIB = 1 << 30
NODE = "sys/devices/system/node"


def look(path: Path, files: Mapping[str, str | bytes]) -> MainMemory:
    root = recorded(path, files)
    sample = take(root, Config(root=str(path), only=SOURCES), Caches())
    assert {gap.reason for gap in sample.gaps} <= {"absent"}
    return physical(sample).memory


def module(number: int, locator: str, bank: str = "BANK", array: int = 1, gigabytes: int = 16, rate: int = 4800) -> Dimm:
    return Dimm(
        handle=0x1100 + number,
        array=array,
        locator=locator,
        bank=bank,
        megabytes=gigabytes << 10,
        type=DDR5,
        technology=DRAM,
        speed=5600,
        configured_speed=rate,
        millivolts=1100,
        ranks=1,
        total_width=80,
        data_width=64,
        manufacturer="Maker",
        serial="S",
        part="Part",
    )


def table(*dimms: Dimm, ranges: bytes = b"") -> dict[str, bytes]:
    arrays = b"".join(memory_array(array, 8, 1024) for array in sorted({dimm.array for dimm in dimms}))
    return {TABLE: arrays + b"".join(map(memory_device, dimms)) + ranges + b"\x7f\x04\xff\xfe\0\0"}


def two_nodes() -> dict[str, str]:
    """A node a package: CPUs 0-1 with the first 16 GiB, CPUs 2-3 with the next."""
    zones = "".join(
        f"Node {node}, zone Normal\n  spanned {4 << 20}\n  start_pfn: {node << 22}\nNode {node}, zone Movable\n  spanned 0\n"
        for node in range(2)
    )
    files = {**regular(2, 2, 1), "proc/meminfo": "MemTotal: 33554432 kB\n", "proc/zoneinfo": zones}
    for node, cpus in enumerate(("0-1", "2-3")):
        files[f"{NODE}/node{node}/cpulist"] = f"{cpus}\n"
        files[f"{NODE}/node{node}/meminfo"] = f"Node {node} MemTotal: 16777216 kB\n"
    return files


def nodes(memory: MainMemory) -> list[tuple[int | None, str | None]]:
    return [(dimm.node, dimm.node_evidence) for dimm in memory.dimms]


def channels(memory: MainMemory) -> list[tuple[str | None, str | None]]:
    return [(dimm.channel, dimm.channel_origin) for dimm in memory.dimms]


def test_nothing(tmp_path: Path) -> None:
    assert look(tmp_path, {}) == MainMemory()


def test_voltages_a_module_may_have_and_has(tmp_path: Path) -> None:
    files = table(module(0, "DIMM_A1"))
    volts = struct.pack("<HHH", 1100, 1100, 1100)
    assert files[TABLE].count(volts) == 1
    (dimm,) = look(tmp_path, files | {TABLE: files[TABLE].replace(volts, struct.pack("<HHH", 1050, 1160, 1110))}).dimms
    assert (dimm.minimum_millivolts, dimm.maximum_millivolts, dimm.configured_millivolts) == (1050, 1160, 1110)


def test_addresses_of_devices_name_the_node(tmp_path: Path) -> None:
    ranges = device_address(9, 0x1100, 8, 0, 16 * GIB) + device_address(10, 0x1101, 8, 16 * GIB, 32 * GIB)
    memory = look(tmp_path, {**two_nodes(), **table(module(0, "A"), module(1, "B"), ranges=ranges)})
    assert nodes(memory) == [(0, "SMBIOS type 20 addresses"), (1, "SMBIOS type 20 addresses")]
    assert {dimm.node_origin for dimm in memory.dimms} == {"inferred"}


def test_addresses_of_an_array_name_the_node(tmp_path: Path) -> None:
    ranges = array_address(9, 1, 0, 16 * GIB, 1) + array_address(10, 2, 16 * GIB, 32 * GIB, 1)
    memory = look(tmp_path, {**two_nodes(), **table(module(0, "A"), module(1, "B", array=2), ranges=ranges)})
    assert nodes(memory) == [(0, "SMBIOS type 19 addresses"), (1, "SMBIOS type 19 addresses")]


WHOLE = array_address(9, 1, 0, 32 * GIB, 2)


def test_the_socket_decides_where_one_array_is_all_memory(tmp_path: Path) -> None:
    memory = look(tmp_path, {**two_nodes(), **table(module(0, "P1-DIMMA1"), module(1, "P2-DIMMA1"), ranges=WHOLE)})
    assert nodes(memory) == [(0, "socket in its locator"), (1, "socket in its locator")]


@pytest.mark.parametrize(
    ("locators", "change"),
    [
        (("DIMM 0", "DIMM 1"), {}),  # no socket
        (("CPU1_A", "CPU1_B"), {}),  # fewer sockets than packages
        (("CPU1_A", "CPU2_A"), {f"{NODE}/node1/cpulist": "1-3\n"}),  # a node of both packages
        (("CPU1_A", "CPU2_A"), {f"{NODE}/node1/meminfo": "Node 1 MemTotal: 0 kB\n"}),
        (("CPU1_A", "CPU2_A"), {"proc/zoneinfo": ""}),  # there are addresses, and nothing to hold them against
        (("CPU1_A", "CPU2_A"), {"proc/zoneinfo": "Node 0, zone Normal\n  pages free 1\n   spanned 9\n"}),
    ],
)
def test_a_node_that_nothing_decides_is_absent(tmp_path: Path, locators: tuple[str, str], change: dict[str, str]) -> None:
    dimms = (module(number, locator) for number, locator in enumerate(locators))
    assert nodes(look(tmp_path, {**two_nodes(), **table(*dimms, ranges=WHOLE), **change})) == [(None, None)] * 2


def test_persistent_memory_is_not_of_its_neighbours_node(tmp_path: Path) -> None:
    lasting = Dimm(handle=0x1101, array=1, locator="P2-DIMMA1", bank="BANK", megabytes=131072, type=NON_VOLATILE, technology=OPTANE)
    assert nodes(look(tmp_path, {**two_nodes(), **table(module(0, "P1-DIMMA1"), lasting)})) == [(0, "socket in its locator"), (None, None)]


@pytest.mark.parametrize(
    ("locator", "bank", "channel"),
    [
        ("P1-DIMMA1", "P0_Node0_Channel0_Dimm0", "NODE0 P0 P1 channel 0"),
        ("CPU1_DIMM_B2", "BANK", "CPU1 channel B"),
        ("Controller1-ChannelA-DIMM0", "BANK 0", "CONTROLLER1 channel A"),
        ("DIMM 0", "P0 CHANNEL C", "P0 channel C"),
        ("CPU0_CH3_D0", "BANK", "CPU0 channel 3"),
        ("DIMM_A1", "BANK", None),  # Dell's A is CPU 1
        ("A1", "BANK", None),
        ("PROC 1 DIMM 7", "BANK", None),
        ("DIMM_P0_A0", "BANK 0", None),
        ("ChannelA", "Channel B", None),
        ("DIMM 0", "BANK", None),
        ("-", "-", None),
    ],
)
def test_channels_by_the_boards_names(tmp_path: Path, locator: str, bank: str, channel: str | None) -> None:
    memory = look(tmp_path, table(module(0, locator, bank)))
    assert channels(memory) == [(channel, "inferred" if channel else None)]
    assert memory.theoretical_bandwidth_bytes_per_second == (38_400_000_000 if channel else None)


def test_a_name_of_too_many_places_is_no_channel(tmp_path: Path) -> None:
    memory = look(tmp_path, table(*(module(number, f"slot {number}", "Channel A") for number in range(4))))
    assert channels(memory) == [(None, None)] * 4
    assert memory.channels == ()


def test_bandwidth_is_channels_times_width_times_rate(tmp_path: Path) -> None:
    empty = Dimm(handle=0x1103, array=1, locator="CPU1_DIMM_C1", bank="BANK")
    lasting = Dimm(
        handle=0x1104,
        array=1,
        locator="CPU1_DIMM_B2",
        bank="BANK",
        megabytes=131072,
        type=NON_VOLATILE,
        technology=OPTANE,
        speed=3200,
        configured_speed=2666,
    )
    dimms = (module(0, "CPU1_DIMM_A1"), module(1, "CPU1_DIMM_A2"), module(2, "CPU1_DIMM_B1", rate=4400), empty, lasting)
    memory = look(tmp_path, table(*dimms))
    assert [(channel.name, channel.slots, channel.configured_mts, channel.bandwidth_bytes_per_second) for channel in memory.channels] == [
        ("CPU1 channel A", (0, 1), 4800, 38_400_000_000),
        ("CPU1 channel B", (2,), 4400, 35_200_000_000),
    ]
    assert memory.theoretical_bandwidth_bytes_per_second == 73_600_000_000
    assert memory.installed_bytes == 48 * GIB + (128 << 30)


@pytest.mark.parametrize(
    "odd",
    [
        module(1, "CPU1_DIMM_B1", rate=0),
        module(1, "unnamed"),
        Dimm(handle=0x1101, array=1, locator="CPU1_DIMM_B1", bank="BANK", megabytes=16384, type=DDR5, data_width=0xFFFF),
    ],
)
def test_one_unknown_is_no_bandwidth(tmp_path: Path, odd: Dimm) -> None:
    assert look(tmp_path, table(module(0, "CPU1_DIMM_A1"), odd)).theoretical_bandwidth_bytes_per_second is None


def test_unknown_sizes_are_not_summed(tmp_path: Path) -> None:
    assert (
        look(tmp_path, table(module(0, "A"), Dimm(handle=0x1101, array=1, locator="B", bank="BANK", megabytes=None))).installed_bytes
        is None
    )


def test_a_driver_names_the_channel_where_labels_agree(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        **table(module(0, "A1", "BANK 0"), module(1, "A2", "BANK 1"), module(2, "B1", "BANK 2", gigabytes=0)),
        **controller(0, "skx", 32768),
        **rank("mc0/dimm0", "BANK 0 A1", "channel 0 slot 0 ", errors=7),
        **rank("mc0/dimm1", "A2", "channel 1 slot 0 "),
    }
    memory = look(tmp_path, files)
    assert channels(memory) == [("mc0 channel 0", "edac"), ("mc0 channel 1", "edac"), (None, None)]
    assert [(dimm.slot, dimm.correctable_errors, dimm.location) for dimm in memory.controllers[0].dimms] == [
        (0, 7, "channel 0 slot 0"),
        (1, 0, "channel 1 slot 0"),
    ]
    assert [(channel.name, channel.origin, channel.slots) for channel in memory.channels] == [
        ("mc0 channel 0", "edac", (0,)),
        ("mc0 channel 1", "edac", (1,)),
    ]
    assert memory.theoretical_bandwidth_bytes_per_second == 76_800_000_000


def edac(*locations: str) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {**controller(0, "amd", 16384 * len(locations))}
    for number, location in enumerate(locations):
        files |= rank(f"mc0/rank{number}", f"mc#0csrow#{number}", location)
    return files


def test_channels_of_a_driver_whose_labels_say_nothing(tmp_path: Path) -> None:
    """Two ranks a DIMM, so no DIMM can be told; but all are alike, and the channels are counted."""
    files = edac("csrow 0 channel 0 ", "csrow 0 channel 1 ", "csrow 1 channel 0 ", "csrow 1 channel 1 ")
    memory = look(tmp_path, {**files, **table(module(0, "A1"), module(1, "A2"))})
    assert channels(memory) == [(None, None)] * 2
    assert [(channel.name, channel.slots) for channel in memory.channels] == [("mc0 channel 0", ()), ("mc0 channel 1", ())]
    assert memory.theoretical_bandwidth_bytes_per_second == 76_800_000_000


@pytest.mark.parametrize(
    "change",
    [
        {f"{MC}/mc0/size_mb": "65536\n"},  # a rank is missing
        {f"{MC}/mc0/rank1/dimm_location": "memory 1 \n"},  # firmware-first: no channels
        {f"{MC}/mc0/rank1/size": ""},
    ],
)
def test_channels_that_are_not_all_known_are_not_counted(tmp_path: Path, change: dict[str, str]) -> None:
    memory = look(tmp_path, {**edac("csrow 0 channel 0 ", "csrow 0 channel 1 "), **table(module(0, "A1")), **change})
    assert (memory.channels, memory.theoretical_bandwidth_bytes_per_second) == ((), None)


def test_devices_that_are_not_main_memory_are_left_out(tmp_path: Path) -> None:
    flash = bytearray(memory_array(2, 1, 1))
    flash[5] = 5
    files = {TABLE: bytes(flash) + memory_array(1, 1, 64) + memory_device(module(0, "ROM", array=2)) + memory_device(module(1, "A"))}
    assert [(dimm.slot, dimm.locator) for dimm in look(tmp_path, files).dimms] == [(1, "A")]
