"""What an experiment leaves: a prediction that was made before, and the measurement that was taken after; all of them, as one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

Interval = tuple[float, float, float]
"""Point, lowest, highest."""

# What is as good as nothing, by unit: a ratio of two such is no miss.
_NOTHING = {"s/s": 5e-3, "s": 1e-6, "bytes": 4096.0, "CPUs": 5e-3, "times": 0.0}


@dataclass(frozen=True, kw_only=True)
class Row:
    """`calibrated`: its parameters are this host's own, so that its interval has to be narrow."""

    component: str
    what: str
    predicted: Interval
    measured: float
    unit: str
    calibrated: bool = False

    @property
    def ratio(self) -> float:
        nothing = _NOTHING[self.unit]
        return (self.measured + nothing) / (self.predicted[0] + nothing)

    @property
    def inside(self) -> bool:
        """What is as good as nothing may lie beside the interval."""
        nothing = _NOTHING[self.unit]
        return self.predicted[1] - nothing <= self.measured <= self.predicted[2] + nothing

    @property
    def width(self) -> float:
        nothing = _NOTHING[self.unit]
        return (self.predicted[2] + nothing) / (self.predicted[1] + nothing)

    def __str__(self) -> str:
        point, low, high = (f"{figure:.4g}" for figure in self.predicted)
        mark = "      " if self.inside else "OUTSIDE"
        return (
            f"{self.component:13} {mark:7} {self.ratio:5.2f}  {self.measured:10.4g}  {point:>9} [{low}, {high}] {self.unit:5}  {self.what}"
        )


def score(rows: Iterable[Row]) -> tuple[float, float, float]:
    """Share inside, median ratio, widest interval of what is calibrated (1 where nothing is)."""
    every = list(rows)
    widths = [row.width for row in every if row.calibrated]
    return sum(row.inside for row in every) / len(every), median(row.ratio for row in every), max(widths, default=1.0)


def by_component(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.component, []).append(row)
    return found


def table(rows: Iterable[Row]) -> Iterator[str]:
    every = list(rows)
    yield "component             ratio    measured  predicted"
    yield from map(str, every)
    for name, own in (*by_component(every).items(), ("all", every)):
        inside, ratio, width = score(own)
        narrow = f", calibrated intervals up to {width:.2f} wide" if any(row.calibrated for row in own) else ""
        yield f"{name}: {sum(row.inside for row in own)} of {len(own)} inside ({inside:.0%}), median ratio {ratio:.2f}{narrow}"
