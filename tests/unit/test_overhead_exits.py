"""agent/overhead/exits.py: exits and polling beside KVM's counters, and whose counters they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead.compose import predict
from agent.overhead.window import Window
from tests.unit.overhead_hosts import counted, host, machine


def of(after: Workload, before: Workload | None = None, seconds: float = 10.0) -> dict[str, Prediction]:
    earlier = host(0.0, (before or machine(),))
    return {one.component: one for one in predict(Window(after=host(1.0, (after,)), before=earlier, seconds=seconds))}


def test_what_is_counted_stands_beside_what_is_usual() -> None:
    """Two vCPUs that are busy half of the time; of each 500 exits a second, 30 of them to the emulator."""
    found = of(machine(1.0))
    assert found["exits"].value == 600
    assert found["exits"].measured == pytest.approx(1000)
    assert found["exits"].inside
    cost = found["exit_time"]
    assert cost.inputs["by_emulator_per_second"] == pytest.approx(60)
    assert cost.value == pytest.approx(940 * cost.inputs["exit_seconds"] + 60 * cost.inputs["emulated_seconds"])
    polling = found["halt_polling"]
    assert polling.measured == pytest.approx(8e-3)
    assert polling.inside
    assert polling.hi == pytest.approx(200 * 200e-6)


def told(passed: float, seconds_ago: float) -> Workload:
    made = machine(passed)
    assert made.guest is not None
    return replace(made, guest=replace(made.guest, stats_seconds_ago=seconds_ago))


def test_answers_are_as_far_apart_as_they_say() -> None:
    """The first was 4 s old, the second is 1 s old: 13 s lie between them."""
    assert of(told(1.0, 1.0), told(0.0, 4.0))["exits"].measured == pytest.approx(10_000 / 13)


def test_one_answer_told_twice_is_no_rate() -> None:
    found = of(told(1.0, 11.0), told(0.0, 1.0))
    assert found["exits"].measured is None
    assert not {"exit_time", "halt_polling"} & found.keys()


@pytest.mark.parametrize("name", ["exits", "halt_attempted_poll"])
def test_a_counter_that_went_back_is_no_rate(name: str) -> None:
    after = machine(1.0)
    broken = replace(after.vcpus[0], kvm={**counted(1.0), name: 0})
    found = of(replace(after, vcpus=(broken, after.vcpus[1])))
    assert (found["exits"].measured is None) == (name == "exits")
    assert ("halt_polling" in found) == (name == "exits")


@given(st.dictionaries(st.sampled_from(sorted(counted())), st.integers(0, 1 << 64)), st.floats(0, 1e9))
def test_any_counters_are_a_number_or_nothing(counters: dict[str, int], ago: float) -> None:
    after = told(1.0, ago)
    broken = replace(after.vcpus[0], kvm={**counted(1.0), **counters})
    for one in of(replace(after, vcpus=(broken, after.vcpus[1]))).values():
        assert 0 <= one.lo <= one.value <= one.hi < float("inf")
        assert one.measured is None or 0 <= one.measured < float("inf")
