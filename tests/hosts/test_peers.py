"""Every tree of the shared fixtures gives a snapshot whose objects are hwloc's, and each one that is not has its evidence here.

The trees are other projects' data and stay outside this repository: without them these tests are no part of a run. hwloc is Debian's; the
counts that its newest version has of the same trees stand beside them, and have to be Debian's, too.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.config import Config
from agent.model.snapshot import Snapshot
from agent.model.values import CpuSet
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from exporters.views import json as json_exporter
from tests.lab.objects import Objects, differences, hwlocs, ours, pci
from tests.met import meet
from tests.need import SHARED, need, which

TREES = sorted(path.name.removesuffix(".tar.xz") for path in SHARED.glob("*.tar.xz"))


class Difference(NamedTuple):
    """Objects of one kind that only we have, and that only hwloc has. `evidence`: what shows who is right."""

    evidence: str
    ours: tuple[str, ...] = ()
    hwlocs: tuple[str, ...] = ()


# The law: what differs must be here, exactly, and what is here must differ.
DIFFERENCES = {
    "hwloc-2ps3-2t": {
        "Package": Difference("no file names a package; two threads of one core are in one package all the same", ours=("- 0-1",)),
    },
    "hwloc-8em64t-2s2ca2c-buggynuma": {
        "NUMANode": Difference(
            "firmware gives each of the kernel's eight nodes all CPUs: we show what the kernel uses and report the contradiction",
            ours=("1 near 0-7 2146435072 bytes", *(f"{node} near 0-7 2147483648 bytes" for node in range(2, 8))),
        ),
        "Distance": Difference(
            "hwloc drops the table with seven of the eight nodes", ours=tuple(f"{a}-{b} 10" for a in range(8) for b in range(8))
        ),
    },
    "hwloc-fakeheterocpunuma": {
        "NUMANode": Difference(
            "made by hand: nodes 3, 4 and 5 overlap; hwloc keeps one of them, we show the three and report the contradiction",
            ours=("4 near 16-23 1073741824 bytes", "5 near 12-23 1073741824 bytes"),
        ),
        "Distance": Difference(
            "hwloc drops the rows and columns of nodes 4 and 5",
            ours=(
                *("0-4 40", "0-5 50", "1-4 40", "1-5 50", "2-4 40", "2-5 50", "3-4 20", "3-5 30", "4-0 40", "4-1 40"),
                *("4-2 50", "4-3 20", "4-4 10", "4-5 30", "5-0 40", "5-1 40", "5-2 50", "5-3 30", "5-4 30", "5-5 10"),
            ),
        ),
        "CpuKind": Difference(
            "made by hand: one capacity (234) with base frequencies of 2.5 and 1.2 GHz; where every CPU states it, the capacity names",
            ours=("0-11",),
            hwlocs=("0-7", "8-11"),
        ),
    },
    "lscpu-rv64-linux": {
        "Core": Difference(
            "all ids are -1 and all CPUs siblings: the kernel does not know yet (drivers/base/arch_topology.c), and it is not one core",
            ours=("- 0", "- 1"),
            hwlocs=("- 0-1",),
        ),
    },
    "nri-2-socket-4-node-40-core": {
        "CpuKind": Difference(
            "/sys/devices/cpu_atom/cpus names 16 CPUs of a Xeon (the tree's makers wrote it); hwloc goes by frequencies, which are alike",
            ours=("0-15,20-35,40-55,60-75", "16-19,36-39,56-59,76-79"),
        ),
    },
}

# hwloc asks uname() which machine it is on, unless the tree says so in the file that its own recorder writes.
ARCHITECTURES = {"lscpu-s390-lpar": "s390x"}

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("hosts")
    for name in TREES:
        (into / name).mkdir()
        # Python's own tarfile takes several times as long.
        subprocess.run(["tar", "-xJf", str(SHARED / f"{name}.tar.xz"), "-C", str(into / name)], check=True, timeout=60)
        if name in ARCHITECTURES:
            (into / name / "proc/hwloc-nofile-info").write_text(f"Architecture: {ARCHITECTURES[name]}\n")
    return into


def lstopo(tree: Path, *options: str) -> str:
    """What hwloc makes of a tree; it hides the memory of GPUs unless told otherwise."""
    environment = {
        **os.environ,
        "HWLOC_FSROOT": str(tree),
        "HWLOC_COMPONENTS": "linux,stop",
        "HWLOC_KEEP_NVIDIA_GPU_NUMA_NODES": "1" if options else "0",
    }
    command = [which("lstopo-no-graphics") or "", *options, "--of", "xml", "-"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def snapshots(trees: Path) -> dict[str, Snapshot]:
    return {name: take_snapshot(Session(root=SysRoot(trees / name), config=Config(root=str(trees / name)))) for name in TREES}


@pytest.mark.parametrize("name", TREES)
def test_a_real_tree_is_rendered(name: str, snapshots: dict[str, Snapshot]) -> None:
    snapshot = snapshots[name]
    assert not [gap for gap in snapshot.gaps if gap.reason == "failed"]
    json.loads(json_exporter.render(snapshot))
    assert exposition(snapshot, Run(), TextCache())


@pytest.mark.parametrize("name", TREES)
def test_the_objects_of_a_real_tree_are_hwlocs(
    name: str, trees: Path, snapshots: dict[str, Snapshot], capsys: pytest.CaptureFixture[str]
) -> None:
    need("lstopo-no-graphics")
    mine = ours(snapshots[name].physical)
    # What hwloc's own cgroup does not allow is of this host all the same.
    theirs = hwlocs(lstopo(trees / name, "--disallowed"))
    known = DIFFERENCES.get(name, {})
    with capsys.disabled():
        print(f"\n{name:50} ours/hwloc: {_counts(mine, theirs)}", end="")
        for kind, difference in known.items():
            print(f"\n    {kind}: {difference.evidence}", end="")
    meet("recorded hosts of other projects", name)
    assert differences(mine, theirs) == {kind: (sorted(it.ours), sorted(it.hwlocs)) for kind, it in known.items()}


def _counts(mine: Objects, theirs: Objects) -> str:
    """ "Core 4, PU 8/9": one number where both have the same objects."""
    words = []
    for kind in sorted(mine.keys() | theirs.keys()):
        one, other = mine.get(kind, Counter()), theirs.get(kind, Counter())
        words.append(f"{kind} {one.total()}" if one == other else f"{kind} {one.total()}/{other.total()}")
    return ", ".join(words)


@pytest.mark.parametrize("name", TREES)
def test_debians_hwloc_counts_as_the_newest_does(name: str, trees: Path) -> None:
    need("lstopo-no-graphics")
    newest = (json.loads((SHARED / f"{name}.expected.json").read_text()).get("hwloc") or {}).get("counts")
    if newest is None:
        pytest.skip("no counts of this tree")
    debians = {kind: its.total() for kind, its in hwlocs(lstopo(trees / name)).items()}
    shared = ("Package", "Die", "Core", "PU", "NUMANode", "L1Cache", "L1iCache", "L2Cache", "L2iCache", "L3Cache")
    assert {kind: debians.get(kind, 0) for kind in shared} == {kind: newest.get(kind, 0) for kind in shared}


def test_every_difference_is_of_a_tree() -> None:
    assert DIFFERENCES.keys() | ARCHITECTURES.keys() <= set(TREES)


def test_threads_partition_cores_and_cores_packages(snapshots: dict[str, Snapshot]) -> None:
    for name, snapshot in snapshots.items():
        physical = snapshot.physical
        for level in (physical.cores, physical.packages):
            assert sum(len(thing.cpus) for thing in level) == len(physical.cpus.online), name
            assert {cpu for thing in level for cpu in thing.cpus} == set(physical.cpus.online), name
        for core in physical.cores:
            assert core.cpus <= physical.packages[core.package].cpus, name
        for cache in physical.caches:
            assert cache.cpus <= physical.cpus.online, name
        for node in physical.nodes:
            assert node.cpus is None or node.cpus <= physical.cpus.online, name


def test_scheduling_domains_nest(trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = 0
    for name in TREES:
        snapshot = take_snapshot(Session(root=SysRoot(trees / name), config=Config(root=str(trees / name))))
        cpu, online = snapshot.logical.cpu, snapshot.physical.cpus.online
        told += bool(cpu.domains)
        for entry in cpu.map:
            assert entry.cpu in entry.core <= entry.package <= online, name
            for below, above in pairwise((CpuSet((entry.cpu,)), *entry.domains)):
                assert below <= above != below, name
            assert not entry.domains or entry.domains[-1] <= online, name
    with capsys.disabled():
        print(f"\nscheduling domains of {told} of {len(TREES)} machines", end="")
    assert told


PCI = [
    "cnto-bare-metal-worker1.internal",
    "ghw-linux-amd64-61797caf7c0b6bca1725ad7975ed4773",
    "hwloc-40intel64-2g2n4c_pcilocality",
    "hwloc-nvidiagpunumanodes",
]


@pytest.mark.parametrize("name", PCI)
def test_pci_devices_sit_where_hwloc_puts_them(name: str, trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("lstopo-no-graphics")
    said = pci(lstopo(trees / name, "--filter", "io:all"))
    snapshot = take_snapshot(Session(root=SysRoot(trees / name), config=Config(root=str(trees / name))))
    devices = snapshot.physical.channels.pci if snapshot.physical.channels else ()
    nodes = {node.os_index: node.cpus for node in snapshot.physical.nodes}
    assert devices
    same = 0
    for device in devices:
        assert device.node is None or device.cpus == nodes[device.node], device
        # hwloc reads the mask alone; where a tree has the list only, it hangs a device on the whole machine.
        if device.address in said and (trees / name / "sys/bus/pci/devices" / device.address / "local_cpus").exists():
            same += 1
            assert (device.cpus or snapshot.physical.cpus.online) == said[device.address], device
    with capsys.disabled():
        print(f"\n{name:50} {len(devices)} PCI devices, {same} on the same CPUs as with hwloc", end="")
