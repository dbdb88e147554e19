"""agent/overhead/bands.py against drawing: triangular parameters, each formula of the model with its defaults."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.snapshot import Param
from agent.overhead import memory, numa, sharing, startup, switching, two_level, wasm
from agent.overhead import parameters as p
from agent.overhead.bands import band, of, percentiles, summed

DRAWS = 20_000
"""2,000 have a noise of up to 6 % of their own in these percentiles."""

CASES: dict[str, tuple[Callable[..., float], tuple[Param, ...]]] = {
    "emulator": (
        lambda base, vcpu, iothread, shown: memory.qemu_bytes(base, vcpu, 8, iothread, 1, 16 * p.MIB * shown),
        (p.QEMU_BASE, p.QEMU_PER_VCPU, p.QEMU_PER_IOTHREAD, p.QEMU_VIDEO),
    ),
    "container": (
        lambda thread, process, cpu: memory.container_kernel_bytes(thread, 200, process, 20, cpu, 64, 5e6),
        (p.KERNEL_PER_THREAD, p.KERNEL_PER_PROCESS, p.KERNEL_PER_CPU),
    ),
    "code": (wasm.execution_factor, (p.CODE, p.GUARDED_BOUNDS, p.INTERRUPTION)),
    "code checked": (wasm.execution_factor, (p.CODE, p.CHECKED_BOUNDS, p.EPOCHS)),
    "machine starts": (startup.start_seconds, (p.CREATE_VM, p.BOOT_FULL)),
    "microVM starts": (lambda create, load, boot: startup.start_seconds(create, load, boot), (p.CREATE_VM, p.EMULATOR, p.BOOT_SMALL)),
    "switching": (lambda cost: switching.switching_overhead(1000, cost, 0.5), (p.SWITCH_PROCESS,)),
    "siblings": (lambda gain: 1 / sharing.sibling_speed(0.6, gain) - 1, (p.SIBLING_GAIN,)),
    "exits": (lambda rate, cost: two_level.exit_overhead(((rate, cost),), 1.0), (p.EXITS_BUSY, p.EXIT_KERNEL)),
    "remote": (
        lambda stall, scale: numa.numa_overhead(stall, 0.5 + 0.5 * max(1.0, 2.1 * scale), 1.0),
        (p.MEMORY_STALL, p.DISTANCE_LATENCY),
    ),
}


def drawn(formula: Callable[..., float], params: tuple[Param, ...]) -> list[float]:
    """5th, 50th and 95th percentile of draws with a fixed seed."""
    dice = random.Random(1)

    def one(param: Param) -> float:
        if param.lo > 0 and param.unit != "ratio":
            return exp(dice.triangular(log(param.lo), log(param.hi), log(param.mode)))
        return dice.triangular(param.lo, param.hi, param.mode)

    found = sorted(formula(*map(one, params)) for _ in range(DRAWS))
    return [found[int(share * DRAWS)] for share in (0.05, 0.5, 0.95)]


@pytest.mark.parametrize("name", CASES)
def test_percentiles_are_those_of_drawing(name: str) -> None:
    formula, params = CASES[name]
    expected, found = drawn(formula, params), of(formula, *params)
    print(f"\n{name}: drawn {expected}, found {found}")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=0.05)


@st.composite
def params(draw: st.DrawFn) -> Param:
    lo, mode, hi = sorted(draw(st.lists(st.floats(0, 1000), min_size=3, max_size=3)))
    return Param(name="any", unit=draw(st.sampled_from(["ratio", "seconds"])), lo=lo, mode=mode, hi=hi, source="drawn")


@pytest.mark.parametrize(("many", "few"), [(5000.0, 300.0), (100.0, 5000.0), (1.0, 0.0)])
def test_a_sum_is_what_is_drawn_of_it(many: float, few: float) -> None:
    short, long = p.EXIT_KERNEL, p.EXIT_USER
    expected = drawn(lambda one, other: many * one + few * other, (short, long))
    point, low, high = summed((many, short), (few, long))
    assert point == pytest.approx(many * short.mode + few * long.mode)
    assert (low, high) == pytest.approx((expected[0], expected[2]), rel=0.05)


@given(st.lists(st.tuples(st.floats(0, 1e6), params()), min_size=1, max_size=4))
def test_a_sum_contains_its_point_and_is_a_number(parts: list[tuple[float, Param]]) -> None:
    point, low, high = summed(*parts)
    assert 0 <= low <= point <= high < inf


def test_of_one_parameter_they_are_exact() -> None:
    assert of(lambda value: 3 * value, p.SWITCH_PROCESS) == tuple(3 * value for value in percentiles(p.SWITCH_PROCESS))


@given(params(), params(), params())
def test_a_band_contains_its_point_and_is_a_number(one: Param, two: Param, three: Param) -> None:
    for formula in (lambda a, b, c: a * b * c, lambda a, b, c: a + b + c, lambda a, b, c: (1 + a) * b + c):
        point, low, high = band(formula, one, two, three)
        assert 0 <= low <= point <= high < inf


@given(params())
def test_what_is_known_exactly_has_no_width(one: Param) -> None:
    known = Param(name="any", unit="seconds", lo=one.mode, mode=one.mode, hi=one.mode, source="known")
    assert band(lambda value: value + 1, known) == pytest.approx((one.mode + 1,) * 3)
