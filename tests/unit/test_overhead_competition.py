"""agent/overhead/competition.py and what follows from it: what neighbours ask for, and what is left of it for a workload."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.facts.proc_task import Thread
from agent.model.host import Host
from agent.model.snapshot import Prediction
from agent.model.values import UNLIMITED, CpuSet
from agent.model.workload import Placement, Workload
from agent.overhead.competition import Competition
from agent.overhead.shares import water_fill
from agent.overhead.window import Window
from tests.unit.overhead_hosts import BOTH, container, cpu, host, sandbox, thread
from tests.unit.overhead_predictions import predictions


def of(workload: Callable[[float], Workload], busy: float = 6.0) -> dict[str, Prediction]:
    found = predictions(host(1.0, (workload(1.0),), busy=busy), host(0.0, (workload(0.0),), busy=busy))
    return {component: prediction for (_, component), prediction in found.items()}


def unlimited(passed: float, *threads: Thread, **more: object) -> Workload:
    made = replace(container(passed), cpu=replace(cpu(passed), quota_usec=UNLIMITED, limit_cpus=UNLIMITED, throttled_usec=None))
    return replace(made, threads=threads, **more)


@pytest.mark.parametrize("busy", [2.0, 6.0, 10.0])
def test_a_thread_that_never_slept_waited_when_it_did_not_run(busy: float) -> None:
    """An identity of the window's time, however busy the CPUs were: the delay that the kernel counted takes no part in it."""
    found = of(lambda passed: unlimited(passed, replace(thread(11, passed), voluntary_switches=9)), busy=busy)["run_queue_delay"]
    assert "accounting" in found.validity
    assert found.value == pytest.approx(0.5)
    assert 0.45 < found.lo < 0.5 < found.hi < 0.55
    # It waited for a tenth by its own counter.
    assert found.measured == pytest.approx(0.1)
    assert found.inside is False


def test_who_may_have_slept_is_not_said_to_have_waited() -> None:
    """Asleep as the window began, or born in it; one that sleeps at times waits by what competes with it."""
    asleep = of(lambda passed: unlimited(passed, replace(thread(11, passed, "R" if passed else "S"), voluntary_switches=9)))
    born = of(lambda passed: unlimited(passed, *[replace(thread(12, start_ticks=100_500), voluntary_switches=0)] * bool(passed)))
    wakes = of(lambda passed: unlimited(passed, thread(11, passed)))
    for found in (asleep, born, wakes):
        assert "accounting" not in found["run_queue_delay"].validity
        assert found["run_queue_delay"].value < 0.4


def test_of_a_fork_heavy_group_only_the_pressure_is_said() -> None:
    """Its children ran for two thirds of what the group used, and took their delay with them; the kernel kept their pressure."""
    used = unlimited(1.0).cpu
    forks = {passed: replace(used, usage_usec=int(1e6 + 15e6 * passed)) for passed in (0.0, 1.0)}
    found = of(lambda passed: unlimited(passed, thread(11, passed), cpu=forks[passed]), busy=9.4)
    assert "run_queue_delay" not in found
    alone = of(lambda passed: unlimited(passed, thread(11, passed)), busy=9.4)
    assert found["cpu_pressure"].value > alone["cpu_pressure"].value > 0


@pytest.mark.parametrize(("theirs", "beside"), [(CpuSet((1,)), 0.5), (CpuSet((0,)), 1.0), (BOTH, 0.75)])
def test_the_crowd_on_other_cpus_does_not_compete(theirs: CpuSet, beside: float) -> None:
    """A neighbour that waits for half a second in each, beside one on CPU 0 that ran for half of it: it waits where it may run."""
    ours = CpuSet((0,))

    def at(passed: float) -> Host:
        waits = replace(thread(12, passed), delay_ns=int(5e9 * (1 + passed)))
        here = unlimited(passed, thread(11, passed), placement=Placement(allowed_cpus=ours))
        return host(passed, (here, unlimited(passed, waits, id="neighbour", placement=Placement(allowed_cpus=theirs))), busy=10.0)

    found = predictions(at(1.0), at(0.0))["c0ffee", "run_queue_delay"]
    assert found.inputs["other_runnable_tasks"] == pytest.approx(beside)


def test_a_weight_gives_a_share_beside_what_others_take() -> None:
    """Both CPUs are full. It ran for one CPU; others, whom nobody names, for one, as a group of default weight."""

    def weighed(weight: int) -> Prediction:
        def made(passed: float) -> Workload:
            one = container(passed)
            return replace(one, cpu=replace(one.cpu, weight=weight, limit_cpus=UNLIMITED, quota_usec=UNLIMITED))

        return of(made, busy=10)["cpu_share"]

    light, even, heavy = (weighed(weight) for weight in (10, 100, 1000))
    assert even.measured == pytest.approx(1)
    # The others are known to want what they ran, so that even the lightest has the rest.
    assert light.value == even.value == pytest.approx(1)
    assert heavy.value == pytest.approx(2 * 10 / 11)
    assert heavy.lo < heavy.value < heavy.hi == 2


def asking(name: str, weight: int, run: float, wait: float) -> Callable[[float], Workload]:
    """A group whose one thread runs and waits for so much of each second."""

    def made(passed: float) -> Workload:
        counts = {"run_ns": int(1e10 * run * passed), "delay_ns": int(1e10 * wait * passed)}
        worker = replace(thread(sum(name.encode()), passed), **counts)
        whole = unlimited(passed, worker, id=name, placement=Placement(allowed_cpus=BOTH))
        return replace(whole, cpu=replace(whole.cpu, weight=weight))

    return made


def window(*made: Callable[[float], Workload]) -> Window:
    before, after = (host(passed, tuple(one(passed) for one in made)) for passed in (0.0, 1.0))
    return Window(after=after, before=before, seconds=10.0)


shares = st.tuples(st.integers(1, 10_000), st.floats(0.001, 0.999), st.floats(0, 1))


@given(st.lists(shares, min_size=1, max_size=6))
def test_what_is_left_is_what_filling_up_gives(all_asking: list[tuple[int, float, float]]) -> None:
    """Who asks for all that it can get, beside the others as they asked: the same as filling CPUs up to one level."""
    listed = [(weight, run, (1 - run) * wait) for weight, run, wait in all_asking]
    seen = window(*(asking(f"group {number}", *parts) for number, parts in enumerate(listed)))
    for number, workload in enumerate(seen.after.workloads):
        others = sum(run for place, (_, run, _) in enumerate(listed) if place != number)
        demands = [(weight / 100, 2.0 if place == number else run + wait) for place, (weight, run, wait) in enumerate(listed)]
        got = seen.competition.fair_cpus(workload, BOTH, others)
        assert got == pytest.approx(water_fill(2.0, demands)[number], rel=1e-3, abs=1e-6)


def test_threads_that_are_listed_twice_ask_once() -> None:
    """A service that is one sandbox is a workload of both kinds."""
    inner = sandbox(1.0)
    outer = unlimited(1.0, *inner.threads, id="service", placement=inner.placement)
    seen = Window(after=host(1.0, (outer, inner)), before=host(0.0, (replace(outer, threads=sandbox().threads), sandbox())), seconds=10.0)
    competition = Competition([(workload, seen.activity(workload)) for workload in seen.after.workloads])
    assert [competition.others_waiting(workload, BOTH) for workload in seen.after.workloads] == [0.0, 0.0]


def test_what_a_neighbour_asked_for_is_not_known_without_its_counters() -> None:
    known, unknown = asking("a", 100, 0.5, 0.1), asking("b", 100, 0.5, 0.1)
    whole = window(known, unknown)
    assert whole.competition.others_waiting(whole.after.workloads[0], BOTH) == pytest.approx(0.1)

    def less(passed: float) -> Workload:
        made = unknown(passed)
        return replace(made, threads=tuple(replace(worker, delay_ns=None) for worker in made.threads))

    part = window(known, less)
    assert part.competition.others_waiting(part.after.workloads[0], BOTH) is None
    assert part.competition.fair_cpus(part.after.workloads[0], BOTH, 0.5) is None


def test_a_group_without_processes_asks_for_nothing() -> None:
    """A slice with a limit, whose processes are in groups below it: nothing of it is missing."""
    known = asking("a", 100, 0.5, 0.1)
    empty = unlimited(1.0, id="slice", processes=0)
    before, after = host(0.0, (known(0.0), replace(empty, cpu=unlimited(0.0).cpu))), host(1.0, (known(1.0), empty))
    seen = Window(after=after, before=before, seconds=10.0)
    assert seen.competition.others_waiting(after.workloads[0], BOTH) == 0
    unread = replace(empty, processes=None)
    seen = Window(after=replace(after, workloads=(after.workloads[0], unread)), before=before, seconds=10.0)
    assert seen.competition.others_waiting(after.workloads[0], BOTH) is None
