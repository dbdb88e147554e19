"""agent/normalise/contradictions.py on small trees, read by the real readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.small_machines import CPU, cache, cpu, look, node, regular

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


def test_many_sets_are_not_all_shown(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-7\n"}
    for number in range(8):
        files |= node(number, "0-7", 1)
    (found,) = look(tmp_path, files).contradictions
    assert found.detail == "overlap: 0-7 0-7 0-7 0-7 and 4 more"


def test_levels_without_end(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0\n"}
    for level in range(70):
        files |= cache(0, level, level, "0", type="Unified")
    (found,) = look(tmp_path, files).contradictions
    assert (found.subject, found.detail) == ("caches", "70 levels and types")
