"""agent/overhead/what_if.py: nothing changed is no difference; more is never worse; what the formulas do not know is said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.change import Answer, Change, Effect
from agent.model.facts.proc_stat import CpuTime
from agent.model.host import Host
from agent.model.physical import Core
from agent.model.runtimes import Paradigm
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Workload
from agent.overhead.what_if import what_if
from agent.overhead.window import Window
from tests.unit.overhead_hosts import BOTH, UPTIME, container, cpu, host, machine, sandbox, thread

KINDS = {"containerization": container, "virtualization": machine, "sandbox": sandbox}


def asked(change: Change, which: Paradigm = "containerization", busy: float = 6.0) -> Answer:
    before, after = host(0.0, busy=busy), host(1.0, busy=busy)
    (workload,) = [one for one in after.workloads if one.paradigm == which]
    return what_if(Window(after=after, before=before, seconds=10.0), workload, change)


def effect(answer: Answer, component: str) -> Effect:
    (found,) = [one for one in answer.effects if one.component == component]
    return found


def hog(passed: float, quota: float, threads: int, own: float) -> Workload:
    """`own` CPUs in the window of ten seconds, by threads that never sleep: what they do not run, they wait."""
    stopped = max(0.0, min(threads, 2) - quota) * 10
    used = cpu(passed, usage=own * 10, quota=quota * 100_000)
    told = replace(used, throttled_usec=int(1e5 + 1e6 * stopped * passed), throttled_periods=int(10 + (100 if stopped else 0) * passed))
    ran = 10 * own / threads * passed
    counts = {"run_ns": int(1e9 * (1 + ran)), "delay_ns": int(1e9 * (1 + 10 * passed - ran)), "voluntary_switches": 3}
    running = tuple(replace(thread(11 + number, passed), **counts) for number in range(threads))
    return replace(container(passed), cpu=told, threads=running)


def hogs(quota: float, threads: int, others: float) -> tuple[Window, Workload]:
    own = min(quota, threads, max(2 - others, 2 * threads / (threads + others)))
    busy = min(1.0, (own + others) / 2) * 10
    before, after = (host(passed, (hog(passed, quota, threads, own),), busy=busy) for passed in (0.0, 1.0))
    return Window(after=after, before=before, seconds=10.0), after.workloads[0]


@pytest.mark.parametrize("which", KINDS)
@pytest.mark.parametrize("busy", [0.0, 3.0, 6.0, 9.9])
def test_what_is_so_already_changes_nothing(which: Paradigm, busy: float) -> None:
    same = Change(pin=BOTH, cpus=Limit(0.5) if which == "containerization" else UNLIMITED, paradigm=which)
    answer = asked(same, which, busy)
    assert answer.effects
    assert {(one.difference, one.lo, one.hi) for one in answer.effects} == {(0.0, 0.0, 0.0)}
    assert not answer.assumed


@given(st.floats(0.1, 1.9), st.integers(1, 4), st.floats(0.0, 1.9), st.floats(0.01, 4), st.floats(0.01, 4))
def test_more_cpus_never_predict_more_delay(quota: float, threads: int, others: float, one: float, two: float) -> None:
    window, workload = hogs(quota, threads, others)
    answers = [what_if(window, workload, Change(cpus=Limit(cpus))) for cpus in sorted((one, two))]
    for component in ("run_queue_delay", "throttled_periods"):
        less, more = (effect(answer, component).after for answer in answers)
        assert less
        assert more
        assert more.value <= less.value + 1e-9


@given(st.floats(0.1, 1.9), st.integers(1, 4), st.floats(0.0, 1.9))
def test_a_lifted_quota_stops_nobody(quota: float, threads: int, others: float) -> None:
    window, workload = hogs(quota, threads, others)
    answer = what_if(window, workload, Change(cpus=UNLIMITED))
    assert "throttled_periods" not in {one.component for one in answer.effects if one.after}
    waits = effect(answer, "run_queue_delay")
    assert waits.difference is not None
    assert waits.difference <= 1e-9
    assert waits.after
    assert waits.after.inputs["held_threads"] == 0


@given(st.integers(1, 8), st.integers(1, 8), st.floats(0, 0.5))
def test_more_equal_cpus_never_predict_more_delay(some: int, more: int, share: float) -> None:
    """Equal is what others leave of them: the formulas take CPUs at their average, and a busier one more raises that."""
    few, many = sorted((some, more))
    window, workload = wide(8, share)
    less, rest = (effect(what_if(window, workload, Change(pin=CpuSet(range(count)))), "run_queue_delay").after for count in (few, many))
    assert less
    assert rest
    assert rest.value <= less.value + 1e-9


def wide(cpus: int, others: float) -> tuple[Window, Workload]:
    """CPUs that others keep equally busy, on one of which a thread runs for half of the time."""

    def at(passed: float) -> Host:
        small = host(passed, (replace(container(passed), cpu=replace(cpu(passed), quota_usec=UNLIMITED, throttled_usec=0)),))
        times = tuple(
            CpuTime(
                cpu=number,
                user_seconds=10 * passed * busy,
                nice_seconds=0,
                system_seconds=0,
                idle_seconds=UPTIME + 10 * passed * (1 - busy),
            )
            for number in range(cpus)
            for busy in [min(1, others + (0.5 if number == 0 else 0))]
        )
        every = CpuSet(range(cpus))
        one = small.workloads[0]
        first = replace(thread(11, passed), allowed_cpus=every)
        one = replace(one, threads=(first,), placement=replace(one.placement, allowed_cpus=every))
        physical = replace(
            small.physical,
            cpus=replace(small.physical.cpus, online=every),
            cores=tuple(Core(CpuSet((number,)), 0) for number in every),
            nodes=(),
        )
        logical = replace(small.logical, cpu=replace(small.logical.cpu, times=times))
        return replace(small, physical=physical, logical=logical, workloads=(one,))

    after = at(1.0)
    return Window(after=after, before=at(0.0), seconds=10.0), after.workloads[0]


def test_others_stay_what_they_were_on_other_cpus() -> None:
    window, workload = wide(4, 0.25)
    away = effect(what_if(window, workload, Change(pin=CpuSet((3,)))), "run_queue_delay").after
    assert away
    assert away.inputs["other_busy_cpus"] == pytest.approx(0.25)
    assert away.inputs["own_busy_cpus"] == pytest.approx(0.5)


@pytest.mark.parametrize("which", KINDS)
def test_huge_pages_make_walks_cheaper(which: Paradigm) -> None:
    answer = asked(Change(hugepages=True), which)
    for component in ("walk_references", "walk_cost"):
        one = effect(answer, component)
        assert one.difference is not None
        assert one.lo is not None
        assert one.hi is not None
        # Tables of so little memory lie in the first cache, whatever the pages.
        assert one.lo <= one.difference <= one.hi <= 0
        assert one.difference < 0 or (which, component) == ("sandbox", "walk_cost")
    assert any("how often" in text for text in answer.caveats)


def test_a_node_of_its_own() -> None:
    """Three quarters of its memory lie on node 0, where its threads run."""
    near, far = (effect(asked(Change(node=node)), "remote_memory") for node in (0, 1))
    assert near.after
    assert far.difference is not None
    assert near.after.value == 0.0
    assert far.difference > 0


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_paradigms(source: Paradigm, target: Paradigm) -> None:
    answer = asked(Change(paradigm=target), source)
    then = {one.component: one.after for one in answer.effects if one.after}
    assert ("execution" in then) == (target == "sandbox")
    assert ("steal" in then) == (target == "virtualization")
    assert then.keys() >= {"run_queue_delay", "walk_references", "memory_overhead", "start_time"}
    # What one has to pay alone, as exits, keeps nobody from comparing the time.
    assert answer.lost is not None
    starts = effect(answer, "start_time")
    if source != target:
        assert starts.difference is not None
        assert (starts.difference > 0) == (target == "virtualization" or source == "sandbox")
        assert answer.assumed
    assert all(one.after.measured is None for one in answer.effects if one.after)


@pytest.mark.parametrize("busy", [1.0, 9.9])
def test_a_larger_weight_never_gets_less(busy: float) -> None:
    before, after = (host(passed, busy=busy) for passed in (0.0, 1.0))
    workload = replace(after.workloads[0], cpu=replace(after.workloads[0].cpu, weight=100))
    shares = []
    for weight in (1, 50, 100, 1000, 10000):
        one = effect(what_if(Window(after=after, before=before, seconds=10.0), workload, Change(weight=weight)), "cpu_share")
        assert one.after
        assert one.difference is not None
        assert one.lo is not None
        assert one.hi is not None
        assert one.lo <= one.difference <= one.hi
        shares.append(one.after.value)
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change(pin=CpuSet((7,))), "CPUs 7: not online here"),
        (Change(pin=CpuSet()), "CPUs none"),
        (Change(cpus=Limit(0)), "quota"),
        (Change(weight=0), "weight"),
        (Change(weight=10001), "weight"),
        (Change(node=9), "node 9"),
    ],
)
def test_a_change_that_this_host_cannot_make(change: Change, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asked(change)


@given(
    st.sampled_from(list(KINDS)),
    st.sampled_from([None, *KINDS]),
    st.sampled_from([None, CpuSet((0,)), CpuSet((1,)), BOTH]),
    st.sampled_from([None, 1e-9, 0.3, 1.0, 2.0, math.inf]),
    st.sampled_from([None, 0, 1]),
    st.booleans(),
    st.floats(0, 10),
)
def test_any_change_is_an_answer(
    which: Paradigm, target: Paradigm | None, pin: CpuSet | None, cpus: float | None, node: int | None, huge: bool, busy: float
) -> None:
    answer = asked(
        Change(pin=pin, cpus=None if cpus is None else Limit(cpus), weight=None, hugepages=huge, node=node, paradigm=target), which, busy
    )
    for one in answer.effects:
        if one.difference is not None:
            assert one.lo is not None
            assert one.hi is not None
            assert one.lo <= one.difference <= one.hi
        if one.after:
            assert 0 <= one.after.lo <= one.after.value <= one.after.hi < math.inf


def test_absent_input_is_an_absent_effect() -> None:
    after = host(1.0)
    workload = replace(container(1.0), threads=(), memory=replace(container().memory, stat={}))
    answer = what_if(Window(after=after, before=host(), seconds=10.0), workload, Change(pin=CpuSet((0,)), hugepages=True))
    assert "run_queue_delay" not in {one.component for one in answer.effects}
    assert answer.lost is None


def without(name: str) -> tuple[Host, Host]:
    """The hosts of one input less."""

    def less(passed: float) -> Host:
        whole = host(passed)
        one = whole.workloads[0]
        match name:
            case "other CPU":
                one = replace(one, placement=replace(one.placement, allowed_cpus=CpuSet((0,))))
                cpu = replace(whole.logical.cpu, times=whole.logical.cpu.times[:1])
                return replace(whole, workloads=(one,), logical=replace(whole.logical, cpu=cpu))
            case "throttled":
                one = replace(one, cpu=replace(one.cpu, throttled_usec=None))
            case "states":
                one = replace(one, threads=tuple(replace(thread, state=None) for thread in one.threads))
            case "last CPUs":
                one = replace(one, threads=tuple(replace(thread, last_cpu=None) for thread in one.threads))
        return replace(whole, workloads=(one,))

    return less(1.0), less(0.0)


@pytest.mark.parametrize("name", ["other CPU", "throttled", "states", "last CPUs"])
@pytest.mark.parametrize("change", [Change(cpus=Limit(0.1)), Change(cpus=Limit(1.5)), Change(cpus=UNLIMITED), Change(pin=CpuSet((1,)))])
def test_a_missing_input_never_becomes_a_number(name: str, change: Change) -> None:
    """What could not be said now for want of it cannot be said of then; what needs it not is what it was."""
    after, before = without(name)
    less = what_if(Window(after=after, before=before, seconds=10.0), after.workloads[0], change)
    waits = [one for one in less.effects if one.component == "run_queue_delay"]
    if name == "last CPUs" and change.pin is None:
        assert [one for one in waits if one.difference is not None]
    else:
        assert not [one for one in waits if one.difference is not None]
        assert name == "throttled" or not [one for one in waits if one.after]
    whole = {one.component: one for one in asked(change).effects}
    for one in less.effects:
        if one.component in ("walk_references", "memory_overhead", "start_time"):
            assert one == whole[one.component]
