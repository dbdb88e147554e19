"""agent/overhead/parameters.py: an interval contains its point."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.model.snapshot import Param
from agent.overhead import parameters
from agent.overhead.parameter_set import bounds

PARAMS = [value for value in vars(parameters).values() if isinstance(value, Param)]


def test_every_parameter_is_ordered_positive_and_has_a_source() -> None:
    assert PARAMS
    for param in PARAMS:
        assert 0 <= param.lo <= param.mode <= param.hi, param.name
        assert param.source
        assert param.unit


@st.composite
def params(draw: st.DrawFn) -> Param:
    lo, mode, hi = sorted(draw(st.lists(st.floats(0.001, 1000), min_size=3, max_size=3)))
    return Param(name="any", unit="ratio", lo=lo, mode=mode, hi=hi, source="drawn")


@given(params(), params(), params())
def test_an_interval_contains_its_point(one: Param, two: Param, three: Param) -> None:
    point, lo, hi = bounds(lambda a, b, c: a * b / c, one, two, three)
    assert lo <= point <= hi
    assert point == one.mode * two.mode / three.mode
    assert lo == one.lo * two.lo / three.hi
    assert hi == one.hi * two.hi / three.lo


@given(params())
def test_the_point_counts_even_where_a_formula_is_not_monotone(one: Param) -> None:
    point, lo, hi = bounds(lambda a: -((a - one.mode) ** 2), one)
    assert lo <= point <= hi
    assert point == 0
