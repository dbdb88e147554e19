"""Every tree of the shared fixtures gives a snapshot; its counts stand beside hwloc's, and each difference has its reason.

The trees are other projects' data and stay outside this repository: without them these tests skip.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config
from agent.model.snapshot import Snapshot
from agent.service import once
from collectors.sysroot import SysRoot
from exporters import json as json_exporter
from exporters import prometheus

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures" / "hosts"
TREES = sorted(path.name.removesuffix(".tar.xz") for path in SHARED.glob("*.tar.xz"))

# Objects that hwloc counts otherwise, and why. The law: who differs must be here, who is here must differ.
DIFFERENCES = {
    "hwloc-16amd64-4n4c-cgroup-distance-merge": (
        {"Package", "Core", "PU", "NUMANode", "L1Cache", "L1iCache", "L2Cache", "L3Cache"},
        "hwloc shows what its own cgroup allows; a host agent shows the host",
    ),
    "hwloc-2ps3-2t": ({"Package"}, "no file names a package: hwloc shows none, we show the one that the CPUs must be in"),
    "hwloc-8em64t-2s2ca2c-buggynuma": (
        {"NUMANode"},
        "firmware gives every node all CPUs: hwloc keeps the first, we show the kernel's eight",
    ),
    "hwloc-fakeheterocpunuma": ({"NUMANode"}, "nodes 3-5 overlap (made by hand): hwloc keeps one of them, we show the kernel's six"),
    "hwloc-nvidiagpunumanodes": ({"NUMANode"}, "hwloc hides the nodes of GPU memory unless told otherwise"),
    "lscpu-rv64-linux": ({"Core"}, "all ids are -1 and all CPUs siblings: not known yet, and not one core with two threads"),
}

pytestmark = pytest.mark.skipif(not TREES, reason="../shared/fixtures/hosts is not there: other projects' trees are not part of this one")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("hosts")
    for name in TREES:
        (into / name).mkdir()
        # Python's own tarfile takes several times as long.
        subprocess.run(["tar", "-xJf", str(SHARED / f"{name}.tar.xz"), "-C", str(into / name)], check=True, timeout=60)
    return into


def counts(snapshot: Snapshot) -> dict[str, int]:
    """Under hwloc's names."""
    physical = snapshot.physical
    caches = Counter(f"L{cache.level}{'i' if cache.type == 'Instruction' else ''}Cache" for cache in physical.caches)
    return {
        "Package": len(physical.packages),
        "Die": len(physical.dies),
        "Core": len(physical.cores),
        "PU": len(physical.cpus.online),
        "NUMANode": len(physical.nodes),
    } | {name: caches[name] for name in ("L1Cache", "L1iCache", "L2Cache", "L3Cache")}


@pytest.mark.parametrize("name", TREES)
def test_a_real_tree_gives_a_snapshot_and_hwlocs_counts(name: str, trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = SysRoot(trees / name)
    snapshot = once(root, Config(root=str(trees / name)))
    assert not [gap for gap in snapshot.gaps if gap.reason == "failed"]
    json.loads(json_exporter.render(snapshot))
    assert prometheus.render(snapshot, prometheus.Run())
    expected: dict[str, Any] = json.loads((SHARED / f"{name}.expected.json").read_text()).get("hwloc") or {}
    peers = expected.get("counts")
    ours = counts(snapshot)
    differing, why = DIFFERENCES.get(name, (set(), "none"))
    with capsys.disabled():
        shown = "  ".join(f"{kind} {ours[kind]}/{(peers or {}).get(kind, 0)}" for kind in ("Package", "Core", "PU", "NUMANode"))
        print(f"\n{name:50} ours/hwloc: {shown}" + (f"  ({why})" if differing else ""), end="")
    if peers:
        assert {kind for kind, count in ours.items() if count != peers.get(kind, 0)} == differing


def test_threads_partition_cores_and_cores_packages(trees: Path) -> None:
    for name in TREES:
        physical = once(SysRoot(trees / name), Config(root=str(trees / name))).physical
        for level in (physical.cores, physical.packages):
            assert sum(len(thing.cpus) for thing in level) == len(physical.cpus.online), name
            assert {cpu for thing in level for cpu in thing.cpus} == set(physical.cpus.online), name
        for core in physical.cores:
            assert core.cpus <= physical.packages[core.package].cpus, name
        for cache in physical.caches:
            assert cache.cpus <= physical.cpus.online, name
        for node in physical.nodes:
            assert node.cpus is None or node.cpus <= physical.cpus.online, name
