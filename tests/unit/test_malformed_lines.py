"""A line that cannot be understood costs that line, in every format that is read line by line; empty lines are nothing.

Where a sum over lines would be wrong without one, it costs the text: maps, numa_maps and smaps of a process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.model.facts.proc_interrupts import Interrupt
from agent.model.facts.proc_isolation import IdRange
from agent.model.values import CpuSet, Limit
from collectors import proc_interrupts, proc_limits, proc_schedstat, proc_softirqs, proc_stat, proc_swaps, proc_vm, sys_node
from collectors.cgroup.memory import parse_numa_stat
from collectors.cgroup.others import Stall, parse_stall
from collectors.proc_isolation import parse_map
from collectors.proc_pid.maps import parse_maps
from collectors.proc_pid.numa_maps import parse_numa_maps
from collectors.proc_pid.smaps import parse_smaps
from collectors.proc_task import parse_cgroup
from collectors.text import Malformed, MalformedLines, flat_keyed, nested_keyed, number_lines

CPU0 = "cpu0 0 0 0 0 0 0 5 6 7"
HEADER = "           CPU0       CPU1"
LIMITS = "{:<26}{:<21}{:<21}bytes"

# Parser, well-formed lines around one that is not, and the line that is not.
TEXTS: tuple[tuple[Callable[[str], object], str, str, str], ...] = (
    (flat_keyed, "anon 1\nfile 2\n", "Anon:\t 101436 kB", "slab 3\n"),
    (flat_keyed, "nr_periods 1\n", "wait_sum: 3 ns", "nr_throttled 0\n"),
    (flat_keyed, "low 1\n", "high", "max 2\n"),
    (flat_keyed, "low 1\n", "high \udcff", "max 2\n"),
    (flat_keyed, "numa_hit 1\n", "numa_miss 1 2", "numa_foreign 2\n"),
    (nested_keyed, "8:0 rbps=max\n", "8:16 rbps", "8:32 wbps=1\n"),
    (number_lines, "1\n2\n", "3 kB", "4\n"),
    (parse_numa_stat, "anon N0=1 N1=2\n", "file N0=x", "total=3 N0=3\n"),
    (parse_numa_stat, "anon N0=1\n", "some vendor's words", "file N0=3\n"),
    (parse_numa_stat, "anon N0=1\n", "file N4096=3", "slab N0=3\n"),
    (parse_stall, "some avg10=0.00 total=7\n", "full avg10=0.00 total=", ""),
    (parse_map, "0 100000 1000\n", "1000 -1 1", "1000 101000 64536\n"),
    (parse_cgroup, "4:memory:/a\n", "nonsense", "0::/b\n"),
    (proc_vm.parse_meminfo, "MemTotal: 8 kB\n", "DirectMap4k", "MemFree: 4 kB\n"),
    (proc_vm.parse_meminfo, "MemTotal: 8 kB\n", "MemFree: many kB", "Cached: 4 kB\n"),
    (proc_vm.parse_buddyinfo, "Node 0, zone DMA 1 2\n", "Node 0, zone DMA32 1 x", "Node 1, zone Normal 3 4\n"),
    (proc_vm.parse_zoneinfo, "Node 0, zone DMA\n  pages free 7\n", "        min      " + "9" * 50, "Node 1, zone Normal\n  pages free 9\n"),
    (sys_node.parse_meminfo, "Node 0 MemTotal: 8 kB\n", "Node 0 Foo:", "Node 0 MemFree: 4 kB\n"),
    (sys_node.parse_meminfo, "Node 0 MemTotal: 8 kB\n", "MemUsed: 4 kB", "Node 0 HugePages_Total: 4\n"),
    (proc_swaps.parse, "Filename Type Size Used Priority\n/a partition 8 0 -2\n", "/b file many 0 -3", "/c file 4 0 -4\n"),
    (proc_stat.parse, "cpu0 1 2 3 4\n", "cpu1 1 2 x 4", "cpu2 1 2 3 4\nctxt 7\n"),
    (proc_stat.parse, "cpu0 1 2 3 4\n", "cpu1 1 2", "btime 1000\n"),
    (proc_stat.parse, "cpu0 1 2 3 4\n", "cpu99999 1 2 3 4", "processes 10\n"),
    (proc_stat.parse, "cpu0 1 2 3 4\n", "ctxt many", "processes 10\n"),
    (proc_schedstat.parse, f"version 15\n{CPU0}\n", "cpu1 0 0 0 0 0 0 x 6 7", ""),
    (proc_softirqs.parse, f"{HEADER}\n TIMER: 1 2\n", " NET_RX: 1", " SCHED: 3 4\n"),
    (proc_softirqs.parse, f"{HEADER}\n TIMER: 1 2\n", " NET_RX: 1 x", " SCHED: 3 4\n"),
    (proc_interrupts.parse, f"{HEADER}\n 4: 1 2 ttyS0\n", "no colon", " NMI: 3 4 Non-maskable interrupts\n"),
    (proc_interrupts.parse, f"{HEADER}\n 4: 1 2 ttyS0\n", f" 5: {'9' * 30} 2 x", " NMI: 3 4 Non-maskable interrupts\n"),
    (proc_limits.parse, LIMITS.format("Max data size", 7, 8) + "\n", LIMITS.format("Max address space", "lots", 8), ""),
)  # fmt: skip


def rest(parse: Callable[[str], object], text: str) -> tuple[Any, int | None, int]:
    """What a parser makes of the lines that it understands, the first that it does not, and how many more those are."""
    with pytest.raises(Malformed) as caught:
        parse(text)
    return caught.value.rest, caught.value.line, caught.value.more


@pytest.mark.parametrize(("parse", "before", "malformed", "after"), TEXTS)
def test_a_malformed_line_costs_that_line(parse: Callable[[str], object], before: str, malformed: str, after: str) -> None:
    line = before.count("\n") + 1
    assert rest(parse, f"{before}{malformed}\n{after}") == (parse(before + after), line, 0)
    # At the end, without a line feed, and again.
    assert rest(parse, f"{before}{after}{malformed}") == (parse(before + after), line + after.count("\n"), 0)
    assert rest(parse, f"{before}{malformed}\n{after}{malformed}\n") == (parse(before + after), line, 1)


@pytest.mark.parametrize(("parse", "before", "after"), [(parse, before, after) for parse, before, _, after in TEXTS])
@pytest.mark.parametrize("empty", ["\n", " \n", "\t\n\n \n"])
def test_empty_lines_are_nothing(parse: Callable[[str], object], before: str, after: str, empty: str) -> None:
    assert parse(before + empty + after) == parse(before + after + empty) == parse(before + after)


def test_what_belongs_to_a_malformed_line_is_no_other_line_s() -> None:
    zones, line, _ = rest(proc_vm.parse_zoneinfo, "Node 0, zone DMA\n  pages free 7\nNode x, zone DMA32\n  pages free 8\n  min 5\n")
    assert ([(span.zone.name, span.zone.free_pages, span.zone.min_pages) for span in zones], line) == ([("DMA", 7, None)], 3)
    text = f"version 15\n{CPU0}\ndomain0 3 1\ncpu1 0 0 0\ndomain0 c 1\ncpu2 0 0 0 0 0 0 1 2 3\ndomain0 x 1\ndomain1 f 1\n"
    schedstat, line, more = rest(proc_schedstat.parse, text)
    assert ([queue.cpu for queue in schedstat.queues], line, more) == ([0, 2], 4, 2)
    # Of the last CPU one domain is not known, and so not how many it has.
    assert [(chain.cpus, len(chain.domains)) for chain in schedstat.chains] == [(CpuSet((0,)), 1)]


def test_values_around_a_malformed_line() -> None:
    assert rest(flat_keyed, "anon 1\nAnon: 5 kB\n\nfile 2\n")[0] == {"anon": 1, "file": 2}
    assert rest(parse_stall, "some avg10=0.00 total=7\nfull total=x\n")[0] == Stall(7)
    assert rest(parse_map, "0 1 2\nx\n")[0] == (IdRange(0, 1, 2),)
    assert rest(proc_limits.parse, TEXTS[-1][1] + TEXTS[-1][2])[0] == proc_limits.Limits(data=Limit(7))
    assert rest(proc_interrupts.parse, f"{HEADER}\nx\n 4: 1 2 ttyS0\n")[0].lines == (Interrupt("4", "ttyS0", (1, 2)),)


@pytest.mark.parametrize(
    ("parse", "text", "line"),
    [
        (parse_maps, "1000-2000 r--p 0 0:0 0\nx\n3000-4000 r--p 0 0:0 0\n", 2),
        (parse_numa_maps, "1000 default anon=1 N0=1 kernelpagesize_kB=4\n2000 default N0=\n", 2),
        (parse_smaps, "1000-2000 rw-p 0 0:0 0\nRss: 4 kB\n2000-3000 rw-p 0 0:0 0\nRss: many\n", 4),
    ],
)
def test_where_a_sum_would_be_wrong_it_costs_the_text(parse: Callable[[str], object], text: str, line: int) -> None:
    assert rest(parse, text) == (None, line, 0)


@pytest.mark.parametrize("parse", [flat_keyed, nested_keyed, number_lines, parse_numa_stat, parse_map, parse_cgroup, proc_vm.parse_meminfo])
def test_a_text_of_which_nothing_is_understood_is_no_empty_one(parse: Callable[[str], object]) -> None:
    assert not parse("")
    assert rest(parse, "some words\nof another file\n") == (None, 1, 1)


@pytest.mark.parametrize("text", ["anon 5 kB\n 0\n", "anon 5 file\n7\n", "anon 5\n 7\n", "anon\n5 7\nfile\n"])
def test_words_of_one_line_are_no_keys_of_the_next(text: str) -> None:
    values, *_ = rest(flat_keyed, text)
    assert values in (None, {"anon": 5}, {"5": 7})


@example([("anon", "5 kB"), ("", "0")])
@given(st.lists(st.tuples(st.sampled_from(["anon", "file", "slab", ""]), st.sampled_from(["0", "7", "-1", "x", "", "5 kB"]))))
def test_each_line_of_flat_keyed_is_on_its_own(pairs: list[tuple[str, str]]) -> None:
    def one(line: str) -> dict[str, int]:
        try:
            return flat_keyed(f"{line}\n")
        except Malformed:
            return {}

    lines = [f"{key} {value}" for key, value in pairs]
    try:
        together = flat_keyed("".join(f"{line}\n" for line in lines))
    except Malformed as error:
        together = error.rest or {}
    assert together == {key: value for line in lines for key, value in one(line).items()}


def test_the_first_line_is_named_and_the_others_counted() -> None:
    lines = MalformedLines()
    assert lines.checked(3) == 3
    lines.add(2, " \t", "a number")
    assert lines.checked(3) == 3
    lines.add(4, "x" * 100, "a number")
    lines.add(5, "y", "a number")
    with pytest.raises(Malformed) as caught:
        lines.checked({})
    assert str(caught.value.at("proc/x")) == f"proc/x:4: expected a number, got '{'x' * 60}'"
    assert (caught.value.rest, caught.value.more, caught.value.at("proc/x").more) == (None, 1, 1)
