"""The parameters that formulas are given, the defaults or what the host has measured of itself; and the bounds that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import product

from agent.model.snapshot import Param
from agent.model.values import Fact


class Parameters(Fact, frozen=True, dict=True):
    """Asked with a default, it answers with what is known better, or with the default itself.

    `busy_at`: the load of the run that measured them, where that disturbed it; their intervals are wider for it.
    """

    better: tuple[Param, ...] = ()
    busy_at: float | None = None

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.better)

    def __getitem__(self, default: Param) -> Param:
        return self._by_name.get(default.name, default)

    @cached_property
    def _by_name(self) -> dict[str, Param]:
        return {param.name: param for param in self.better}


DEFAULTS = Parameters()


def bounds(formula: Callable[..., float], *params: Param) -> tuple[float, float, float]:
    """Point, lowest and highest value over the corners of the intervals: hard bounds where `formula` is monotone in each parameter."""
    point = formula(*(param.mode for param in params))
    corners = [formula(*corner) for corner in product(*(sorted({param.lo, param.hi}) for param in params))]
    return point, min(point, *corners), max(point, *corners)
