"""agent/normalise/channels.py: links between sockets, locality of PCI devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.channels import Channels, Interconnect, SocketLink
from agent.model.facts.sys_pci import Link
from agent.model.values import CpuSet
from agent.normalise.machine import physical
from collectors.sys_pci import DEVICES
from tests.unit.small_machines import regular
from tests.unit.test_sys_pci import device
from tests.unit.tree import recorded

SOURCES = ("sys_cpu", "sys_node", "proc_cpuinfo", "proc_sys", "sys_pci")
NODE = "sys/devices/system/node"
INTEL, AMD = "GenuineIntel", "AuthenticAMD"


def look(path: Path, files: dict[str, str]) -> Channels | None:
    sample = take(recorded(path, files), Config(root=str(path), only=SOURCES), Caches())
    assert {gap.reason for gap in sample.gaps} <= {"absent"}
    return physical(sample).channels


def machine(
    table: Sequence[Sequence[int]], vendor: str = INTEL, family: int | str = 6, model: int | str = 85, flags: str = "fpu"
) -> dict[str, str]:
    """A CPU, a package and a node for each row of distances."""
    count = len(table)
    blocks = "".join(
        f"processor : {cpu}\nvendor_id : {vendor}\ncpu family : {family}\nmodel : {model}\nflags : {flags}\nphysical id : {cpu}\n\n"
        for cpu in range(count)
    )
    files = {**regular(count, 1, 1), "proc/cpuinfo": blocks, "proc/sys/kernel/arch": "x86_64\n", "proc/sys/kernel/osrelease": "6\n"}
    for node, row in enumerate(table):
        files |= {f"{NODE}/node{node}/cpulist": f"{node}\n", f"{NODE}/node{node}/distance": " ".join(map(str, row)) + "\n"}
    return files


def interconnect(path: Path, files: dict[str, str]) -> Interconnect | None:
    found = look(path, files)
    return found.interconnect if found else None


PAIR = ((10, 21), (21, 10))
RING = ((10, 21, 31, 21), (21, 10, 21, 31), (31, 21, 10, 21), (21, 31, 21, 10))


@pytest.mark.parametrize(
    ("vendor", "family", "model", "technology"),
    [
        (INTEL, 6, 26, "QPI"),
        (INTEL, 6, 79, "QPI"),
        (INTEL, 6, 85, "UPI"),
        (INTEL, 6, 143, "UPI"),
        (INTEL, 6, 23, None),  # a front-side bus
        (INTEL, 15, 6, None),
        (INTEL, 19, 26, None),  # numbers of models begin anew in each family
        ("CentaurHauls", 6, 85, None),
        (AMD, 16, 9, "HyperTransport"),
        (AMD, 23, 49, "Infinity Fabric"),
        (AMD, 26, 2, "Infinity Fabric"),
        ("HygonGenuine", 24, 0, None),
    ],
)
def test_technologies(tmp_path: Path, vendor: str, family: int, model: int, technology: str | None) -> None:
    expected = Interconnect(technology, (SocketLink((0, 1), 21),), "inferred")
    assert interconnect(tmp_path, machine(PAIR, vendor, family, model)) == expected


@pytest.mark.parametrize("vendor", [INTEL, AMD])
@pytest.mark.parametrize(("family", "model"), [("", 85), (6, ""), ("", ""), ("unknown", 85), (6, "unknown"), ("unknown", "-1")])
def test_a_cpu_without_family_or_model_has_links_of_no_technology(tmp_path: Path, vendor: str, family: int | str, model: int | str) -> None:
    """As in guests, on new CPUs that an old kernel has no name for, and on all that are not of x86."""
    assert interconnect(tmp_path, machine(PAIR, vendor, family, model)) == Interconnect(None, (SocketLink((0, 1), 21),))


def test_links_of_a_ring(tmp_path: Path) -> None:
    found = interconnect(tmp_path, machine(RING))
    assert found is not None
    assert [link.packages for link in found.links] == [(0, 1), (0, 3), (1, 2), (2, 3)]


@pytest.mark.parametrize(("far", "links"), [(20, 0), (21, 3)])
def test_equal_distances_are_a_mesh_unless_they_are_what_linux_assumes(tmp_path: Path, far: int, links: int) -> None:
    found = interconnect(tmp_path, machine([[10 if row == column else far for column in range(3)] for row in range(3)]))
    assert found is not None
    assert len(found.links) == links


@pytest.mark.parametrize("lost", [f"{NODE}/node2/distance", f"{NODE}/node2/cpulist"])
def test_a_lost_file_takes_links_away_and_changes_none(tmp_path: Path, lost: str) -> None:
    files = machine(RING)
    del files[lost]
    assert interconnect(tmp_path, files) == Interconnect("UPI")


@pytest.mark.parametrize(
    "files",
    [
        machine(((10,),)),
        machine(PAIR, flags="fpu hypervisor"),
        {name: text for name, text in machine(PAIR).items() if name != "proc/sys/kernel/arch"},  # a guest or not: not known
    ],
)
def test_no_interconnect(tmp_path: Path, files: dict[str, str]) -> None:
    assert interconnect(tmp_path, files) is None


def test_nothing(tmp_path: Path) -> None:
    assert look(tmp_path, {}) is None


def test_devices(tmp_path: Path) -> None:
    card = device(
        "0000:81:00.0", "0x020000", vendor="0x15b3", device="0x101d", numa_node="1", local_cpulist="1,64-127", current_link_width="16"
    )
    found = look(tmp_path, {**machine(PAIR), **card})
    assert found is not None
    (shown,) = found.pci
    assert (shown.class_code, shown.vendor, shown.device) == ("0x020000", "0x15b3", "0x101d")
    # Firmware names CPUs that never were.
    assert (shown.node, shown.cpus, shown.link, shown.max_link) == (1, CpuSet((1,)), Link(lanes=16), None)


def test_a_device_near_to_no_cpu_that_is_online(tmp_path: Path) -> None:
    found = look(tmp_path, {**machine(PAIR), **device("0000:81:00.0", "0x010802"), f"{DEVICES}/0000:81:00.0/local_cpulist": "64-127\n"})
    assert found is not None
    assert found.pci[0].cpus is None
