"""CPUs and memory come and go while the agent serves: the next scrape is right, and none in between was wrong.

Each scrape is judged whole, against the sets of the machine at rest cut to the CPUs that the kernel had online.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.model.values import CpuSet
from collectors.text import cpu_list
from tests.lab import full, full_image, oracles
from tests.lab.full import TWO_NODES
from tests.lab.shapes import CPU, Shape

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

HERE = Path(__file__).parent
LIMIT_SECONDS = 800
BLOCK_BYTES = 128 << 20

# Two sockets of one core with two threads: CPU 3 shares all that it has with CPU 2. Memory that can go lies in its own zone.
THREADS = Shape(
    name="two-threads",
    arguments=("-cpu", CPU, *TWO_NODES.arguments, "-smp", "4,sockets=2,cores=1,threads=2"),
    append="movablecore=1G",
)


@pytest.fixture(scope="module")
def out(result: full.Result) -> Path:
    return result.out


def plan(place: Path) -> full.Plan:
    """What the job works with."""
    files = {f"wheels/{name}": path for name, path in full_image.wheels(place).items()} | {"hotplug.py": HERE / "hotplug.py"}
    return full.Plan(HERE / "hotplug_job", files, LIMIT_SECONDS, THREADS)


def scrapes(out: Path, part: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / part).read_text())
    return found


def series(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value) for family in text_string_to_metric_families(text) for sample in family.samples if sample.name == name
    ]


def gaps(text: str) -> set[tuple[str, str]]:
    return {(labels["source"], labels["reason"]) for labels, _ in series(text, "strata_source_gap_info")}


class Shown:
    """What one exposition says of the CPUs."""

    def __init__(self, text: str) -> None:
        infos = [labels for labels, _ in series(text, "strata_cpu_info")]
        cores: dict[tuple[str, str], list[int]] = {}
        for labels in infos:
            cores.setdefault((labels["package"], labels["core"]), []).append(int(labels["cpu"]))
        self.cpus = CpuSet(int(labels["cpu"]) for labels in infos)
        self.online = CpuSet(int(labels["cpu"]) for labels, value in series(text, "strata_cpu_online") if value)
        self.cores = {str(CpuSet(cpus)) for cpus in cores.values()}
        self.packages = {labels["cpus"] for labels, _ in series(text, "strata_package_info")}
        self.caches = {
            (labels["level"], labels["type"], labels["cpus"], value) for labels, value in series(text, "strata_cache_size_bytes")
        }
        self.nodes = {labels["node"]: labels["cpus"] for labels, _ in series(text, "strata_node_info")}
        self.objects = {labels["kind"]: value for labels, value in series(text, "strata_topology_objects")}

    def cut(self, online: CpuSet) -> dict[str, Any]:
        """The same machine with these CPUs."""

        def less(cpus: str) -> str:
            return str(cpu_list(cpus) & online)

        parts = {
            "cpus": str(self.cpus & online),
            "online": str(self.online & online),
            "cores": {less(cpus) for cpus in self.cores} - {""},
            "packages": {less(cpus) for cpus in self.packages} - {""},
            "caches": {(level, type_, less(cpus), size) for level, type_, cpus, size in self.caches if less(cpus)},
            "nodes": {node: less(cpus) for node, cpus in self.nodes.items()},
        }
        return parts | {
            "objects": {"package": len(parts["packages"]), "core": len(parts["cores"]), "thread": len(online), "node": len(self.nodes)}
        }

    def whole(self) -> dict[str, Any]:
        return self.cut(self.cpus) | {"online": str(self.online), "objects": self.objects}


@pytest.fixture(scope="module")
def machine(out: Path) -> Shown:
    """All of it, at rest, and as lscpu and numactl have it."""
    first = scrapes(out, "quiet")[0]
    shown = Shown(first["metrics"])
    truth = oracles.lscpu(first["lscpu"])
    assert {frozenset(cpu_list(cpus)) for cpus in shown.cores} == truth["core"] == {frozenset((0, 1)), frozenset((2, 3))}
    assert {frozenset(cpu_list(cpus)) for cpus in shown.packages} == truth["socket"]
    assert {int(node): frozenset(cpu_list(cpus)) for node, cpus in shown.nodes.items()} == oracles.numactl(
        (out / "numactl").read_text()
    ).cpus
    # QEMU gives each thread a first level of its own.
    assert {("2", "Unified", "2-3"), ("3", "Unified", "2-3")} <= {cache[:3] for cache in shown.caches}
    return shown


def test_the_next_scrape_is_right(out: Path, machine: Shown) -> None:
    for one in scrapes(out, "quiet"):
        shown, truth = Shown(one["metrics"]), oracles.lscpu(one["lscpu"])
        assert one["before"] == one["after"]
        assert shown.whole() == machine.cut(cpu_list(one["after"]))
        assert {frozenset(cpu_list(cpus)) for cpus in shown.cores} == truth["core"]
        assert {frozenset(cpu_list(cpus)) for cpus in shown.nodes.values()} == truth["node"]
    assert [one["after"] for one in scrapes(out, "quiet")] == ["0-3", "0-2", "0-3"]


def test_no_scrape_was_ever_wrong(out: Path, machine: Shown) -> None:
    """One that leaves the CPUs out met a switch, and few do."""
    found = scrapes(out, "busy")
    during = told = 0
    for number, one in enumerate(found):
        during += one["switched"]
        if ("sys_cpu", "late") in gaps(one["metrics"]):
            assert one["switched"], number
            assert series(one["metrics"], "strata_cache_size_bytes") == []
            continue
        told += one["switched"]
        shown = Shown(one["metrics"])
        possible = {"0-2", "0-3"} if one["switched"] else {one["before"]}
        assert str(shown.cpus) in possible, number
        assert shown.whole() == machine.cut(shown.cpus), number
    print(f"{len(found)} scrapes, {during} while CPU 3 was switched, {during - told} of these left the CPUs out; all others right")
    assert len(found) >= 60
    assert told >= 5
    assert during - told <= len(found) // 10
    assert {one["after"] for one in found} == {"0-2", "0-3"}


def test_memory_that_goes_is_gone_from_its_node(out: Path, machine: Shown) -> None:
    found = scrapes(out, "memory")
    sizes = []
    for one in found:
        (size,) = (value for labels, value in series(one["metrics"], "strata_node_memory_bytes") if labels["node"] == "1")
        total = re.search(r"MemTotal:\s+(\d+) kB", one["meminfo"])
        assert total
        assert size == int(total[1]) << 10
        sizes.append(size)
        assert Shown(one["metrics"]).whole() == machine.cut(machine.cpus)
    print(f"node 1: {', '.join(f'{size / (1 << 20):.0f} MiB' for size in sizes)}")
    assert sizes == [sizes[0], sizes[0] - BLOCK_BYTES, sizes[0]]


def test_the_agent_heard_of_it_and_went_on(out: Path) -> None:
    journal = (out / "journal").read_text()
    assert (out / "pid").exists()
    assert "Traceback" not in journal
    assert "CPUs online: 0-2, were 0-3" in journal
    assert "source uevents" not in journal
