"""Predictions for a host, each sound in itself."""

from __future__ import annotations

import math

from agent.model.host import Host
from agent.model.snapshot import Prediction
from agent.overhead.compose import predict
from agent.overhead.window import Window
from tests.unit.overhead_hosts import host

Key = tuple[str, str]
"""A workload and a component."""

WALKS = {"walk_references", "walk_cost"}


def predictions(after: Host | None = None, before: Host | None = None, seconds: float | None = 10.0) -> dict[Key, Prediction]:
    """By workload and component."""
    found = predict(Window(after=after or host(1.0), before=before or host(), seconds=seconds))
    for one in found:
        figures = (one.value, one.lo, one.hi, *one.inputs.values())
        assert all(math.isfinite(figure) and figure >= 0 for figure in figures), one
        assert one.lo <= one.value <= one.hi, one
        assert one.measured is None or 0 <= one.measured < math.inf, one
        assert one.validity
    named = {(one.workload, one.component): one for one in found}
    assert len(named) == len(found)
    return named
