"""collectors/sys_cpu.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.values import CpuSet
from collectors.root import SysRoot
from collectors.sys_cpu import CPU, CpuCache, CpuSpeed, CpuTopology, SysfsCpus, read
from tests.unit.tree import grow, malformed

T, C = f"{CPU}/cpu0/topology", f"{CPU}/cpu0/cache/index0"
BOTH = CpuSet((0, 1))


def test_nothing(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path)) == SysfsCpus(numbers=CpuSet())


def test_lists(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            f"{CPU}/possible": "0-191\n",
            f"{CPU}/present": "0-3\n",
            f"{CPU}/online": "0,2-3\n",
            f"{CPU}/isolated": "\n",
            f"{CPU}/nohz_full": " (null)\n",
            f"{CPU}/smt/active": "1\n",
            f"{CPU}/cpu0/": "",
            f"{CPU}/cpu3/": "",
            f"{CPU}/cpufreq/": "",
            f"{CPU}/cpuidle/": "",
            "sys/devices/cpu_core/cpus": "0-1\n",
            "sys/devices/cpu_atom/cpus": "\n",
        },
    )
    found = read(root)
    assert found == SysfsCpus(
        numbers=CpuSet((0, 3)),
        possible=CpuSet(range(192)),
        present=CpuSet(range(4)),
        online=CpuSet((0, 2, 3)),
        isolated=CpuSet(),
        nohz_full=CpuSet(),
        smt_active=True,
        kinds={"cpu_core": BOTH},
    )


@pytest.mark.parametrize(
    ("files", "online"),
    [
        ({}, "0-2"),
        ({"cpu1/online": "0\n"}, "0,2"),
        ({"cpu0/online": "0\n", "cpu1/online": "1\n"}, "1-2"),
        ({"online": "1\n", "cpu1/online": "0\n"}, "1"),
        ({"online": "\n"}, "0-2"),
    ],
)
def test_online_without_a_list(tmp_path: Path, files: dict[str, str], online: str) -> None:
    grow(tmp_path, {f"{CPU}/cpu{cpu}/": "" for cpu in range(3)})
    assert str(read(grow(tmp_path, {f"{CPU}/{name}": text for name, text in files.items()})).online) == online


@pytest.mark.parametrize(
    ("files", "topology"),
    [
        ({"core_id": "0\n"}, CpuTopology(cpu=0, core_id=0)),
        ({"core_id": "-1\n", "physical_package_id": "-1\n", "die_id": "-1\n"}, CpuTopology(cpu=0, core_id=-1, die_id=-1, package_id=-1)),
        ({"core_cpus_list": "0-1\n"}, CpuTopology(cpu=0, core_cpus=BOTH)),
        ({"core_cpus": "00000000,00000003\n"}, CpuTopology(cpu=0, core_cpus=BOTH)),
        ({"thread_siblings_list": "0-1\n", "core_siblings_list": "0-1\n"}, CpuTopology(cpu=0, core_cpus=BOTH, package_cpus=BOTH)),
        ({"thread_siblings": "3\n", "core_siblings": "3\n"}, CpuTopology(cpu=0, core_cpus=BOTH, package_cpus=BOTH)),
        ({"core_cpus": "3\n", "thread_siblings": "f\n"}, CpuTopology(cpu=0, core_cpus=BOTH)),
        ({"package_cpus": "3\n", "core_siblings": "f\n"}, CpuTopology(cpu=0, package_cpus=BOTH)),
        ({"die_cpus_list": "0-1\n", "cluster_cpus": "3\n"}, CpuTopology(cpu=0, die_cpus=BOTH, cluster_cpus=BOTH)),
        ({"book_id": "2\n", "book_siblings": "3\n", "drawer_id": "1\n", "drawer_siblings_list": "0-1\n"},
         CpuTopology(cpu=0, book_id=2, drawer_id=1, book_cpus=BOTH, drawer_cpus=BOTH)),
    ],
)  # fmt: skip
def test_topology(tmp_path: Path, files: dict[str, str], topology: CpuTopology) -> None:
    assert read(grow(tmp_path, {f"{T}/{name}": text for name, text in files.items()})).topology == (topology,)


def test_an_offline_cpu_has_no_topology(tmp_path: Path) -> None:
    assert read(grow(tmp_path, {f"{T}/": "", f"{CPU}/cpu1/online": "0\n"})).topology == ()


@pytest.mark.parametrize(
    ("files", "cache"),
    [
        ({"level": "2"}, CpuCache(cpu=0, level=2, type="Unified")),
        (
            {"level": "1", "type": "Data\n", "shared_cpu_map": "3\n", "size": "32K\n"},
            CpuCache(cpu=0, level=1, type="Data", shared=BOTH, size_bytes=32 << 10),
        ),
        ({"level": "3", "shared_cpu_list": "0-1\n", "id": "7\n"}, CpuCache(cpu=0, level=3, type="Unified", shared=BOTH, id=7)),
        ({"level": "2", "shared_cpu_map": "00000000\n"}, CpuCache(cpu=0, level=2, type="Unified")),
        ({"level": "2", "shared_cpu_map": "\n", "shared_cpu_list": "\n", "size": "\n"}, CpuCache(cpu=0, level=2, type="Unified")),
        ({"level": "2", "shared_cpu_map": "0\n", "shared_cpu_list": "0-1\n"}, CpuCache(cpu=0, level=2, type="Unified", shared=BOTH)),
        (
            {"level": "2", "coherency_line_size": "64", "ways_of_associativity": "-1", "number_of_sets": "1"},
            CpuCache(cpu=0, level=2, type="Unified", line_bytes=64, ways=-1, sets=1),
        ),
    ],
)
def test_caches(tmp_path: Path, files: dict[str, str], cache: CpuCache) -> None:
    assert read(grow(tmp_path, {f"{C}/{name}": text for name, text in files.items()})).caches == (cache,)


def test_a_cache_that_does_not_say_what_it_is_is_noted(tmp_path: Path) -> None:
    """A first-level cache without a type may hold instructions or data; one without a level may be anything."""
    root = grow(tmp_path, {f"{C}/level": "1", f"{CPU}/cpu0/cache/index9/type": "Data\n"})
    assert read(root).caches == ()
    assert {(refusal.path, refusal.reason) for refusal in root.refusals} == {
        (f"{C}/type", "absent"),
        (f"{CPU}/cpu0/cache/index9/level", "absent"),
    }


def test_a_cache_is_shown_once(tmp_path: Path) -> None:
    files: dict[str, str] = {}
    for cpu in (0, 1, 2):
        here = f"{CPU}/cpu{cpu}/cache"
        shared = "3" if cpu < 2 else "4"
        files |= {f"{here}/index0/level": "2", f"{here}/index0/shared_cpu_map": shared, f"{here}/index0/id": "0", f"{here}/uevent": ""}
        files |= {f"{here}/index1/level": "1", f"{here}/index1/type": "Data", f"{here}/index2/type": "Data"}
    found = read(grow(tmp_path, files)).caches
    # Two level-2 caches of the same id; without a map every CPU's is its own; without a level it is none.
    assert [(cache.cpu, cache.level, str(cache.shared)) for cache in found] == [
        (0, 2, "0-1"), (0, 1, "None"), (1, 1, "None"), (2, 2, "2"), (2, 1, "None"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "lists", [{"online": "1-2\n"}, {"cpu0/online": "0\n", "cpu1/topology/core_id": "1\n", "cpu2/topology/core_id": "2\n"}]
)
def test_what_an_offline_cpu_shows_first_stands_for_nobody(tmp_path: Path, lists: dict[str, str]) -> None:
    files = {f"{CPU}/{name}": text for name, text in lists.items()}
    for cpu in (0, 1, 2):
        here = f"{CPU}/cpu{cpu}/cache/index3"
        files |= {f"{here}/level": "3", f"{here}/type": "Unified", f"{here}/size": "8192K", f"{here}/shared_cpu_list": "1-2"}
    assert [(cache.cpu, cache.size_bytes) for cache in read(grow(tmp_path, files)).caches] == [(1, 8 << 20)]


@pytest.mark.parametrize(
    ("files", "speeds"),
    [
        ({}, ()),
        ({"cpu_capacity": "446\n"}, (CpuSpeed(cpu=0, capacity=446),)),
        ({"cpufreq/cpuinfo_max_freq": "3500000\n", "cpufreq/base_frequency": "0\n"}, (CpuSpeed(cpu=0, max_freq_hz=3_500_000_000),)),
        ({"regs/identification/midr_el1": "0x00000000410fd0c0\n"}, (CpuSpeed(cpu=0, midr=0x410FD0C0),)),
    ],
)
def test_speeds(tmp_path: Path, files: dict[str, str], speeds: tuple[CpuSpeed, ...]) -> None:
    assert read(grow(tmp_path, {f"{CPU}/cpu0/": "", **{f"{CPU}/cpu0/{name}": text for name, text in files.items()}})).speeds == speeds


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("online", "0-4294967295"),
        ("present", "x"),
        ("isolated", "x"),
        ("cpu0/topology/core_id", "zero"),
        ("cpu0/topology/core_cpus", "0-3"),
        ("cpu0/cache/index0/level", "L1"),
        ("smt/active", "yes"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, path: str, text: str) -> None:
    root = grow(tmp_path, {f"{CPU}/cpu0/topology/die_id": "7\n", f"{CPU}/{path}": text})
    assert [topology.die_id for topology in read(root).topology] == [7]
    assert malformed(root) == [f"{CPU}/{path}"]


@pytest.mark.parametrize("level", ["9999999999", "256", "-1", "18446744073709551615"])
def test_a_cache_of_a_level_that_there_is_not(tmp_path: Path, level: str) -> None:
    """The cache of that level is left out, with a gap that names it; the other one stays."""
    here = f"{CPU}/cpu0/cache"
    files = {f"{here}/index{number}/type": "Unified" for number in (2, 3)} | {f"{here}/index2/level": "2", f"{here}/index3/level": level}
    root = grow(tmp_path, files)
    assert [cache.level for cache in read(root).caches] == [2]
    assert [error.path for error in root.malformed] == [f"{here}/index3/level"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("size", "999999999999999T"),
        ("coherency_line_size", "65537"),
        ("ways_of_associativity", "9999999999"),
        ("number_of_sets", "-5"),
        ("number_of_sets", "9223372036854775808"),
        ("id", "-1"),
    ],
)
def test_figures_that_no_cache_has(tmp_path: Path, name: str, text: str) -> None:
    here = f"{CPU}/cpu0/cache/index2"
    root = grow(tmp_path, {f"{here}/level": "2", f"{here}/type": "Unified", f"{here}/{name}": text})
    assert read(root).caches == (CpuCache(cpu=0, level=2, type="Unified"),)
    assert [error.path for error in root.malformed] == [f"{here}/{name}"]
