"""Machines of many shapes, each under a kernel of its own: our snapshot of its files beside what other programs said there.

Sets of kernel CPU numbers are compared, never counts or ids alone.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Config
from agent.model.facts.sys_node import Access, SideCache
from agent.model.snapshot import Snapshot
from agent.model.values import CpuSet
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from tests.hosts.test_domains import compare
from tests.hosts.trees import unpack
from tests.lab import host, oracles, tiny, tiny_image
from tests.lab.guest import GuestFailed, emulators
from tests.lab.objects import differences, hwlocs
from tests.lab.objects import ours as objects
from tests.lab.oracles import Set
from tests.lab.shapes import DIES, DIMMS, HMAT, MEMORYLESS, NVDIMM, OFFLINE, SHAPES, UMA, Shape
from tests.lab.tiny import Truth
from tests.met import meet
from tests.need import TOP

pytestmark = pytest.mark.real

NAMES = [shape.name for shape in SHAPES]


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Truth | GuestFailed]:
    tiny_image.require()
    return tiny.boot_all(SHAPES, tmp_path_factory.mktemp("guests"))


@pytest.fixture(scope="module")
def snapshots(guests: dict[str, Truth | GuestFailed]) -> dict[str, Snapshot]:
    trees = {name: str(guest.tree) for name, guest in guests.items() if isinstance(guest, Truth)}
    return {name: take_snapshot(Session(root=SysRoot(tree), config=Config(root=tree))) for name, tree in trees.items()}


@pytest.fixture
def truth(name: str, guests: dict[str, Truth | GuestFailed]) -> Truth:
    guest = guests[name]
    if isinstance(guest, GuestFailed):
        raise guest
    return guest


@pytest.fixture
def ours(truth: Truth, snapshots: dict[str, Snapshot]) -> Snapshot:
    return snapshots[truth.shape.name]


def plain(cpus: CpuSet | None) -> Set:
    assert cpus is not None
    return frozenset(cpus)


@pytest.mark.parametrize("name", NAMES)
def test_lscpu(truth: Truth, ours: Snapshot) -> None:
    said = oracles.lscpu(truth.text("lscpu.csv"))
    physical = ours.physical
    assert not [gap for gap in ours.gaps if gap.reason == "failed"]
    assert {plain(core.cpus) for core in physical.cores} == said["core"]
    assert {plain(package.cpus) for package in physical.packages} == said["socket"]
    # lscpu groups CPUs by their node, so a node without any is not in its table.
    assert {plain(node.cpus) for node in physical.nodes if node.cpus} == said["node"]
    assert plain(physical.cpus.online) == frozenset().union(*said["core"])
    fields = oracles.lscpu_fields(truth.text("lscpu.json"))
    assert physical.cpus.online == CpuSet.parse_list(fields["On-line CPU(s) list"])
    assert physical.cpus.offline == CpuSet.parse_list(fields.get("Off-line CPU(s) list", ""))
    for package in physical.packages:
        assert (package.vendor, package.model_name) == (fields["Vendor ID"], fields["Model name"])
        assert (package.family, package.model, package.stepping) == (fields["CPU family"], fields["Model"], fields["Stepping"])


@pytest.mark.parametrize("name", NAMES)
def test_lstopo(truth: Truth, ours: Snapshot, capsys: pytest.CaptureFixture[str]) -> None:
    said = hwlocs(truth.text("lstopo.xml"))
    with capsys.disabled():
        print(f"\nguest {truth.shape.name:12} {', '.join(f'{kind} {its.total()}' for kind, its in sorted(said.items()))}", end="")
    assert differences(objects(ours.physical), said) == {}


@pytest.mark.parametrize("name", NAMES)
def test_numactl(truth: Truth, ours: Snapshot) -> None:
    said = oracles.numactl(truth.text("numactl.txt"))
    assert {node.os_index: plain(node.cpus) for node in ours.physical.nodes} == said.cpus
    assert {node.os_index: (node.memory_bytes or 0) >> 20 for node in ours.physical.nodes} == said.mebibytes
    assert {node.os_index: node.distances for node in ours.physical.nodes} == said.distances


@pytest.mark.parametrize("name", NAMES)
def test_dmidecode(truth: Truth, ours: Snapshot) -> None:
    said = oracles.dmidecode(truth.text("dmidecode.txt"))
    smbios = ours.host.smbios
    assert smbios is not None
    bios, system = said["BIOS Information"], said["System Information"]
    board = said.get("Base Board Information", {})
    assert (smbios.bios_vendor, smbios.bios_version) == (bios["Vendor"], bios["Version"])
    assert (smbios.sys_vendor, smbios.product_name, smbios.product_version) == tuple(
        system[name] for name in ("Manufacturer", "Product Name", "Version")
    )
    assert (smbios.board_vendor, smbios.board_name) == (board.get("Manufacturer"), board.get("Product Name"))


# Our field, dmidecode's name for it, its unit there.
DEVICE = (
    ("locator", "Locator", ""),
    ("bank", "Bank Locator", ""),
    ("type", "Type", ""),
    ("form", "Form Factor", ""),
    ("technology", "Memory Technology", ""),
    ("manufacturer", "Manufacturer", ""),
    ("part_number", "Part Number", ""),
    ("total_width_bits", "Total Width", " bits"),
    ("data_width_bits", "Data Width", " bits"),
    ("rated_mts", "Speed", " MT/s"),
    ("configured_mts", "Configured Memory Speed", " MT/s"),
    ("ranks", "Rank", ""),
)
SILENT = {"Unknown", "Not Specified", "NO DIMM"}


@pytest.mark.parametrize("name", NAMES)
def test_dmidecode_on_every_dimm(truth: Truth, ours: Snapshot) -> None:
    said = oracles.dmidecode_structures(truth.text("dimms.txt"))
    devices = {handle: values for handle, (kind, values) in said.items() if kind == "Memory Device"}
    assert [dimm.handle for dimm in ours.physical.memory.dimms] == list(devices)
    assert devices
    for dimm in ours.physical.memory.dimms:
        values = devices[dimm.handle]
        for field, name, unit in DEVICE:
            value = getattr(dimm, field)
            # An empty place has fewer lines there; "DC" left the name of Intel's modules with version 3.5.
            text = values.get(name, "Unknown").replace("Optane DC", "Optane")
            assert (None if text in SILENT else text) == (None if value is None else f"{value}{unit}") or name not in values, (dimm, name)
        assert size_bytes(values["Size"]) == dimm.size_bytes
        for field, name in (("minimum", "Minimum"), ("maximum", "Maximum"), ("configured", "Configured")):
            millivolts = getattr(dimm, f"{field}_millivolts")
            assert values.get(f"{name} Voltage", "Unknown") == ("Unknown" if millivolts is None else f"{millivolts / 1000:g} V"), dimm
        assert said[values["Array Handle"].lower()][1]["Error Correction Type"] == (dimm.error_correction or "Unknown")


def size_bytes(text: str) -> int | None:
    if text in ("Unknown", "No Module Installed"):
        return None if text == "Unknown" else 0
    number, unit = text.split()
    return int(number) << {"kB": 10, "MB": 20, "GB": 30, "TB": 40}[unit]


@pytest.mark.parametrize("name", NAMES)
def test_derived_scheduling_domains_are_the_kernels(truth: Truth, capsys: pytest.CaptureFixture[str]) -> None:
    said = compare(truth.tree)
    with capsys.disabled():
        print(f"\nguest {truth.shape.name:12} {said}", end="")


@pytest.mark.parametrize("name", NAMES)
def test_an_emulated_machine_is_a_guest_and_not_of_kvm(truth: Truth, ours: Snapshot) -> None:
    assert "Hypervisor detected" not in truth.text("dmesg.txt")  # what the kernel says under KVM
    virtualization = ours.host.virtualization
    assert virtualization is not None
    assert virtualization.kind == "guest"
    # The shape with dies has another maker's name in its firmware: nothing says who runs it.
    assert virtualization.hypervisor == (None if truth.shape is DIES else "qemu")


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_tree_is_of_this_shape(truth: Truth, ours: Snapshot, tmp_path: Path) -> None:
    """Its sets at least; its counters are of another boot."""
    tree = unpack(truth.shape.name, tmp_path)
    recorded = take_snapshot(Session(root=SysRoot(tree), config=Config(root=str(tree)))).physical
    fresh = ours.physical
    for level in ("packages", "dies", "clusters", "cores", "caches"):
        assert [thing.cpus for thing in getattr(recorded, level)] == [thing.cpus for thing in getattr(fresh, level)], level
    assert recorded.cpus == fresh.cpus
    assert [(node.os_index, node.cpus, node.distances) for node in recorded.nodes] == [
        (node.os_index, node.cpus, node.distances) for node in fresh.nodes
    ]


def physical(shape: Shape, guests: dict[str, Truth | GuestFailed], snapshots: dict[str, Snapshot]) -> Snapshot:
    if isinstance(failed := guests[shape.name], GuestFailed):
        raise failed
    return snapshots[shape.name]


def test_the_shapes_are_what_they_are_for(guests: dict[str, Truth | GuestFailed], snapshots: dict[str, Snapshot]) -> None:
    """Agreement proves little on a machine that came out plain: what makes each shape odd is there."""
    found = {shape: physical(shape, guests, snapshots).physical for shape in SHAPES}
    for shape, its in found.items():
        sizes = f"{len(its.packages)} packages, {len(its.cores)} cores, CPUs {its.cpus.online}, {len(its.nodes)} nodes"
        meet("tiny guests", shape.name, f"({sizes}, in {getattr(guests[shape.name], 'seconds', 0):.1f} s)")
    dies = found[DIES]
    assert [str(die.cpus) for die in dies.dies] == ["0-3", "4-7", "8-11", "12-15"]
    assert [str(core.cpus) for core in dies.cores][:2] == ["0-1", "2-3"]
    assert (dies.nodes[0].distances[2], dies.nodes[2].distances[0]) == (21, 22)
    hmat = found[HMAT]
    assert [str(node.cpus) for node in hmat.nodes] == ["0-1", "2-3", ""]
    assert [node.kind for node in hmat.nodes] == ["dram", "dram", "unknown"]
    assert [(str(node.local_cpus), node.local_cpus_evidence) for node in hmat.nodes] == [("0-1", "own"), ("2-3", "own"), ("0-1", "access1")]
    assert hmat.nodes[0].side_caches == {1: SideCache(10 << 20, 64, "direct", "write-back")}
    # The slow memory is of a tier of its own for the kernel, and as far as any by the distances that firmware did not state.
    persistent = found[NVDIMM]
    assert [(node.kind, node.tier) for node in persistent.nodes] == [("dram", 4), ("dram", 4), ("pmem", 22)]
    assert persistent.memory.distances_alike
    assert persistent.nodes[2].access[1] == Access(
        initiators=CpuSet((1,)),
        read_latency_ns=700,
        write_latency_ns=700,
        read_bandwidth_bytes=10240 << 20,
        write_bandwidth_bytes=10240 << 20,
    )
    assert [(device.driver, device.target_node, device.backing) for device in persistent.dax] == [("kmem", 2, "pmem")]
    assert [(part.mode, part.block) for region in persistent.pmem for part in region.namespaces] == [("raw", "pmem0"), ("dax", None)]
    assert [region.target_node for region in persistent.pmem] == [0, 2]
    assert [str(node.cpus) for node in found[DIMMS].nodes] == ["0-1", "2-3"]
    memoryless = found[MEMORYLESS]
    assert [node.os_index for node in memoryless.nodes if node.memory_bytes] == [0, 2, 4, 6]
    assert len(memoryless.packages) == len(memoryless.nodes) == 8
    modules = found[DIMMS].memory.dimms
    assert {dimm.type for dimm in modules} == {"DDR5", "Logical non-volatile device", None}
    assert [dimm.node for dimm in modules] == [0, 0, None, 1, None, 1]
    channels = found[DIMMS].channels
    assert channels is not None
    assert [(device.node, str(device.cpus)) for device in channels.pci if device.kind == "network"] == [(1, "2-3")]
    cpus = found[OFFLINE].cpus
    assert (str(cpus.online), str(cpus.offline), str(cpus.present), str(cpus.possible)) == ("0-2", "3-5", "0-5", "0-7")
    assert [str(core.cpus) for core in found[OFFLINE].cores] == ["0-1", "2"]
    assert {shape.name for shape in SHAPES if found[shape].architecture == "smp"} == {"offline", "uma"}


def test_a_guest_that_panics_ends_with_its_console(tmp_path: Path) -> None:
    tiny_image.require()
    shape = Shape(name="panic", arguments=UMA.arguments, append="rdinit=/bin/lscpu")
    with pytest.raises(GuestFailed, match=r"(?s)ended early.*Attempted to kill init"):
        tiny.boot(shape, tmp_path / "panic")


def test_a_guest_that_hangs_ends_in_time(tmp_path: Path) -> None:
    tiny_image.require()
    shape = Shape(name="hang", arguments=UMA.arguments, append="rdinit=/bin/sh")
    with pytest.raises(GuestFailed, match=r"(?s)not at its end in 20 s.*BusyBox"):
        tiny.boot(shape, tmp_path / "hang", limit_seconds=20)
    assert not (tmp_path / "hang" / "out.img").exists()


def test_a_guest_whose_disk_is_full_ends_with_its_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_image.require()
    monkeypatch.setattr(tiny, "DISK_BYTES", 64 << 10)
    with pytest.raises(GuestFailed, match=r"(?s)ended early.*No space left on device"):
        tiny.boot(Shape(name="full", arguments=UMA.arguments), tmp_path / "full")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_guest_outlives_who_booted_it(number: signal.Signals, tmp_path: Path) -> None:
    tiny_image.image()
    place = tmp_path / "guest"
    runner = subprocess.Popen([sys.executable, "-m", "tests.lab.tiny", UMA.name, str(place)], cwd=TOP, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: bool(emulators(place)), 30)
        began = emulators(place)
        runner.send_signal(number)
        assert runner.wait(30) == (-number if number == signal.SIGKILL else 130)
        assert until(lambda: not host.alive(began), 10)
    finally:
        runner.kill()
        runner.wait(30)
    assert number == signal.SIGKILL or not (place / "out.img").exists()


def until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
