"""agent/normalise/contradictions.py on small trees, read by the real readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.small_machines import CPU, NODE, cache, cpu, look, node, regular

WHOLE = regular(2, 2, 2)


def four(**lists: tuple[str, str, str, str]) -> dict[str, str]:
    files = {f"{CPU}/online": "0-3\n"}
    for number in range(4):
        files |= cpu(number, **{name: its[number] for name, its in lists.items()})
    return files


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (WHOLE, []),
        # What offline CPUs are said to be in is not asked.
        (four(package_cpus_list=("0-9", "0-5", "2-3,7", "2-3")), [("package", "0-3", "overlap: 0-3 2-3")]),
        (four(package_cpus_list=("0-1", "0-1", "2-3,9", "2-3")), []),
        (four(core_cpus_list=("0-1", "0-1", "1-2", "3")), [("core", "0-2", "overlap: 0-1 1-2")]),
        (four(die_cpus_list=("1", "1", "2", "3")), [("die", "0", "a CPU is not among its own siblings")]),
        (node(0, "0-1", 1) | node(1, "1-3", 1) | four(), [("node", "0-3", "overlap: 0-1 1-3")]),
        (node(0, "0-3", 1) | node(1, "0-3", 1) | four(), [("node", "0-3", "overlap: 0-3 0-3")]),
        (node(0, "0-3", 1) | node(1, "", 1) | four(), []),
        (
            four() | cache(0, 0, 2, "0-1", type="Unified") | cache(1, 0, 2, "1-2", type="Unified"),
            [("L2 Unified", "0-2", "overlap: 0-1 1-2")],
        ),
        (
            four() | cache(0, 0, 1, "0", type="Data", id=4) | cache(2, 0, 1, "2", type="Data", id=4),
            [("L1 Data", "0,2", "one id for several caches: 0 2")],
        ),
        (
            four() | cache(0, 0, 1, "0-1", type="Data") | cache(0, 1, 2, "0", type="Unified"),
            [("L1 Data", "0-1", "wider than the level beyond: 0-1")],
        ),
        (
            four() | cache(0, 0, 1, "0,2", type="Data") | cache(0, 1, 3, "0-1", type="Unified") | cache(3, 1, 2, "3", type="Unified"),
            [("L1 Data", "0,2", "wider than the level beyond: 0,2")],
        ),
        (four() | {f"{CPU}/present": "0-2,9\n", f"{CPU}/possible": "0-9\n"}, [("online", "3", "online and not present")]),
        (four() | {f"{CPU}/present": "0-3,9\n", f"{CPU}/possible": "0-3\n"}, [("present", "9", "present and not possible")]),
        # Bulldozer's modules share the instructions' cache and not the data's.
        (
            four() | cache(0, 0, 1, "0", type="Data") | cache(0, 1, 1, "0-1", type="Instruction") | cache(0, 2, 2, "0-1", type="Unified"),
            [],
        ),
    ],
)
def test_contradictions(tmp_path: Path, files: dict[str, str], found: list[tuple[str, str, str]]) -> None:
    its = look(tmp_path, files).contradictions
    assert [(entry.subject, str(entry.cpus), entry.detail) for entry in its] == found


@pytest.mark.parametrize(("count", "more"), [(4, ""), (5, " and 1 more"), (8, " and 4 more")])
def test_of_many_sets_four_are_shown(tmp_path: Path, count: int, more: str) -> None:
    files = {f"{CPU}/online": "0-7\n"}
    for number in range(count):
        files |= node(number, "0-7", 1)
    (found,) = look(tmp_path, files).contradictions
    assert found.detail == f"overlap: 0-7 0-7 0-7 0-7{more}"


def test_levels_without_end(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0\n"}
    for level in range(70):
        files |= cache(0, level, level, "0", type="Unified")
    (found,) = look(tmp_path, files).contradictions
    assert (found.subject, found.detail) == ("caches", "70 levels and types")


def test_one_package_number_for_many_sets(tmp_path: Path) -> None:
    """Intel's Core Ultra under one firmware: every CPU a package of its own, all of number 0."""
    files = four(package_cpus_list=("0", "1", "2", "3"), physical_package_id=("0", "0", "0", "0"))
    (found,) = look(tmp_path, files).contradictions
    assert (found.subject, str(found.cpus)) == ("package", "0-3")
    assert found.detail == "4 sets (package_cpus) of one number, 0 (physical_package_id): 0 1 2 3"


def test_many_numbers_in_one_set_of_cores(tmp_path: Path) -> None:
    files = four(core_cpus_list=("0-1", "0-1", "2-3", "2-3"), core_id=("0", "4", "1", "1"))
    (found,) = look(tmp_path, files).contradictions
    assert (found.subject, found.detail) == ("core", "2 numbers (core_id) in one set (core_cpus), 0-1: 0 4")


def test_cores_of_dies_that_begin_to_count_anew(tmp_path: Path) -> None:
    files = four(core_cpus_list=("0", "1", "2", "3"), core_id=("0", "1", "0", "1"))
    files |= four(die_cpus_list=("0-1", "0-1", "2-3", "2-3"), die_id=("0", "0", "1", "1"))
    assert look(tmp_path, files).contradictions == ()


def test_dies_of_two_numbers_share_one_set(tmp_path: Path) -> None:
    files = four(package_cpus_list=("0-3",) * 4, die_cpus_list=("0-3",) * 4, die_id=("0", "0", "1", "1"))
    (found,) = look(tmp_path, files).contradictions
    assert (found.subject, found.detail) == ("die", "2 numbers (die_id) in one set (die_cpus), 0-3: 0 1")


def test_modules_are_two_cores_of_one_set(tmp_path: Path) -> None:
    files = four(core_cpus_list=("0-1", "0-1", "2-3", "2-3"), core_id=("0", "1", "2", "3"), package_cpus_list=("0-3",) * 4)
    block = "processor\t: {}\nvendor_id\t: AuthenticAMD\ncpu family\t: 21\n\n"
    assert look(tmp_path, files | {"proc/cpuinfo": "".join(map(block.format, range(4)))}).contradictions == ()


@pytest.mark.parametrize(
    ("files", "found"),
    [
        # lxcfs gives a container its own /proc/cpuinfo and /proc/stat, and leaves /sys alone.
        (
            {"proc/cpuinfo": "processor : 0\n\nprocessor : 1\n\n"},
            [("online", "2-3", f"0-3 online in /{CPU}/online, 0-1 in /proc/cpuinfo")],
        ),
        ({"proc/stat": "cpu0 1 2 3 4\n"}, [("online", "1-3", f"0-3 online in /{CPU}/online, 0 in /proc/stat")]),
        (
            {"proc/stat": "".join(f"cpu{cpu} 1 2 3 4\n" for cpu in range(6))},
            [("online", "4-5", f"0-3 online in /{CPU}/online, 0-5 in /proc/stat")],
        ),
        (
            {"proc/cpuinfo": "".join(f"processor : {cpu}\nphysical id : {cpu // 2}\n\n" for cpu in range(4))},
            [("package", "2-3", f"CPU 2 is in package 0 in /{CPU}/cpu2/topology/physical_package_id, in 1 in /proc/cpuinfo")],
        ),
    ],
)
def test_proc_against_sys(tmp_path: Path, files: dict[str, str], found: list[tuple[str, str, str]]) -> None:
    shown = four(package_cpus_list=("0-3",) * 4, physical_package_id=("0",) * 4)
    its = look(tmp_path, shown | files).contradictions
    assert [(entry.subject, str(entry.cpus), entry.detail) for entry in its] == found


def test_an_online_cpu_without_topology_is_no_package(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number in range(3):
        files |= cpu(number, package_cpus_list="0-2", core_cpus_list=number, physical_package_id=0)
    seen = look(tmp_path, files)
    assert [str(package.cpus) for package in seen.packages] == ["0-2"]
    assert [str(core.cpus) for core in seen.cores] == ["0", "1", "2"]
    (found,) = seen.contradictions
    assert (found.subject, str(found.cpus)) == ("topology", "3")


def test_a_cpu_without_topology_that_others_list_is_in_their_package(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number in range(3):
        files |= cpu(number, package_cpus_list="0-3", core_cpus_list=number, physical_package_id=0)
    seen = look(tmp_path, files)
    assert [str(package.cpus) for package in seen.packages] == ["0-3"]
    assert [(entry.subject, str(entry.cpus)) for entry in seen.contradictions] == [("topology", "3")]


@pytest.mark.parametrize(
    ("files", "subject", "detail"),
    [
        (node(0, "0-1", 4) | {f"{NODE}/online": "0-1\n"}, "node", f"nodes 0-1 in /{NODE}/online, and directories of 0"),
        (node(0, "0-1", 4) | node(1, "2-3", 4) | {f"{NODE}/online": "0\n"}, "node", f"nodes 0 in /{NODE}/online, and directories of 0-1"),
        (node(0, "0-1", 4), "node", f"online in /{CPU}/online, and in no node (/{NODE}/node*/cpulist)"),
        (node(0, "0-5", 4), "node", f"in a node (/{NODE}/node*/cpulist), and 0-3 online in /{CPU}/online"),
    ],
)
def test_nodes_that_one_file_lists_and_another_does_not(tmp_path: Path, files: dict[str, str], subject: str, detail: str) -> None:
    found = look(tmp_path, four() | files).contradictions
    assert (subject, detail) in [(entry.subject, entry.detail) for entry in found]


def test_a_node_that_is_offline_makes_no_machine_of_one_memory(tmp_path: Path) -> None:
    """Its CPUs are online and in no node that is shown: memory is not as far from every CPU."""
    seen = look(tmp_path, four() | node(0, "0-1", 4) | {f"{NODE}/online": "0\n"})
    assert (seen.memory.architecture, seen.architecture) == (None, None)


def test_a_node_of_cpus_that_are_all_offline_is_not_one_without_cpus(tmp_path: Path) -> None:
    seen = look(tmp_path, four() | node(0, "0-3", 4, "10 20") | node(1, "8-11", 4, "20 10"))
    assert [node.cpus and str(node.cpus) for node in seen.nodes] == ["0-3", None]
    assert seen.nodes[1].local_cpus is None


@pytest.mark.parametrize(("total", "subjects"), [(8, ["memory"]), (15, ["memory"]), (16, []), (32, [])])
def test_nodes_that_exceed_all_memory(tmp_path: Path, total: int, subjects: list[str]) -> None:
    files = four() | node(0, "0-1", 8) | node(1, "2-3", 8) | {"proc/meminfo": f"MemTotal: {total} kB\n"}
    found = look(tmp_path, files).contradictions
    assert [entry.subject for entry in found] == subjects
    assert all("16384 bytes" in entry.detail and f"{total << 10} (MemTotal" in entry.detail for entry in found)


@pytest.mark.parametrize(("size", "subjects"), [(11, []), (12, ["memory"])])
def test_nodes_may_exceed_all_memory_by_what_is_rounded(tmp_path: Path, size: int, subjects: list[str]) -> None:
    files = four() | node(0, "0-1", 10) | node(1, "2-3", size) | {"proc/meminfo": "MemTotal: 20 kB\n"}
    assert [entry.subject for entry in look(tmp_path, files).contradictions] == subjects
