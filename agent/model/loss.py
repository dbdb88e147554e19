"""The one total of each workload: of the time that it wants to run, the share that its layers are predicted to take."""

from __future__ import annotations

from typing import Literal

from agent.model.values import Fact


class Loss(Fact, frozen=True, kw_only=True):
    """Between nothing and all: the waiting for a CPU and, of the running, what it would not need on a core and on memory of its own.

    Absent where one of the parts that the workload can have is not known. Nothing of a workload that is `idle`: it hardly ran, and is not
    predicted to have waited.
    """

    workload: str
    component: Literal["lost_time"]
    value: float
    lo: float
    hi: float
    unit: Literal["ratio"]
    idle: bool = False
