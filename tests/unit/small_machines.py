"""Small machines in the kernel's words, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.physical import Physical
from agent.model.values import CpuSet
from agent.normalise.machine import physical
from tests.unit.tree import recorded

CPU, NODE = "sys/devices/system/cpu", "sys/devices/system/node"
SOURCES = (
    *("sys_cpu", "sys_node", "hugepages", "proc_cpuinfo", "proc_vm", "proc_stat"),
    *("sys_memory_tiering", "sys_dax", "sys_nd", "sys_pci", "proc_driver_nvidia", "proc_self"),
)


def look(path: Path, files: Mapping[str, str], links: Mapping[str, str] | None = None) -> Physical:
    root = recorded(path, files)
    assert root.mark is not None
    root.mark.links.update(links or {})
    sample = take(root, Config(root=str(path), only=SOURCES), Caches())
    assert {gap.reason for gap in sample.gaps} <= {"absent"}
    return physical(sample)


def cpu(number: int, **topology: object) -> dict[str, str]:
    return {f"{CPU}/cpu{number}/topology/{name}": f"{value}\n" for name, value in topology.items()}


def cache(number: int, index: int, level: int, shared: str, **more: object) -> dict[str, str]:
    files = {"level": level, "shared_cpu_list": shared, **more}
    return {f"{CPU}/cpu{number}/cache/index{index}/{name}": f"{value}\n" for name, value in files.items()}


def regular(packages: int, cores: int, threads: int, **more: object) -> dict[str, str]:
    """Linux' usual numbering: first threads first, package by package; core ids begin anew in each package."""
    files = {f"{CPU}/online": f"0-{packages * cores * threads - 1}\n"}
    for number in range(packages * cores * threads):
        package, core = number // cores % packages, number % cores
        mates = [number % (packages * cores) + thread * packages * cores for thread in range(threads)]
        all_of_it = [n for n in range(packages * cores * threads) if n // cores % packages == package]
        files |= cpu(
            number,
            core_id=core,
            physical_package_id=package,
            core_cpus_list=CpuSet(mates),
            package_cpus_list=CpuSet(all_of_it),
            **more,
        )
    return files


def sets(things: object) -> list[str]:
    assert isinstance(things, tuple)
    return [str(thing.cpus) for thing in things]


def node(number: int, cpus: str, kib: int | None, distance: str = "") -> dict[str, str]:
    files = {f"{NODE}/node{number}/cpulist": f"{cpus}\n"}
    if kib is not None:
        files[f"{NODE}/node{number}/meminfo"] = f"Node {number} MemTotal: {kib} kB\n"
    return files | ({f"{NODE}/node{number}/distance": f"{distance}\n"} if distance else {})
