"""Machines of many shapes, each under a kernel of its own: our snapshot of its files beside what other programs said there.

Sets of kernel CPU numbers are compared, never counts or ids alone.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agent.config import Config
from agent.model.snapshot import Snapshot
from agent.model.values import CpuSet
from agent.service import once
from collectors.sysroot import SysRoot
from tests.hosts.test_golden import unpack
from tests.lab import host, oracles, tiny, tiny_image
from tests.lab.oracles import Set
from tests.lab.shapes import DIES, HMAT, MEMORYLESS, OFFLINE, SHAPES, UMA, Shape
from tests.lab.tiny import GuestFailed, Truth
from tests.need import TOP

pytestmark = pytest.mark.real

NAMES = [shape.name for shape in SHAPES]
# hwloc's names of caches, which leave "d" and "u" out.
KINDS = {"Data": "L{}Cache", "Unified": "L{}Cache", "Instruction": "L{}iCache"}


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Truth | GuestFailed]:
    tiny_image.require()
    return tiny.boot_all(SHAPES, tmp_path_factory.mktemp("guests"))


@pytest.fixture(scope="module")
def snapshots(guests: dict[str, Truth | GuestFailed]) -> dict[str, Snapshot]:
    trees = {name: str(guest.tree) for name, guest in guests.items() if isinstance(guest, Truth)}
    return {name: once(SysRoot(tree), Config(root=tree)) for name, tree in trees.items()}


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
def test_lstopo(truth: Truth, ours: Snapshot) -> None:
    said = oracles.hwloc(truth.text("lstopo.xml"))
    physical = ours.physical
    objects = {name: sorted(map(sorted, sets)) for name, sets in said.objects.items()}
    assert [[cpu] for cpu in physical.cpus.online] == objects["PU"]
    assert sorted(sorted(core.cpus) for core in physical.cores) == objects["Core"]
    assert sorted(sorted(package.cpus) for package in physical.packages) == objects["Package"]
    # With --filter all:all hwloc keeps a die that is its whole package, or nothing but one core; we drop both: they say nothing.
    trivial = objects["Package"] + objects["Core"]
    assert sorted(sorted(die.cpus) for die in physical.dies) == [die for die in objects.get("Die", []) if die not in trivial]
    caches: dict[str, list[list[int]]] = {}
    for cache in physical.caches:
        kind = KINDS[cache.type].format(cache.level)
        caches.setdefault(kind, []).append(sorted(cache.cpus))
        assert cache.size_bytes == said.sizes[kind, plain(cache.cpus)], cache
    assert {kind: sorted(sets) for kind, sets in caches.items()} == {
        kind: sets for kind, sets in objects.items() if kind.endswith("Cache") and kind != "MemCache"
    }


@pytest.mark.parametrize("name", NAMES)
def test_lstopo_nodes(truth: Truth, ours: Snapshot) -> None:
    said = oracles.hwloc(truth.text("lstopo.xml"))
    assert {node.os_index: node.memory_bytes for node in ours.physical.nodes} == {
        number: node.memory_bytes for number, node in said.nodes.items()
    }
    for node in ours.physical.nodes:
        # hwloc hangs a node without CPUs where its locality says (HMAT's initiator); to us, as to the kernel, it has none.
        assert not node.cpus or plain(node.cpus) == said.nodes[node.os_index].cpus, node.os_index


@pytest.mark.parametrize("name", NAMES)
def test_numactl(truth: Truth, ours: Snapshot) -> None:
    said = oracles.numactl(truth.text("numactl.txt"))
    assert {node.os_index: plain(node.cpus) for node in ours.physical.nodes} == said.cpus
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
    recorded = once(SysRoot(tree), Config(root=str(tree))).physical
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


def test_the_shapes_are_what_they_are_for(
    guests: dict[str, Truth | GuestFailed], snapshots: dict[str, Snapshot], capsys: pytest.CaptureFixture[str]
) -> None:
    """Agreement proves little on a machine that came out plain: what makes each shape odd is there."""
    found = {shape: physical(shape, guests, snapshots).physical for shape in SHAPES}
    with capsys.disabled():
        for shape, its in found.items():
            met = f"{len(its.packages)} packages, {len(its.cores)} cores, CPUs {its.cpus.online}, {len(its.nodes)} nodes"
            print(f"\nguest {shape.name:12} {met}, in {getattr(guests[shape.name], 'seconds', 0):.1f} s", end="")
    dies = found[DIES]
    assert [str(die.cpus) for die in dies.dies] == ["0-3", "4-7", "8-11", "12-15"]
    assert [str(core.cpus) for core in dies.cores][:2] == ["0-1", "2-3"]
    assert (dies.nodes[0].distances[2], dies.nodes[2].distances[0]) == (21, 22)
    hmat = found[HMAT]
    assert [str(node.cpus) for node in hmat.nodes] == ["0-1", "2-3", ""]
    assert [node.kind for node in hmat.nodes] == ["dram", "dram", "unknown"]
    memoryless = found[MEMORYLESS]
    assert [node.os_index for node in memoryless.nodes if node.memory_bytes] == [0, 2, 4, 6]
    assert len(memoryless.packages) == len(memoryless.nodes) == 8
    cpus = found[OFFLINE].cpus
    assert (str(cpus.online), str(cpus.offline), str(cpus.present), str(cpus.possible)) == ("0-2", "3-5", "0-5", "0-7")
    assert [str(core.cpus) for core in found[OFFLINE].cores] == ["0-1", "2"]
    assert [found[shape].architecture for shape in SHAPES] == ["numa", "numa", "numa", "smp", "smp"]


def test_a_guest_that_panics_ends_with_its_console(tmp_path: Path) -> None:
    tiny_image.require()
    shape = Shape("panic", UMA.arguments, append="rdinit=/bin/lscpu")
    with pytest.raises(GuestFailed, match=r"(?s)ended early.*Attempted to kill init"):
        tiny.boot(shape, tmp_path / "panic")


def test_a_guest_that_hangs_ends_in_time(tmp_path: Path) -> None:
    tiny_image.require()
    shape = Shape("hang", UMA.arguments, append="rdinit=/bin/sh")
    with pytest.raises(GuestFailed, match=r"(?s)not at its end in 8 s.*BusyBox"):
        tiny.boot(shape, tmp_path / "hang", limit_seconds=8)
    assert not (tmp_path / "hang" / "out.img").exists()


def test_a_guest_whose_disk_is_full_ends_with_its_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_image.require()
    monkeypatch.setattr(tiny, "DISK_BYTES", 64 << 10)
    with pytest.raises(GuestFailed, match=r"(?s)ended early.*No space left on device"):
        tiny.boot(Shape("full", UMA.arguments), tmp_path / "full")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_guest_outlives_who_booted_it(number: signal.Signals, tmp_path: Path) -> None:
    tiny_image.image()
    place = tmp_path / "guest"
    runner = subprocess.Popen([sys.executable, "-m", "tests.lab.tiny", "boot", UMA.name, str(place)], cwd=TOP, stderr=subprocess.DEVNULL)
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


def emulators(place: Path) -> list[psutil.Process]:
    """QEMU, and not setpriv before it has become QEMU: only then is its end tied to its parent's."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "qemu" in process.name() and any(str(place) in word for word in command):
                found.append(process)
    return found


def until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
