"""The concept document's orders as laws of the formulas: who costs no less than whom, whatever the load."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.model.snapshot import Param
from agent.overhead import parameters as p
from agent.overhead.scheduling import wait_alone_seconds, wait_balanced_seconds
from agent.overhead.startup import start_seconds
from agent.overhead.translation import PAGE_BYTES, miss_ratio, nested_overhead
from agent.overhead.two_level import lock_holder_bound, overcommit, steal_overcommitted, total_delay_seconds, wake_seconds

delays = st.floats(0, 100)
shares = st.floats(0, 0.99)
costs = st.floats(0, 1e-3)


@given(delays, delays, shares, shares, costs)
def test_delay_of_a_container_a_sandbox_and_a_machine(host: float, inside: float, steal: float, hit: float, cost: float) -> None:
    """The same load outside and inside: a runtime's queue adds to the host's, a guest's is stretched by steal and woken by an exit."""
    container, sandbox = total_delay_seconds(host, 0.0, 0.0), total_delay_seconds(host, inside, 0.0)
    machine = total_delay_seconds(host, inside, steal) + wake_seconds(hit, cost, cost, 0.0)
    assert container <= sandbox <= machine
    if inside > 1e-9 * host and inside > 0:
        assert container < sandbox
    if cost > 1e-9 * sandbox and cost > 0:
        assert sandbox < machine


def within(param: Param) -> st.SearchStrategy[float]:
    return st.floats(param.lo, param.hi)


@given(within(p.SWITCH_PROCESS), within(p.INSTANCE_SWITCH), within(p.SWITCH_VCPU))
def test_switches(process: float, instance: float, vcpu: float) -> None:
    assert process <= process + instance <= process + vcpu


def test_levels_of_memory_are_ordered_as_they_stand() -> None:
    for name in ("lo", "mode", "hi"):
        latencies = [getattr(param, name) for param in (p.L1_SECONDS, p.L2_SECONDS, p.L3_SECONDS, p.DRAM_SECONDS)]
        assert latencies == sorted(latencies)


def test_starts() -> None:
    micro = start_seconds(p.CREATE_VM.mode, p.EMULATOR.mode, p.BOOT_SMALL.mode)
    assert p.INSTANTIATE.mode < p.SPAWN.mode < p.RUNTIME.mode < micro < start_seconds(p.CREATE_VM.mode, p.BOOT_DIRECT.mode)
    assert p.RUNTIME.mode < p.ENGINE.mode < p.BOOT_FULL.mode


@given(st.integers(1, 64), st.floats(0.01, 1), st.floats(0, 1), st.floats(1e-7, 1e-2))
def test_a_machine_with_cpus_of_its_own_waits_for_nobody(vcpus: int, busy: float, locked: float, off: float) -> None:
    ratio = overcommit(vcpus * busy, vcpus)
    assert steal_overcommitted(ratio) == 0
    assert lock_holder_bound(vcpus, ratio, locked, 1e-6, off) == 1
    assert wait_alone_seconds(0.0, off) == wait_balanced_seconds(vcpus, 0.0, off) == 0


@given(st.integers(1, 4096), st.floats(4096, 1e15), st.floats(0, 0.5), st.floats(1, 6))
def test_larger_pages_never_miss_more_and_a_nested_walk_never_pays(entries: int, span: float, walking: float, ratio: float) -> None:
    missed = [miss_ratio(entries, page, span) for page in (PAGE_BYTES, PAGE_BYTES << 9, PAGE_BYTES << 18)]
    assert missed == sorted(missed, reverse=True)
    assert all(0 <= one < 1 for one in missed)
    assert nested_overhead(walking, ratio) >= 0
