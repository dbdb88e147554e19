"""agent/model/components.py: every cost that the formulas yield has its row, every unit its place in the metrics and in the views."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from agent.model import components
from agent.model.components import COMPONENTS, METRIC_UNITS, UNITS, Component, Unit
from agent.model.snapshot import Prediction
from agent.overhead import calibrated
from agent.overhead.compose import predict
from agent.overhead.window import Window
from exporters.views.figures import figure, interval, meaning
from tests.need import TOP
from tests.unit.overhead_hosts import host

METRIC_NAME = re.compile(r"[a-z]+(_[a-z]+)*")


def predicted() -> tuple[Prediction, ...]:
    return predict(Window(after=host(1.0), before=host(), seconds=10.0))


def test_every_row_is_listed_under_its_name() -> None:
    rows = [value for value in vars(components).values() if isinstance(value, Component)]
    assert {row.name: row for row in rows} == COMPONENTS
    assert len(rows) == len(COMPONENTS)


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=lambda component: component.name)
def test_every_row_belongs_to_a_formula(component: Component) -> None:
    modules = "".join(path.read_text() for path in sorted((TOP / "agent/overhead").glob("*.py")))
    assert re.search(rf"\bprediction\(\s*\w+,\s*{component.name.upper()},", modules)


def test_formulas_say_which_row_they_fill() -> None:
    modules = "".join(path.read_text() for path in sorted((TOP / "agent/overhead").glob("*.py")) if path.name != "prediction.py")
    filled = re.findall(r"\bprediction\(\s*\w+,\s*([A-Z]\w+)", modules)
    assert {name.lower() for name in filled} == COMPONENTS.keys()


def test_what_the_formulas_yield_is_as_its_row_says() -> None:
    for prediction in predicted():
        row = COMPONENTS[prediction.component]
        paradigm = next(workload.paradigm for workload in host(1.0).workloads if workload.id == prediction.workload)
        assert (prediction.unit, prediction.kind) == (row.unit, row.kind)
        assert paradigm in row.layers
        assert ("no_counterpart" in prediction.validity) == (paradigm not in row.measured_by)
        assert prediction.measured is None or prediction.measured_from == row.measured_by[paradigm]
        assert row.most is None or prediction.hi <= row.most
        # What is kept across restarts holds plain numbers.
        numbers = (prediction.value, prediction.lo, prediction.hi, *prediction.inputs.values())
        assert {type(number) for number in numbers} <= {float, int}


def test_every_unit_has_a_base_unit_for_metrics() -> None:
    assert tuple(UNITS) == get_args(Unit)
    assert all(METRIC_NAME.fullmatch(row.metric) and row.negligible > 0 for row in UNITS.values())
    assert {row.metric for row in UNITS.values()} == set(METRIC_UNITS)


@pytest.mark.parametrize("unit", get_args(Unit))
def test_every_unit_can_be_read(unit: Unit) -> None:
    assert figure(1.5, unit)
    assert " to " in interval(1.5, 2.5, unit)


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=lambda component: component.name)
def test_every_component_can_be_read(component: Component) -> None:
    assert meaning(component.name) == component.meaning
    assert component.bound
    assert component.words.replace(" ", "_") == component.name


def test_parameters_that_a_host_measures_are_in_units_that_metrics_have() -> None:
    assert {param.unit for param in calibrated.DIRECT.values()} <= {"ratio", "seconds"}
