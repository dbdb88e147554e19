"""collectors/wasm_maps: processes whose maps or programs somebody made large, and the CPU time that a pass has for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors import wasm_maps
from collectors.proc_pid.maps import Vma
from collectors.root import Budget, SysRoot
from collectors.wasm_maps import LARGE_MAP_BYTES, WasmCache
from collectors.wasm_maps.layouts import KIB
from tests.unit.counted_budget import CountedBudget
from tests.unit.wasm_space import PAGE, Space, maps, running, write

SMALL, LARGE = 1, 2
STARTS: dict[int, float | None] = {LARGE: 1.0, SMALL: 1.0}
SPENT = Budget(0.0)


def large(memories: int = 1) -> str:
    """A runtime's map of so many memories, and of more mappings than a process usually has."""
    space = Space()
    for _ in range(memories):
        space.memory(PAGE).hole()
    for _ in range(6000):
        space.open(4 * KIB).hole()
    text = running(space)
    assert len(text) > LARGE_MAP_BYTES
    return text


def change(root: Path, pid: int, pages: int, text: str) -> None:
    (root / f"proc/{pid}/statm").write_text(f"{pages} 1 1 1 0 1 0\n")
    (root / f"proc/{pid}/maps").write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, SMALL, maps=running(Space().memory(PAGE)))
    write(tmp_path, LARGE, maps=large())
    return tmp_path


def memories(result: wasm_maps.WasmProcesses) -> dict[int, int]:
    return {process.pid: len(process.memories) for process in result.processes}


def test_a_large_map_that_changes_keeps_its_last_answer_and_the_small_one_is_read(root: Path) -> None:
    cache = WasmCache()
    assert memories(wasm_maps.read(SysRoot(root), STARTS, cache)) == {LARGE: 1, SMALL: 1}
    change(root, LARGE, 3 << 20, large(memories=2))
    change(root, SMALL, 3 << 20, running(Space().memory(PAGE).hole().memory(PAGE)))
    door = SysRoot(root)
    late = wasm_maps.read(door, STARTS, cache, SPENT)
    assert (memories(late), late.unread) == ({LARGE: 1, SMALL: 2}, 0)
    ((path, reason, detail),) = [(refusal.path, refusal.reason, refusal.detail) for refusal in door.refusals]
    assert (path, reason) == (f"proc/{LARGE}/maps", "late")
    assert "0 s old" in detail
    # With time it is read again.
    assert memories(wasm_maps.read(SysRoot(root), STARTS, cache)) == {LARGE: 2, SMALL: 2}


def test_a_large_map_that_was_never_read_is_counted(root: Path) -> None:
    door = SysRoot(root)
    late = wasm_maps.read(door, STARTS, WasmCache(), SPENT)
    # The small one comes second, and the first has taken the time: a process that is small waits for the next pass at most.
    assert late.unread >= 1
    assert LARGE not in memories(late)
    assert {refusal.reason for refusal in door.refusals} == {"late"}


def test_another_process_of_its_pid_does_not_inherit_an_answer(root: Path) -> None:
    cache = WasmCache()
    wasm_maps.read(SysRoot(root), STARTS, cache)
    change(root, LARGE, 3 << 20, large())
    late = wasm_maps.read(SysRoot(root), {**STARTS, LARGE: 2.0}, cache, SPENT)
    assert (memories(late), late.unread) == ({SMALL: 1}, 1)


def test_detection_ends_when_the_time_is_over(tmp_path: Path) -> None:
    """Slots with gaps of any size have many explanations, and each of a thousand runs has to be tried."""
    space = Space()
    for size in range(1, 400):
        space.closed(64 * KIB * size).open(4 * KIB).closed(64 * KIB).open(4 * KIB)
    space.hole()
    for _ in range(6000):
        space.open(4 * KIB).hole()
    write(tmp_path, LARGE, maps=running(space))
    door = SysRoot(tmp_path)
    late = wasm_maps.read(door, {LARGE: 1.0}, WasmCache(), CountedBudget(5))
    assert (late.processes, late.unread, [refusal.reason for refusal in door.refusals]) == ((), 1, ["late"])


def test_a_program_of_half_a_gigabyte_is_searched_over_several_passes(tmp_path: Path) -> None:
    root, program = tmp_path / "root", tmp_path / "program"
    with program.open("wb") as file:
        # Across the end of what a pass reads.
        file.truncate((40 << 20) - 5)
        file.seek(0, 2)
        file.write(b"wasm-memory-image")
        file.truncate(48 << 20)
    write(root, 1, maps=maps([Vma(0x5000, 0x6000, "r-xp", "/opt/acme"), *Space().memory(PAGE).vmas]))
    (root / "proc/1/exe").symlink_to(program)
    cache = WasmCache()
    answers = []
    for _ in range(8):
        door = SysRoot(root)
        result = wasm_maps.read(door, {1: 1.0}, cache, CountedBudget(20))
        answers.append((memories(result), result.unread, [refusal.reason for refusal in door.refusals]))
    assert answers[0] == ({}, 1, ["late"])
    assert answers[-1] == ({1: 1}, 0, [])
    assert answers == sorted(answers, key=lambda answer: -answer[1])
