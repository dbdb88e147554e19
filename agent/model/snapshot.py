"""The document: a host, what its workloads' layers are predicted to cost, and what could not be known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from agent.model.components import Kind, Unit
from agent.model.device import Devices
from agent.model.finding import Finding
from agent.model.host import Host, Identity
from agent.model.logical import Logical
from agent.model.loss import Loss
from agent.model.physical import Physical
from agent.model.values import Fact, Gap
from agent.model.workload import Workload

Expert = Literal["last", "fast", "slow", "formula"]
"""As in the last window, as in the last few, as in the last dozen, as the formula says of the last window."""


class Forecast(Fact, frozen=True, kw_only=True):
    """What the next window is expected to measure of a figure, by all windows up to now; `by` was nearest in those before."""

    value: float
    lo: float
    hi: float
    by: Expert


class ByContention(Fact, frozen=True):
    """What follows from who competes with a workload alone, where its figure may follow from how its own threads sleep, too."""

    value: float
    lo: float
    hi: float
    formula: str


class Prediction(Fact, frozen=True, kw_only=True):
    """One figure of the model, never a measurement: `measured` stands beside it where the host has a counterpart.

    It is an estimate of what this window's layers cost; `forecast` is of the next window.

    Name, unit and kind are those of its row in `components`. `ratio` is measured / value. `inside`: lo <= measured <= hi.
    """

    workload: str
    component: str
    value: float
    lo: float
    hi: float
    unit: Unit
    kind: Kind
    formula: str
    inputs: dict[str, float]
    validity: tuple[str, ...]
    measured: float | None = None
    measured_from: str | None = None
    ratio: float | None = None
    inside: bool | None = None
    smoothed_ratio: float | None = None
    """Measured over what the formula says, over the windows of a daemon, with a half-life of 15 minutes."""
    interval: Literal["prior", "learned"] = "prior"
    """Whether `lo` and `hi` follow from the parameters, or from what the figure was off by in `windows` windows before."""
    windows: int = 0
    coverage: float | None = None
    """The share of those windows in which what was measured lay in the interval."""
    forecast: Forecast | None = None
    by_contention: ByContention | None = None


class Score(Fact, frozen=True, kw_only=True):
    """How well a component's forecasts did, over all `figures` that have one and the windows of the last day.

    `coverage`: the share of windows in which what was measured lay inside; 0.9 is aimed at. `width`: of the intervals, in the unit of the
    component, the median over the figures. `score_ratio`: the interval score (width, and 20 times what is missed) over that of "as in the
    last window" with an interval learnt in the same way: the median, too.
    """

    component: str
    figures: int
    windows: int
    coverage: float
    width: float
    score_ratio: float


Verdict = Literal["holds", "violated", "undecided", "untested"]


class Claim(Fact, frozen=True, kw_only=True):
    """One ordinal claim of the concept document (`section`), judged by the model's intrinsic costs or by what was measured here.

    "untested": all that speaks for it, or against it, are default values of the model.
    """

    id: str
    section: str
    claim: str
    basis: Literal["model", "measured"]
    verdict: Verdict
    evidence: str


class Param(Fact, frozen=True, kw_only=True):
    """A parameter of the model: `mode` is the point, `lo` and `hi` the interval."""

    name: str
    unit: str
    lo: float
    mode: float
    hi: float
    source: str
    origin: Literal["default", "calibrated", "measured", "configured"] = "default"


class Agent(Fact, frozen=True):
    version: str


class Snapshot(Fact, frozen=True, kw_only=True):
    """Schema "stratascope/1". A value that is not known is left out; "max" is unlimited; 0 is a measurement."""

    schema: Literal["stratascope/1"]
    taken_at: datetime
    agent: Agent
    host: Identity
    physical: Physical
    logical: Logical
    devices: Devices
    workloads: tuple[Workload, ...]
    findings: tuple[Finding, ...]
    predictions: tuple[Prediction, ...]
    claims: tuple[Claim, ...]
    gaps: tuple[Gap, ...]
    losses: tuple[Loss, ...] = ()
    """One a workload all of whose parts are known."""
    parameters: tuple[Param, ...] = ()
    """Those of the model that this host has measured of itself."""
    scores: tuple[Score, ...] = ()
    """Those of the predictions of a daemon's windows."""


class Topology(Fact, frozen=True, kw_only=True):
    """The parts of the same document that describe the machine: under the same names, as `agent topology --format json` prints them."""

    schema: Literal["stratascope/1"]
    taken_at: datetime
    agent: Agent
    host: Identity
    physical: Physical
    logical: Logical
    gaps: tuple[Gap, ...]

    @classmethod
    def of(cls, host: Host, taken_at: float, version: str) -> Topology:
        return cls(
            schema="stratascope/1",
            taken_at=datetime.fromtimestamp(taken_at, UTC),
            agent=Agent(version),
            host=host.identity,
            physical=host.physical,
            logical=host.logical,
            gaps=host.gaps,
        )
