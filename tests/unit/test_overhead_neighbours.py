"""agent/overhead/neighbours.py: who else ran on a workload's CPUs; what is certain, what is a guess, and that parts conserve."""

from __future__ import annotations

import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.host import Host
from agent.model.neighbours import Neighbour, Neighbours
from agent.model.physical import Cpus
from agent.model.values import CpuSet
from agent.model.workload import Placement, VCpu, Workload
from agent.overhead.explain import explain
from agent.overhead.neighbours import neighbours
from agent.overhead.window import Window
from exporters.views import explain as view
from tests.unit.overhead_hosts import container, cpu, host, machine, sandbox, thread, times
from tests.unit.told import HOSTILE

SECONDS = 10.0
FIRST, SECOND, BOTH = CpuSet((0,)), CpuSet((1,)), CpuSet((0, 1))


def group(name: str, cpus: CpuSet, passed: float, used: float, path: str | None = None, kind: str = "containerization") -> Workload:
    """A container, or a unit, whose one thread and group used so many CPU seconds of the ten."""
    ran = replace(thread(zlib.crc32(name.encode()) % 10_000 + 100, passed), allowed_cpus=cpus, run_ns=int(1e9 * (1 + used * passed)))
    return replace(
        container(passed),
        id=name,
        identity=name,
        name=name,
        paradigm=kind,
        cgroup=path or f"/{name}",
        cpu=cpu(passed, usage=used),
        threads=(ran,),
        placement=Placement(allowed_cpus=cpus),
    )


def ends(make: tuple[tuple[str, CpuSet, float], ...]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
    before, after = (tuple(group(name, cpus, passed, used) for name, cpus, used in make) for passed in (0.0, 1.0))
    return before, after


def window(before: tuple[Workload, ...], after: tuple[Workload, ...], busy: tuple[float, ...] = (10.0, 10.0)) -> Window:
    """Ten seconds; each CPU was busy for so many of them."""
    return Window(before=_at(0.0, before, busy), after=_at(1.0, after, busy), seconds=SECONDS)


def _at(passed: float, workloads: tuple[Workload, ...], busy: tuple[float, ...]) -> Host:
    made = host(passed, workloads)
    counters = tuple(times(number, 100 + seconds * passed, passed) for number, seconds in enumerate(busy))
    return replace(
        made,
        physical=replace(made.physical, cpus=Cpus(online=CpuSet(range(len(busy))))),
        logical=replace(made.logical, cpu=replace(made.logical.cpu, times=counters)),
    )


def of(seen: Window, name: str) -> Neighbours:
    (workload,) = [workload for workload in seen.after.workloads if workload.id == name]
    found = neighbours(seen, workload)
    assert found
    return found


def taken(found: Neighbours) -> dict[str, tuple[float | None, bool]]:
    """What each took, to a millionth, and whether that is a guess."""
    return {
        other.workload: (None if other.taken_cpus is None else round(other.taken_cpus, 6), other.origin is not None)
        for other in found.workloads
    }


def test_a_neighbour_that_has_no_other_cpu_took_all_of_its_time_here() -> None:
    seen = window(*ends((("victim", FIRST, 4.0), ("hog", FIRST, 5.0), ("away", SECOND, 9.0))))
    found = of(seen, "victim")
    assert taken(found) == {"hog": (0.5, False)}
    assert found.own_cpus == pytest.approx(0.4)
    assert found.rest_cpus == pytest.approx(0.1)
    assert found.idle_cpus == 0.0
    assert taken(of(seen, "away")) == {}


def test_a_neighbour_within_the_cpus_is_certain_wherever_it_ran_there() -> None:
    found = of(window(*ends((("wide", BOTH, 1.0), ("first", FIRST, 3.0), ("second", SECOND, 2.0)))), "wide")
    assert taken(found) == {"first": (0.3, False), "second": (0.2, False)}
    assert [other.workload for other in found.workloads] == ["first", "second"]


def test_what_may_run_elsewhere_is_divided_by_how_busy_others_kept_its_cpus() -> None:
    """The victim has half of a full CPU, a hog of two threads the other half and all of the second one."""
    found = of(window(*ends((("victim", FIRST, 5.0), ("hog", BOTH, 15.0)))), "victim")
    assert taken(found) == {"hog": (0.5, True)}
    assert found.rest_cpus == pytest.approx(0.0)


def test_a_neighbour_of_whom_idle_time_leaves_nothing_is_still_named() -> None:
    found = of(window(*ends((("victim", FIRST, 0.0), ("ticker", BOTH, 0.1))), busy=(0.0, 0.0)), "victim")
    assert taken(found) == {"ticker": (0.0, True)}


def test_guesses_are_no_more_than_there_is_room_for() -> None:
    busy = (10.0, 1.0)
    found = of(window(*ends((("victim", FIRST, 5.0), ("one", BOTH, 6.0), ("two", BOTH, 6.0), ("sure", FIRST, 2.0))), busy=busy), "victim")
    guesses = [other.taken_cpus or 0.0 for other in found.workloads if other.origin]
    assert len(guesses) == 2
    assert sum(guesses) == pytest.approx(0.3)


@given(
    busy=st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10)),
    used=st.lists(st.tuples(st.sampled_from(range(1, 8)), st.floats(0, 30)), min_size=1, max_size=6),
)
def test_parts_conserve(busy: tuple[float, ...], used: list[tuple[int, float]]) -> None:
    made = tuple((f"w{number}", CpuSet.of_mask(mask), seconds) for number, (mask, seconds) in enumerate(used))
    found = of(window(*ends(made), busy=busy), "w0")
    assert found.own_cpus is not None
    assert found.rest_cpus is not None
    assert found.idle_cpus is not None
    assert all(0 <= (other.taken_cpus or 0.0) < math.inf for other in found.workloads)
    guesses = sum(other.taken_cpus or 0.0 for other in found.workloads if other.origin)
    room = max(0.0, len(found.allowed_cpus) - found.idle_cpus - found.own_cpus)
    assert guesses + found.rest_cpus <= room + 1e-9


def test_of_a_machine_each_vcpu_is_where_it_is_pinned() -> None:
    def pinned(passed: float) -> Workload:
        vcpus = tuple(
            VCpu(number=number, thread=replace(thread(21 + number, passed), allowed_cpus=CpuSet((number,)), run_ns=int(1e9 * run * passed)))
            for number, run in enumerate((6.0, 2.0))
        )
        return replace(machine(passed), vcpus=vcpus, threads=(), placement=Placement(allowed_cpus=BOTH))

    before, after = ((group("victim", FIRST, passed, 1.0), pinned(passed)) for passed in (0.0, 1.0))
    found = of(window(before, after), "victim")
    assert taken(found) == {"vm": (0.6, False)}
    assert found.workloads[0].waiting_cpus == pytest.approx(0.2)


def test_who_runs_in_another_is_no_neighbour_of_it() -> None:
    def made(passed: float) -> tuple[Workload, ...]:
        inner = replace(sandbox(passed), parent="outer", cgroup="/outer", placement=Placement(allowed_cpus=FIRST))
        return group("outer", FIRST, passed, 5.0), inner, group("other", FIRST, passed, 2.0)

    seen = window(made(0.0), made(1.0))
    assert taken(of(seen, "outer")) == {"other": (0.2, False)}
    assert taken(of(seen, "wasm")) == {"other": (0.2, False)}
    assert taken(of(seen, "other")) == {"outer": (0.5, False)}


def test_a_unit_and_the_sandbox_in_its_group_are_one() -> None:
    def made(passed: float) -> tuple[Workload, ...]:
        inner = replace(sandbox(passed), cgroup="/system.slice/app.service/sub", placement=Placement(allowed_cpus=FIRST))
        unit = group("app", FIRST, passed, 5.0, path="/system.slice/app.service", kind="process")
        return unit, inner, group("other", FIRST, passed, 2.0)

    seen = window(made(0.0), made(1.0))
    assert taken(of(seen, "app")) == {"other": (0.2, False)}
    assert taken(of(seen, "wasm")) == {"other": (0.2, False)}
    assert taken(of(seen, "other")) == {"app": (0.5, False)}


def test_containers_stand_for_the_slice_that_they_are_in() -> None:
    def made(passed: float) -> tuple[Workload, ...]:
        return (
            group("slice", FIRST, passed, 6.0, path="/tight.slice", kind="process"),
            group("a", FIRST, passed, 2.0, path="/tight.slice/a.scope"),
            group("b", FIRST, passed, 3.0, path="/tight.slice/b.scope"),
            group("other", FIRST, passed, 1.0),
        )

    seen = window(made(0.0), made(1.0))
    assert taken(of(seen, "other")) == {"b": (0.3, False), "a": (0.2, False)}
    assert taken(of(seen, "a")) == {"b": (0.3, False), "other": (0.1, False)}
    assert of(seen, "other").rest_cpus == pytest.approx(0.4)


def test_where_no_cpu_counts_only_guesses_are_missing() -> None:
    seen = window(*ends((("victim", FIRST, 4.0), ("hog", FIRST, 5.0), ("floating", BOTH, 1.0))))
    silent = replace(seen.after, logical=replace(seen.after.logical, cpu=replace(seen.after.logical.cpu, times=())))
    found = of(Window(before=seen.before, after=silent, seconds=SECONDS), "victim")
    assert taken(found) == {"hog": (0.5, False), "floating": (None, False)}
    assert (found.own_cpus, found.rest_cpus, found.idle_cpus) == (0.4, None, None)


def test_a_thread_that_came_from_another_group_brings_no_time_with_it() -> None:
    before, after = ends((("victim", FIRST, 1.0),))
    vm = replace(machine(1.0), vcpus=(), placement=Placement(allowed_cpus=FIRST))
    moved = replace(vm, threads=(*vm.threads, thread(99, 1.0)))
    found = of(window((*before, replace(machine(0.0), vcpus=())), (*after, moved)), "victim")
    assert taken(found) == {"vm": (None, False)}
    # What it took is in the rest, or not.
    assert found.rest_cpus is None


def test_one_reading_is_no_window() -> None:
    _, after = ends((("victim", FIRST, 1.0), ("hog", FIRST, 2.0)))
    assert neighbours(Window(after=_at(1.0, after, (1.0, 1.0))), after[0]) is None


def shown(seen: Window, name: str) -> str:
    (workload,) = [workload for workload in seen.after.workloads if workload.id == name]
    return view.render(explain(seen, workload, ()), width=80, terminal=False, encoding="utf-8").decode()


def test_five_are_named_and_the_others_counted() -> None:
    made = (("victim", FIRST, 1.0), *((f"n{number}", FIRST, 0.1 * number) for number in range(1, 8)))
    text = shown(window(*ends(made)), "victim")
    table = [line.split() for line in text.split("Who else runs on its CPUs\n")[1].split("\n\n")[0].splitlines()]
    assert [row[0].rstrip(",") for row in table[2:]] == ["n7", "n6", "n5", "n4", "n3", "and", "the", "idle"]
    assert ["and", "2", "more", "0.030"] in table
    assert ["the", "rest", "of", "the", "host", "0.620"] in table


def test_what_is_a_guess_is_marked() -> None:
    text = shown(window(*ends((("victim", FIRST, 5.0), ("hog", BOTH, 15.0)))), "victim")
    assert "0.500~" in text
    assert "~ it may use other CPUs, too" in text
    certain = shown(window(*ends((("victim", FIRST, 5.0), ("hog", FIRST, 3.0)))), "victim")
    assert "0.300" in certain
    assert "it may use other CPUs" not in certain


def test_nobody_else_is_an_answer() -> None:
    assert "no other workload" in shown(window(*ends((("victim", FIRST, 5.0),))), "victim")
    assert Neighbour(workload="w", name="w", paradigm="process").taken_cpus is None


def test_a_hostile_name_of_a_neighbour_is_text() -> None:
    before, after = ends((("victim", FIRST, 1.0), ("bad", FIRST, 2.0)))
    named = replace(after[1], name=HOSTILE)
    text = shown(window(before, (after[0], named)), "victim")
    assert "[red]b[/]" in text
    assert not set(text) & {"\x1b", "\x9b", "\r", "\x07", "\u202e"}
