"""agent/overhead/claims.py: orders are judged by differences, and a host by what it measured."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent.model.snapshot import Param, Prediction, Verdict
from agent.overhead import parameters
from agent.overhead.claims import claims, order, within
from agent.overhead.parameter_set import Parameters
from tests.unit.overhead_hosts import container, machine

ONE = Param(name="one", unit="seconds", lo=1.0, mode=2.0, hi=9.0, source="made up")
TWO = Param(name="two", unit="seconds", lo=0.0, mode=1.0, hi=2.0, source="made up")


def test_what_both_sides_share_contradicts_nobody() -> None:
    """The intervals of one and of one + two overlap; their difference is never negative."""
    assert order((lambda a, b: a, lambda a, b: a + b), ONE, TWO) == "holds"
    assert order((lambda a, b: a + 1 + b, lambda a, b: a), ONE, TWO) == "violated"
    assert order((lambda a, b: a, lambda a, b: b), ONE, TWO) == "undecided"
    assert order((lambda a, b: 0, lambda a, b: a, lambda a, b: b), ONE, TWO) == "undecided"


@pytest.mark.parametrize(("low", "high", "verdict"), [(1, 10, "holds"), (0, 0.5, "violated"), (2, 3, "undecided"), (10, 20, "violated")])
def test_bands(low: float, high: float, verdict: Verdict) -> None:
    assert within(Param(name="any", unit="seconds", lo=1e-9, mode=2e-9, hi=9e-9, source="made up"), low, high) == verdict


def measured_here(*params: Param) -> Parameters:
    """The default values, as if this host had measured them of itself."""
    return Parameters(tuple(replace(param, origin="calibrated") for param in params))


ALL = [param for param in vars(parameters).values() if isinstance(param, Param)]
STRUCTURAL = {"scheduling_delay", "translation"}
"""Claims that hold by how the layers are stacked, whatever the parameters are."""


def test_the_document_is_not_always_right() -> None:
    """Code that computes is not slower in a virtual machine than in a sandbox: the one ordinal claim that evidence speaks against."""
    verdicts = {claim.id: claim.verdict for claim in claims((), (), measured_here(*ALL))}
    assert {id_ for id_, verdict in verdicts.items() if verdict != "holds"} == {"performance", "latency_L3", "latency_DRAM", "isolation"}
    assert parameters.CODE.mode > parameters.WALKING_COMPUTE.mode


def test_the_models_own_defaults_are_no_evidence() -> None:
    found = {claim.id: claim for claim in claims((), ())}
    assert {id_ for id_, claim in found.items() if claim.verdict == "holds"} == STRUCTURAL
    assert {id_ for id_, claim in found.items() if claim.verdict == "untested"} == found.keys() - STRUCTURAL - {"isolation"}
    assert found["latency_L1"].evidence == "until agent calibrate measures it: 1..2 ns by default"
    assert found["start_time"].evidence.startswith(
        "nothing here measures instantiate a compiled module, container through its engine and 1 more: "
    )


@pytest.mark.parametrize(
    ("id_", "params"),
    [
        ("latency_L1", (parameters.L1_SECONDS,)),
        ("latency_DRAM", (parameters.DRAM_SECONDS,)),
        ("context_switch", (parameters.SWITCH_PROCESS, parameters.INSTANCE_SWITCH, parameters.SWITCH_VCPU)),
        ("start_time", (parameters.INSTANTIATE, parameters.ENGINE, parameters.BOOT_FULL)),
    ],
)
def test_a_claim_is_tested_once_the_host_has_measured_all_that_decides_it(id_: str, params: tuple[Param, ...]) -> None:
    def verdict(*given: Param) -> Verdict:
        return next(claim.verdict for claim in claims((), (), measured_here(*given)) if claim.id == id_)

    assert verdict(*params) != "untested"
    assert [verdict(*params[:at], *params[at + 1 :]) for at in range(len(params))] == ["untested"] * len(params)


def delay(workload: str, measured: float | None, ran: float = 1.0) -> Prediction:
    inputs = {"own_busy_cpus": ran}
    return Prediction(
        workload=workload,
        component="run_queue_delay",
        value=1.0,
        lo=0.0,
        hi=9.0,
        unit="seconds/second",
        kind="contention",
        formula="any",
        inputs=inputs,
        validity=("ok",),
        measured=measured,
    )


def test_this_host_is_asked_where_it_measured_two_kinds() -> None:
    workloads = (container(), machine(), replace(container(), id="other"))

    def verdicts(*measured: float | None) -> list[Verdict]:
        predictions = [delay(workload.id, value) for workload, value in zip(workloads, measured, strict=True)]
        return [claim.verdict for claim in claims(workloads, predictions) if claim.basis == "measured"]

    assert verdicts(0.1, 0.5, 0.2) == ["holds"]
    assert verdicts(0.4, 0.3, 0.5) == ["violated"]
    assert verdicts(0.1, 0.5, 0.9) == ["undecided"]
    assert verdicts(0.1, None, 0.2) == []


def test_who_hardly_runs_hardly_waits() -> None:
    """A machine that ran for a hundredth of the time and waited as long lost more than a container that always ran."""
    workloads = (container(), machine())
    found = claims(workloads, [delay(workloads[0].id, 0.2), delay(workloads[1].id, 0.01, ran=0.01)])
    (claim,) = (claim for claim in found if claim.basis == "measured")
    assert (claim.verdict, claim.evidence) == (
        "holds",
        "containerization 0.167 of the time that it wants to run; virtualization 0.5 of the time that it wants to run",
    )
