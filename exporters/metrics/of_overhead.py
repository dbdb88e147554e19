"""Metrics of the model: what is predicted, what was measured beside it, and the claims and parameters behind it.

Measured and predicted never share a name, and a family has one base unit. A prediction in a unit that is none of `UNITS`, or whose base
unit has no row here, is in the document only: a test fails, and no scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.components import UNITS
from agent.model.loss import Loss
from agent.model.snapshot import Claim, Param, Prediction, Score, Snapshot
from exporters.metrics.family import Column, Family, Row, Sample, declared, from_columns, from_rows, gauge, info, labelled


def overhead_families(snapshot: Snapshot) -> Iterator[Family]:
    predictions = snapshot.predictions
    yield from from_rows(_BY_UNIT, predictions)
    yield from from_columns(_BY_COMPONENT, [(prediction.workload, prediction.component) for prediction in predictions], predictions)
    yield from from_rows(_LOSSES, snapshot.losses)
    yield from from_rows(_SCORES, snapshot.scores)
    yield from from_rows(_CLAIMS, snapshot.claims)
    yield from from_rows(_PARAMETERS, snapshot.parameters)


def _in_base_unit(predictions: tuple[Prediction, ...], base: str) -> list[Prediction]:
    return [prediction for prediction in predictions if (unit := UNITS.get(prediction.unit)) and unit.metric == base]


def _predicted(predictions: tuple[Prediction, ...], base: str) -> Iterator[Sample]:
    for prediction in _in_base_unit(predictions, base):
        for bound, value in (("lo", prediction.lo), ("mode", prediction.value), ("hi", prediction.hi)):
            yield (prediction.workload, prediction.component, bound), value


def _measured(predictions: tuple[Prediction, ...], base: str) -> Iterable[Sample]:
    return [((prediction.workload, prediction.component), prediction.measured) for prediction in _in_base_unit(predictions, base)]


def _parameters(parameters: tuple[Param, ...], unit: str) -> Iterator[Sample]:
    for parameter in parameters:
        if parameter.unit == unit:
            for bound, value in (("lo", parameter.lo), ("mode", parameter.mode), ("hi", parameter.hi)):
                yield (parameter.name, parameter.origin, bound), value


_BY_UNIT: tuple[Row[tuple[Prediction, ...]], ...] = (
    gauge(
        "strata_overhead_predicted_ratio",
        "Cost of a workload's layers by component as predicted, not measured: the point (mode) and its interval (lo, hi)",
        "ratio",
        "the model, agent/overhead",
        lambda predictions: _predicted(predictions, "ratio"),
        labels=("workload", "component", "bound"),
    ),
    gauge(
        "strata_overhead_measured_ratio",
        "What the host measured of a component that was predicted, over the same time",
        "ratio",
        "`measured_from` of the prediction in `agent snapshot`",
        lambda predictions: _measured(predictions, "ratio"),
        labels=("workload", "component"),
    ),
    gauge(
        "strata_overhead_predicted_bytes",
        "Cost of a workload's layers by component as predicted, not measured: the point (mode) and its interval (lo, hi)",
        "bytes",
        "the model, agent/overhead",
        lambda predictions: _predicted(predictions, "bytes"),
        labels=("workload", "component", "bound"),
    ),
    gauge(
        "strata_overhead_measured_bytes",
        "What the host measured of a component that was predicted, over the same time",
        "bytes",
        "`measured_from` of the prediction in `agent snapshot`",
        lambda predictions: _measured(predictions, "bytes"),
        labels=("workload", "component"),
    ),
    gauge(
        "strata_overhead_predicted_references",
        "Cost of a workload's layers by component as predicted, not measured: the point (mode) and its interval (lo, hi)",
        "references",
        "the model, agent/overhead",
        lambda predictions: _predicted(predictions, "references"),
        labels=("workload", "component", "bound"),
    ),
    gauge(
        "strata_overhead_predicted_seconds",
        "Cost of a workload's layers by component as predicted, not measured: the point (mode) and its interval (lo, hi)",
        "seconds",
        "the model, agent/overhead",
        lambda predictions: _predicted(predictions, "seconds"),
        labels=("workload", "component", "bound"),
    ),
    gauge(
        "strata_overhead_predicted_cpus",
        "Cost of a workload's layers by component as predicted, not measured: the point (mode) and its interval (lo, hi)",
        "CPUs",
        "the model, agent/overhead",
        lambda predictions: _predicted(predictions, "cpus"),
        labels=("workload", "component", "bound"),
    ),
    gauge(
        "strata_overhead_measured_cpus",
        "What the host measured of a component that was predicted, over the same time",
        "CPUs",
        "`measured_from` of the prediction in `agent snapshot`",
        lambda predictions: _measured(predictions, "cpus"),
        labels=("workload", "component"),
    ),
    gauge(
        "strata_overhead_predicted_per_second",
        "Cost of a workload's layers by component as predicted, not measured: the point (mode) and its interval (lo, hi)",
        "per second",
        "the model, agent/overhead",
        lambda predictions: _predicted(predictions, "per_second"),
        labels=("workload", "component", "bound"),
    ),
    gauge(
        "strata_overhead_measured_per_second",
        "What the host measured of a component that was predicted, over the same time",
        "per second",
        "`measured_from` of the prediction in `agent snapshot`",
        lambda predictions: _measured(predictions, "per_second"),
        labels=("workload", "component"),
    ),
)

_BY_COMPONENT: tuple[Column[Prediction], ...] = labelled(
    ("workload", "component"),
    gauge(
        "strata_overhead_inside_interval",
        "Whether what was measured lies in the predicted interval",
        "1 or 0",
        "computed from both",
        lambda prediction: None if prediction.inside is None else int(prediction.inside),
    ),
    gauge(
        "strata_overhead_smoothed_ratio",
        "Measured over predicted, smoothed with a half-life of 15 minutes",
        "ratio",
        "computed from both",
        lambda prediction: prediction.smoothed_ratio,
        level="full",
    ),
)

_LOSSES: tuple[Row[tuple[Loss, ...]], ...] = (
    gauge(
        "strata_overhead_lost_ratio",
        "Share of the time that a workload wants to run which it is predicted to lose by waiting and by its layers, 0 where it is idle, "
        "absent where a part is not known: the point (mode) and its interval (lo, hi)",
        "ratio",
        "the model, agent/overhead/lost.py",
        lambda losses: [
            ((loss.workload, bound), value) for loss in losses for bound, value in (("lo", loss.lo), ("mode", loss.value), ("hi", loss.hi))
        ],
        labels=("workload", "bound"),
    ),
)

_SCORES: tuple[Row[tuple[Score, ...]], ...] = (
    gauge(
        "strata_overhead_interval_coverage_ratio",
        "Share of the last day's windows in which what was measured lay in the interval that was forecast, where nine of ten are aimed at",
        "ratio",
        "computed from both",
        lambda scores: [((score.component,), score.coverage) for score in scores],
        labels=("component",),
    ),
    gauge(
        "strata_overhead_interval_score_ratio",
        "Interval score (width and misses) of a component's forecasts over that of the last window's figure, median over all figures: "
        "above 1 the forecast decides less",
        "ratio",
        "computed from both",
        lambda scores: [((score.component,), score.score_ratio) for score in scores],
        labels=("component",),
    ),
)

_CLAIMS: tuple[Row[tuple[Claim, ...]], ...] = (
    info(
        "strata_overhead_claim_info",
        "The concept document's claims on the order of costs, and what becomes of them on this host",
        "`claims` of `agent snapshot`",
        lambda claims: [((claim.id, claim.basis, claim.verdict), 1) for claim in claims],
        labels=("claim", "basis", "verdict"),
        level="full",
    ),
)

_PARAMETERS: tuple[Row[tuple[Param, ...]], ...] = (
    gauge(
        "strata_overhead_parameter_ratio",
        "Parameters of the model that this host measured of itself: the point (mode) and the interval around it (lo, hi)",
        "ratio",
        "`agent calibrate`",
        lambda parameters: _parameters(parameters, "ratio"),
        labels=("parameter", "origin", "bound"),
        level="full",
    ),
    gauge(
        "strata_overhead_parameter_seconds",
        "Parameters of the model that this host measured of itself: the point (mode) and the interval around it (lo, hi)",
        "seconds",
        "`agent calibrate`",
        lambda parameters: _parameters(parameters, "seconds"),
        labels=("parameter", "origin", "bound"),
        level="full",
    ),
)

OVERHEAD_METRICS = declared(_BY_UNIT, _BY_COMPONENT, _LOSSES, _SCORES, _CLAIMS, _PARAMETERS)
