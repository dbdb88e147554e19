"""The document: a host, what its workloads' layers are predicted to cost, and what could not be known."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from agent.model.device import Devices
from agent.model.host import Identity
from agent.model.logical import Logical
from agent.model.physical import Physical
from agent.model.values import Fact, Gap
from agent.model.workload import Workload


class Prediction(Fact, frozen=True):
    """One figure of the model, never a measurement: `measured` stands beside it where the host has a counterpart.

    intrinsic: there on an idle host, too; contention: follows from the present load. `ratio` is measured / value.
    `inside`: lo <= measured <= hi.
    """

    workload: str
    component: str
    value: float
    lo: float
    hi: float
    unit: str
    kind: Literal["intrinsic", "contention"]
    formula: str
    inputs: dict[str, float]
    validity: tuple[str, ...]
    measured: float | None = None
    measured_from: str | None = None
    ratio: float | None = None
    inside: bool | None = None


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
    predictions: tuple[Prediction, ...]
    gaps: tuple[Gap, ...]
