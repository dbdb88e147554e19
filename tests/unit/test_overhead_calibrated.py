"""agent/overhead/calibrated.py: each figure in its parameter's place, and nothing else moved."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.calibration import Calibration, Conditions, Figure, MachineIdentity, NodePair
from agent.model.physical import Node
from agent.model.snapshot import Param, Prediction
from agent.model.values import CpuSet
from agent.overhead import parameters as p
from agent.overhead.calibrated import DIRECT, busy_calibration, parameters_of
from agent.overhead.claims import claims
from agent.overhead.compose import predict
from agent.overhead.parameter_set import DEFAULTS, Parameters
from agent.overhead.window import Window
from tests.unit.overhead_hosts import host

# Which predictions a parameter is in. Those that are not calibrated are not asked for here.
USED_BY = {
    p.L1_SECONDS: {"walk_cost"},
    p.L2_SECONDS: {"walk_cost"},
    p.L3_SECONDS: {"walk_cost", "shared_cache"},
    p.DRAM_SECONDS: {"walk_cost", "shared_cache"},
    p.SWITCH_PROCESS: {"switching"},
    p.WAKE: {"run_queue_delay", "steal", "cpu_pressure"},
    p.WAKE_GUEST: {"run_queue_delay", "steal", "cpu_pressure"},
    p.INSTANCE_SWITCH: set(),
    p.CHECKED_BOUNDS: {"execution"},
    p.INTERRUPTION: {"execution"},
    p.EPOCHS: set(),
    p.FUEL: set(),
    p.EXIT_KERNEL: {"exit_time"},
    p.EXIT_USER: {"exit_time"},
    p.DISTANCE_LATENCY: {"remote_memory"},
}


QUIET = Conditions(0.05)


def calibration(*figures: Figure, nodes: tuple[NodePair, ...] = (), conditions: Conditions = QUIET) -> Calibration:
    return Calibration(
        schema="stratascope-calibration/1",
        taken_at=datetime(2026, 11, 1, tzinfo=UTC),
        version="1",
        machine=MachineIdentity(),
        cpu=0,
        seconds=1.0,
        conditions=conditions,
        figures=figures,
        nodes=nodes,
    )


def predictions(given_: Parameters) -> dict[tuple[str, str], Prediction]:
    return {(one.workload, one.component): one for one in predict(Window(after=host(1.0), before=host(), seconds=10.0, given=given_))}


def test_names_of_parameters_are_unique() -> None:
    names = [param.name for param in vars(p).values() if isinstance(param, Param)]
    assert len(names) == len(set(names))


def test_a_figure_takes_the_place_of_its_default() -> None:
    found = parameters_of(calibration(Figure(name="latency_l2", unit="seconds", value=4e-9, lo=3.9e-9, hi=4.5e-9, chunks=40)))
    measured = found[p.L2_SECONDS]
    # Another run may say fifteen percent less, or more.
    assert (measured.lo, measured.mode, measured.hi) == pytest.approx((3.9e-9 / 1.15, 4e-9, 4.5e-9 * 1.15))
    assert measured.origin == "calibrated"
    assert "5%" in measured.source
    assert found[p.L1_SECONDS] is p.L1_SECONDS
    assert [param.name for param in found.better] == [p.L2_SECONDS.name]


def test_every_calibrated_parameter_is_known_here() -> None:
    figures = [Figure(name=name, unit="any", value=1.0, lo=1.0, hi=1.0, chunks=40) for name in (*DIRECT, "wake_delay")]
    nodes = (NodePair(0, 0, 1e-7, 1e9), NodePair(0, 1, 2e-7, 1e9))
    found = parameters_of(calibration(*figures, nodes=nodes), host().physical.nodes)
    assert {param.name for param in found.better} == {param.name for param in USED_BY}


@given(
    st.sampled_from(sorted(USED_BY, key=lambda param: param.name)),
    st.tuples(st.floats(0, 1e-3), st.floats(0, 1e-3), st.floats(0, 1e-3)).map(sorted),
)
def test_a_parameter_moves_its_own_components_only(param: Param, interval: list[float]) -> None:
    """A calibrated parameter is in what uses it, and no other prediction has another value, interval or input."""
    before = predictions(DEFAULTS)
    lo, mode, hi = interval
    after = predictions(Parameters((replace(param, lo=lo, mode=mode, hi=hi, origin="calibrated"),)))
    assert after.keys() == before.keys()
    moved = {component for (id_, component), one in after.items() if one != before[id_, component]}
    assert moved <= USED_BY[param]
    for one in after.values():
        assert 0 <= one.lo <= one.value <= one.hi


def test_a_measured_switch_is_predicted_with() -> None:
    found = parameters_of(calibration(Figure(name="switch_process", unit="seconds", value=2e-6, lo=2e-6, hi=3e-6, chunks=80)))
    before, after = predictions(DEFAULTS)["c0ffee", "switching"], predictions(found)["c0ffee", "switching"]
    assert after.inputs["switch_seconds"] == 2e-6
    assert after.value / before.value == pytest.approx(2e-6 / p.SWITCH_PROCESS.mode)


def test_distances_are_what_was_measured_over_what_the_firmware_says() -> None:
    nodes = (Node(os_index=0, cpus=CpuSet((0,)), distances={0: 10, 1: 20}), Node(os_index=1, cpus=CpuSet((1,)), distances={0: 20, 1: 10}))
    pairs = (NodePair(0, 0, 1e-7, 1e9), NodePair(0, 1, 1.8e-7, 1e9), NodePair(1, 0, 2.2e-7, 1e9), NodePair(1, 1, 1e-7, 1e9))
    found = parameters_of(calibration(nodes=pairs), nodes)[p.DISTANCE_LATENCY]
    assert found.lo == pytest.approx(0.9)
    assert found.hi == pytest.approx(1.1)
    assert not parameters_of(calibration(nodes=pairs[1:2]), nodes).better
    assert not parameters_of(calibration(nodes=pairs)).better


def test_a_band_of_the_document_is_judged_by_what_was_measured() -> None:
    found = parameters_of(calibration(Figure(name="latency_dram", unit="seconds", value=80e-9, lo=73.6e-9, hi=80e-9, chunks=40)))
    verdicts = {claim.id: claim for claim in claims((), (), found)}
    assert verdicts["latency_DRAM"].verdict == "holds"
    assert verdicts["latency_DRAM"].evidence == "64..92 ns calibrated"
    assert verdicts["latency_L1"].evidence.endswith("by default")


BOUNDS = ("latency_dram", "switch_process", "checked_bounds", "exit_kernel")


@pytest.mark.parametrize("name", BOUNDS)
@given(load=st.floats(0, 1), more=st.floats(0, 1))
def test_the_busier_the_host_the_wider_the_interval(name: str, load: float, more: float) -> None:
    default = DIRECT[name]
    figure = Figure(name=name, unit=default.unit, value=1e-7, lo=0.9e-7, hi=1.2e-7, chunks=40)

    def param(share: float) -> Param:
        return parameters_of(calibration(figure, conditions=Conditions(share)))[default]

    narrow, wide = param(min(load, more)), param(max(load, more))
    assert wide.lo <= narrow.lo <= narrow.mode == wide.mode <= narrow.hi <= wide.hi
    if max(load, more) <= 0.1:
        assert (wide.lo, wide.hi) == (narrow.lo, narrow.hi)
    elif min(load, more) <= 0.1:
        assert wide.hi >= narrow.hi * 1.1 * 0.999


@pytest.mark.parametrize(
    "conditions", [Conditions(0.4), Conditions(0.01, 0.3), Conditions(None, None, 0.2)], ids=["pressure", "steal", "delay"]
)
def test_whatever_disturbed_the_run_is_said_with_what_to_do(conditions: Conditions) -> None:
    figure = Figure(name="latency_dram", unit="seconds", value=80e-9, lo=73.6e-9, hi=80e-9, chunks=40)
    given_ = parameters_of(calibration(figure, conditions=conditions))
    (finding,) = busy_calibration(given_)
    assert given_.busy_at == conditions.load
    assert f"{conditions.load:.0%}" in finding.evidence
    assert finding.remedy
    assert finding.remedy.startswith("agent calibrate")


@pytest.mark.parametrize("conditions", [Conditions(), Conditions(0.1), Conditions(0.02, 0.05, 0.09)])
def test_of_a_quiet_run_nothing_is_said(conditions: Conditions) -> None:
    figure = Figure(name="latency_dram", unit="seconds", value=80e-9, lo=73.6e-9, hi=80e-9, chunks=40)
    assert busy_calibration(parameters_of(calibration(figure, conditions=conditions))) == ()
    assert busy_calibration(DEFAULTS) == ()
