"""Machines at the bounds of the kernel: as many CPUs and nodes as it can be built for, in bounded time and memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.values import CpuSet
from agent.normalise import normalise
from tests.hosts.machine import Machine
from tests.hosts.memory_root import CPU, MACHINE, NODE, Files, MemoryRoot

GIANT = Machine(packages=25, dies=4, cores=25, nodes=1024, possible=5120)


@pytest.fixture(scope="module")
def files() -> Files:
    return GIANT.files()


def test_five_thousand_cpus_and_a_thousand_nodes(files: Files) -> None:
    root = MemoryRoot(files)
    began = time.process_time()
    physical = normalise(take(root, Config(only=MACHINE), Caches())).physical
    took = time.process_time() - began
    assert [len(things) for things in (physical.packages, physical.dies, physical.cores, physical.nodes)] == [25, 100, 2500, 1024]
    assert len(physical.cpus.online) == 5000
    assert physical.cpus.possible == CpuSet(range(5120))
    assert len(physical.caches) == 3 * 2500 + 100
    assert [len(node.distances) for node in physical.nodes] == [1024] * 1024
    print(f"5000 CPUs and 1024 nodes in {took:.1f} s")
    assert took < 10


def test_possible_cpus_cost_nothing() -> None:
    """Two CPUs on a kernel for 5120: nothing is made for those that are not there."""
    files = Machine(packages=1, dies=1, cores=1, nodes=1, possible=5120).files()
    tracemalloc.start()
    try:
        physical = normalise(take(MemoryRoot(files), Config(only=MACHINE), Caches())).physical
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(physical.cores) == 1
    assert peak < 4 << 20


@pytest.mark.parametrize(
    "files",
    [
        {f"{CPU}/online": b"0-16383\n"},
        {f"{CPU}/online": b",".join(b"%d" % cpu for cpu in range(0, 16384, 2)) + b"\n"},
        {f"{CPU}/online": b"0-4999\n", **{f"{CPU}/cpu{cpu}/topology/core_cpus_list": b"0-4999\n" for cpu in range(5000)}},
        {f"{CPU}/online": b"0-4999\n", **{f"{CPU}/cpu{cpu}/cache/index0/level": b"3\n" for cpu in range(5000)}},
        {f"{CPU}/online": b"0-999\n", **{f"{CPU}/cpu{cpu}/topology/die_cpus_list": b"%d-999\n" % cpu for cpu in range(1000)}},
        {f"{NODE}/online": b"0-1023\n", **{f"{NODE}/node{node}/cpulist": b"0-16383\n" for node in range(1024)}, f"{CPU}/online": b"0\n"},
        {f"{CPU}/online": b"0\n", f"{CPU}/present": b"1," * (8 << 20)},
    ],
    ids=["all", "every-second", "one-core", "caches-without-cpus", "nested-dies", "nodes-with-all", "list-without-end"],
)
def test_hostile_sizes(files: Files) -> None:
    began = time.process_time()
    physical = normalise(take(MemoryRoot(files), Config(only=MACHINE), Caches())).physical
    took = time.process_time() - began
    print(f"{len(physical.cpus.online)} CPUs in {took:.2f} s")
    assert took < 2
