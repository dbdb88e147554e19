"""agent/overhead/lost.py: no more is lost than was wanted, each cost once, and nothing by who is idle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.change import Lost
from agent.model.components import COMPONENTS
from agent.model.facts.cgroup import WorkloadCpu
from agent.model.host import Host
from agent.model.loss import Loss
from agent.model.physical import Core
from agent.model.snapshot import Prediction
from agent.model.values import CpuSet
from agent.model.workload import Workload
from agent.overhead.compose import predict
from agent.overhead.explain import explain
from agent.overhead.lost import IDLE_CPUS, difference, is_idle, losses, measured_lost, parts, total
from agent.overhead.window import Window
from exporters.views.explain import render
from tests.unit.overhead_hosts import container, thread
from tests.unit.told import window

COUNTED = ("switching", "shared_core", "exit_time", "remote_memory")
BESIDE = ("shared_cache", "execution", "steal", "throttled_time", "cpu_pressure")


def figure(component: str, value: float, width: float = 0.0, own: float = 1.0, formula: str = "any") -> Prediction:
    row = COMPONENTS[component]
    return Prediction(
        workload="w",
        component=component,
        value=value,
        lo=max(0.0, value - width),
        hi=value + width,
        unit=row.unit,
        kind=row.kind,
        formula=formula,
        inputs={"own_busy_cpus": own},
        validity=("ok",),
    )


def waits(value: float, own: float = 1.0, width: float = 0.0, measured: float | None = None) -> Prediction:
    return replace(figure("run_queue_delay", value, width, own), measured=measured)


def test_waiting_is_a_share_of_what_it_wanted() -> None:
    assert total([waits(1.0)]) == Lost(0.5, 0.5, 0.5)
    assert total([waits(3.0, own=0.5)]) == Lost(3 / 3.5, 3 / 3.5, 3 / 3.5)
    assert total([]) is None
    assert total([figure("switching", 1.0)]) is None


def test_extra_time_is_a_part_of_the_running() -> None:
    """Who needs twice as long for the same runs half of its time for nothing."""
    lost = total([waits(0.0), figure("switching", 1.0)])
    assert lost is not None
    assert lost.value == 0.5


@pytest.mark.parametrize("component", BESIDE)
def test_what_is_counted_already_or_has_no_witness_is_beside_it(component: str) -> None:
    assert total([waits(1.0), figure(component, 9.0)]) == total([waits(1.0)])


@pytest.mark.parametrize(("own", "value", "idle"), [(0.0, 0.0, True), (5e-4, 4e-4, True), (5e-4, 0.9, False), (IDLE_CPUS, 0.0, False)])
def test_an_idle_workload_loses_nothing(own: float, value: float, idle: bool) -> None:
    """But one that hardly ran because it waited is not idle."""
    shown = [waits(value, own), figure("switching", 5.0)]
    lost = total(shown)
    assert is_idle(shown) == idle
    assert lost is not None
    assert (lost == Lost(0.0, 0.0, 0.0)) == idle
    assert (parts(shown) == {}) == idle


def test_a_sleeping_process_is_said_to_be_idle() -> None:
    """Beside a busy neighbour: it was told to lose 43.9 s each second."""

    def asleep(passed: float) -> tuple[object, ...]:
        tasks = (replace(thread(11, 0.0, "S"), run_ns=int(1e9 + 1e5 * passed), timeslices=int(100 + 10 * passed)),)
        return (replace(container(0.0), threads=tasks),)

    seen = window((asleep(0.0), asleep(1.0)), busy=9.0)  # type: ignore[arg-type]
    explanation = explain(seen, seen.after.workloads[0], predict(seen))
    assert (explanation.idle, explanation.lost) == (True, Lost(0.0, 0.0, 0.0))


def test_what_was_measured_is_a_share_of_the_same() -> None:
    assert measured_lost(waits(9.0, own=1.0, measured=1.0)) == 0.5
    assert measured_lost(waits(9.0, own=0.0, measured=0.0)) is None
    assert measured_lost(waits(9.0)) is None
    assert measured_lost(replace(figure("exits", 1.0), measured=3.0)) is None


Side = tuple[float, float, float, list[tuple[str, float, float]]]
amounts = st.floats(0, 1e6)
sides = st.tuples(st.floats(0, 64), amounts, amounts, st.lists(st.tuples(st.sampled_from(COUNTED), amounts, amounts), max_size=4))


def test_slower_code_counts_where_it_comes_or_goes() -> None:
    sandboxed = [waits(0.0), figure("execution", 1.0)]
    there, still = difference([waits(0.0)], sandboxed), difference(sandboxed, sandboxed)
    assert (there, still) == (Lost(0.5, 0.5, 0.5), Lost(0.0, 0.0, 0.0))


def side(drawn: Side) -> list[Prediction]:
    own, value, width, extras = drawn
    figures = {component: figure(component, extra, wide) for component, extra, wide in extras}
    return [waits(value, own, width), *figures.values()]


@given(sides)
def test_laws_of_a_total(drawn: Side) -> None:
    """Between nothing and the whole, in order, and the sum of its parts."""
    shown = side(drawn)
    lost = total(shown)
    assert lost is not None
    assert 0 <= lost.lo <= lost.value * (1 + 1e-12) <= lost.hi * (1 + 1e-12) <= 1 + 1e-9
    assert sum(parts(shown).values()) == pytest.approx(lost.value)


@given(sides, sides)
def test_laws_of_a_difference(one: Side, other: Side) -> None:
    """The way back is the same with the other sign, and a change to what is so already is none."""
    before, after = side(one), side(other)
    there, back = difference(before, after), difference(after, before)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert -1 <= there.lo <= there.value <= there.hi <= 1
        assert (back.value, back.lo, back.hi) == pytest.approx((-there.value, -there.hi, -there.lo))
    assert difference(before, before) == Lost(0.0, 0.0, 0.0)


def total_of(host: Host, before: Host, which: str) -> Loss | None:
    seen = Window(after=host, before=before, seconds=10.0)
    return next((loss for loss in losses(predict(seen), seen) if loss.workload == which), None)


def altered(change: Callable[[Host], Host]) -> tuple[Host, Host]:
    seen = window()
    assert seen.before
    return change(seen.after), change(seen.before)


def of_machine(**fields: object) -> Callable[[Host], Host]:
    """The host with another processor or memory."""
    return lambda host: replace(host, physical=replace(host.physical, **fields))


def of_workloads(change: Callable[[Workload], Workload]) -> Callable[[Host], Host]:
    return lambda host: replace(host, workloads=tuple(map(change, host.workloads)))


SWITCHES = {"voluntary_switches": None}
ALONE = (Core(CpuSet((0,)), 0), Core(CpuSet((1,)), 0))


@pytest.mark.parametrize("which", ["c0ffee", "vm", "wasm"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(of_machine(cores=()), id="nobody says which threads share a core"),
        pytest.param(of_machine(cores=ALONE[1:]), id="one CPU has no core"),
        pytest.param(of_machine(nodes=()), id="the nodes are not shown"),
        pytest.param(lambda host: of_machine(nodes=host.physical.nodes[:1])(host), id="one of two nodes is not shown"),
        pytest.param(of_workloads(lambda w: replace(w, placement=replace(w.placement, memory_by_node={}))), id="where memory lies"),
        pytest.param(
            of_workloads(
                lambda w: replace(
                    w,
                    threads=tuple(replace(t, **SWITCHES) for t in w.threads),
                    vcpus=tuple(replace(v, thread=v.thread and replace(v.thread, **SWITCHES)) for v in w.vcpus),
                )
            ),
            id="switches",
        ),
    ],
)
def test_a_total_lacks_where_a_part_is_not_known(which: str, change: Callable[[Host], Host]) -> None:
    """A sum over the other parts would be another number with each file that is missing."""
    assert total_of(*altered(lambda host: host), which)
    assert total_of(*altered(change), which) is None


def test_the_exits_of_a_machine_are_a_part_of_its_total_only() -> None:
    def uncounted(workload: Workload) -> Workload:
        return replace(workload, vcpus=tuple(replace(vcpu, kvm={}) for vcpu in workload.vcpus))

    after, before = altered(of_workloads(uncounted))
    assert total_of(after, before, "vm") is None
    assert total_of(after, before, "c0ffee")
    emulated = of_workloads(lambda w: uncounted(replace(w, guest=w.guest and replace(w.guest, accelerator="tcg"))))
    assert total_of(*altered(emulated), "vm")


@pytest.mark.parametrize("which", ["c0ffee", "vm", "wasm"])
def test_what_the_host_does_not_have_is_no_part(which: str) -> None:
    """Of one memory node, and of cores with one thread each."""

    def plain(host: Host) -> Host:
        one = of_machine(cores=ALONE, nodes=host.physical.nodes[:1])(host)
        return of_workloads(lambda w: replace(w, placement=replace(w.placement, memory_by_node={0: 4096})))(one)

    after, before = altered(plain)
    loss = total_of(after, before, which)
    assert loss
    own = [prediction for prediction in predict(Window(after=after, before=before, seconds=10.0)) if prediction.workload == which]
    assert not {"shared_core", "remote_memory"} & {prediction.component for prediction in own}
    assert Lost(loss.value, loss.lo, loss.hi) == total(own)
    assert not loss.idle


def test_an_idle_workload_has_a_total_of_nothing_whatever_is_missing() -> None:
    def asleep(workload: Workload) -> Workload:
        threads = tuple(replace(t, run_ns=10**9, delay_ns=0, timeslices=5, state="S", **SWITCHES) for t in container(0.0).threads)
        return replace(workload, cpu=WorkloadCpu(), threads=threads, placement=replace(workload.placement, memory_by_node={}))

    loss = total_of(*altered(of_workloads(asleep)), "c0ffee")
    assert loss
    assert (loss.value, loss.lo, loss.hi, loss.idle) == (0.0, 0.0, 0.0, True)


def test_a_headline_says_what_it_does_not_count() -> None:
    after, before = altered(of_machine(nodes=()))
    seen = Window(after=after, before=before, seconds=10.0)
    explanation = explain(seen, after.workloads[0], predict(seen))
    assert explanation.lost_parts_unknown == ("remote_memory",)
    text = render(explanation, width=100, terminal=False, encoding="utf-8").decode()
    assert "Not in that, because it is not known: slowed by memory on another node." in " ".join(text.split())
    assert explain(window(), after.workloads[0], predict(window())).lost_parts_unknown == ()


def test_every_kind_of_workload_has_a_total() -> None:
    seen = window()
    for workload in seen.after.workloads:
        lost = total([prediction for prediction in predict(seen) if prediction.workload == workload.id])
        assert lost is not None
        assert 0 < lost.lo <= lost.value <= lost.hi < 1
