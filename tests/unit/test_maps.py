from __future__ import annotations

from msgspec.structs import replace

from agent.model.physical import Core
from agent.model.values import CpuSet
from exporters.views.maps import MapRow, logical_to_physical, physical_to_logical
from tests.unit.machines import regular


def told(rows: list[MapRow]) -> dict[int, tuple[str, int, int]]:
    return {cpu: (row.package, core, row.thread) for row in rows for core, cpu in zip(row.cores, row.cpus, strict=True)}


def test_both_ways_say_the_same_of_every_cpu_once() -> None:
    for physical in (regular(2, 2, 4, 2), regular(1, 1, 3, 1)):
        rows = physical_to_logical(physical)
        assert sorted(cpu for row in rows for cpu in row.cpus) == list(physical.cpus.online)
        for limit in (0, 1000):
            assert told(logical_to_physical(rows, limit)) == told(rows)


def test_the_map_of_two_threads_a_core() -> None:
    rows = physical_to_logical(regular(2, 1, 2, 2))
    assert [(row.package, str(row.nodes), row.thread, row.cores, row.cpus) for row in rows] == [
        *(("0", "0", 0, [0, 1], [0, 1]), ("0", "0", 1, [0, 1], [4, 5])),
        *(("1", "1", 0, [0, 1], [2, 3]), ("1", "1", 1, [0, 1], [6, 7])),
    ]


def test_runs_of_cpus_or_a_rule() -> None:
    physical = regular(1, 1, 4, 2)
    cores = tuple(Core(CpuSet((2 * number, 2 * number + 1)), 0, number) for number in range(4))
    rows = physical_to_logical(replace(physical, cores=cores))
    assert [row.cpus for row in logical_to_physical(rows, 8)] == [[cpu] for cpu in range(8)]
    assert [row.cpus for row in logical_to_physical(rows, 7)] == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_core_numbers_that_repeat_are_no_names() -> None:
    physical = regular(1, 1, 2, 1)
    same = tuple(Core(core.cpus, 0, 7) for core in physical.cores)
    rows = physical_to_logical(replace(physical, cores=same))
    assert [(row.numbered, row.cores) for row in rows] == [(False, [0, 1])]
