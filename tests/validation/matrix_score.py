"""How good forecasts are: intervals that are scored by their width and their misses, beside those of "as in the last window".

The rival's intervals are learnt as the product learns its own (`agent.overhead.learned`), window after window, with nothing of the window
itself. A cell is one component of one workload in one run. Where it never changes, both are right, and it is counted apart.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from agent.model.components import COMPONENTS, UNITS
from agent.overhead.learned import Interval, Track, interval_score, learn, learned_interval
from tests.validation.matrix_rows import Figure, Row

ACTIVE = 1e-3
"""CPU time a second above which a workload is active."""
SPEAKING = 0.02
"""Figures above this say something in hi/lo, where they are a share or a time."""
SPEAKING_PRIOR = 0.01
_WEIGHT = 1.0
"""All windows of the rival count alike: only its intervals are asked for."""

Key = tuple[int, str, str]
"""Run, workload, component."""


@dataclass(kw_only=True)
class Tally:
    """Of the windows of one cell that are steady, or at changes; `had`: something was said of them.

    `ours` and `rivals` are scores of the same windows.
    """

    active: int = 0
    measured: int = 0
    had: int = 0
    inside: int = 0
    judged: int = 0
    widths: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    rivals: list[float] = field(default_factory=list)

    def ratio(self, margin: float) -> float | None:
        """Of the mean scores; None where no window has both."""
        if not self.ours:
            return None
        return (sum(self.ours) / len(self.ours) + margin) / (sum(self.rivals) / len(self.rivals) + margin)


@dataclass(kw_only=True)
class Cell:
    """`first`: one of its rows. `constant`: it never changed by more than nothing; `silent`: it was never measured."""

    first: Row
    constant: bool
    silent: bool
    steady: Tally
    changes: Tally

    @property
    def margin(self) -> float:
        """What is added to both scores: 1 % of the bound of a share, what is negligible of any other."""
        if self.first.unit == "CPUs" or (self.first.unit == "ratio" and self.first.most is not None):
            return 0.01 * (self.first.most or 1.0)
        return UNITS[self.first.unit].negligible


def forecasts(row: Row) -> Figure | None:
    """What was said of a window before it began."""
    return row.forecast


def estimates(row: Row) -> Figure | None:
    """What was said of a window from its counters, with whichever interval it was shown."""
    return row.shown


def contention(row: Row) -> Figure | None:
    """The same by who competes alone, where it is said in two ways."""
    return row.contention


Said = Callable[[Row], Figure | None]


def cells(rows: Iterable[Row], learn_windows: int, said: Said = forecasts) -> tuple[Cell, ...]:
    """Of all that the host counts and of workloads that were active, in windows from `learn_windows` on."""
    by_cell: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        by_cell[row.run, row.workload, row.component].append(row)
    scored = (_cell(sorted(of_it, key=lambda row: row.window), learn_windows, said) for of_it in by_cell.values())
    return tuple(cell for cell in scored if cell is not None)


def _cell(rows: Sequence[Row], learn_windows: int, said: Said) -> Cell | None:
    """None of what the host does not count, and of who was never active."""
    late = [row for row in rows if row.window >= learn_windows and _active(row)]
    if not late or not COMPONENTS[rows[0].component].measured_by:
        return None
    figures = [row.measured for row in late if row.measured is not None]
    least = UNITS[rows[0].unit].negligible
    constant = bool(figures) and max(figures) - min(figures) <= least
    cell = Cell(first=rows[-1], constant=constant, silent=not figures, steady=Tally(), changes=Tally())
    for row, rival in zip(rows, _rivals(rows, least), strict=True):
        if row.window >= learn_windows and _active(row):
            _count(cell.changes if row.change else cell.steady, row, said(row), rival, least)
    return cell


def _rivals(rows: Sequence[Row], least: float) -> Iterator[Interval | None]:
    """For each window "as in the last one", with what that was off by until then; None where nobody could say it."""
    track, last = Track(), None
    for row in rows:
        bound = math.inf if row.most is None else row.most
        yield None if last is None else learned_interval(track, last, least, bound)
        if row.measured is None:
            continue
        if last is not None:
            learn(track, last, row.measured, least=least, most=bound, weight=_WEIGHT)
        last = row.measured


def _count(tally: Tally, row: Row, figure: Figure | None, rival: Interval | None, least: float) -> None:
    tally.active += 1
    tally.measured += row.measured is not None
    tally.had += figure is not None
    if figure is None or row.measured is None:
        return
    _, low, high = figure
    tally.judged += 1
    tally.inside += low - least <= row.measured <= high + least
    if row.measured > (SPEAKING if row.unit in ("ratio", "seconds/second", "CPUs") else 0.0):
        tally.widths.append(high / low if low > 0 else math.inf)
    if rival is not None:
        tally.ours.append(interval_score((low, high), row.measured))
        tally.rivals.append(interval_score(rival, row.measured))


@dataclass(kw_only=True)
class Line:
    """A line of the table: of the cells that change. None: nothing to say it of."""

    cells: int
    had: float | None
    had_of_measured: float | None
    inside: float | None
    width: float | None
    ratio: float | None


def line(tallies: Sequence[tuple[Tally, float]]) -> Line:
    """`tallies` with their margins."""
    ratios = [ratio for tally, margin in tallies if (ratio := tally.ratio(margin)) is not None]
    active, measured, had, judged, inside = (
        sum(getattr(tally, name) for tally, _ in tallies) for name in ("active", "measured", "had", "judged", "inside")
    )
    widths = [width for tally, _ in tallies for width in tally.widths]
    return Line(
        cells=len(ratios),
        had=had / active if active else None,
        had_of_measured=min(1.0, had / measured) if measured else None,
        inside=inside / judged if judged else None,
        width=median(widths) if widths else None,
        ratio=median(ratios) if ratios else None,
    )


@dataclass(kw_only=True)
class Prior:
    """Intervals before anything was learnt, in the first window of a fresh agent."""

    figures: int
    inside: float
    width: float | None


def priors(rows: Iterable[Row]) -> dict[str, Prior]:
    """By component."""
    first: dict[str, list[tuple[bool, float | None]]] = defaultdict(list)
    for row in rows:
        if row.window == 0 and row.estimate is not None and row.measured is not None and _active(row):
            _, low, high = row.estimate
            least = UNITS[row.unit].negligible
            width = (high / low if low > 0 else math.inf) if row.measured > SPEAKING_PRIOR else None
            first[row.component].append((low - least <= row.measured <= high + least, width))
    summed = {}
    for component, figures in first.items():
        widths = [width for _, width in figures if width is not None]
        inside = sum(held for held, _ in figures) / len(figures)
        summed[component] = Prior(figures=len(figures), inside=inside, width=median(widths) if widths else None)
    return summed


class Offence(NamedTuple):
    """What cannot be true: of which figure of which row."""

    complaint: str
    figure: str
    row: Row
    words: str


def offences(rows: Iterable[Row]) -> Iterator[Offence]:
    """Whatever the load: figures that are no numbers, out of order, below nothing, above their bound; contention of who did not run.

    What was said of a window before it does not know of what changed in it, nor whether anything would run.
    """
    for row in rows:
        least = UNITS[row.unit].negligible
        for name, figure in (("estimate", row.estimate), ("shown", row.shown), ("forecast", row.forecast)):
            if figure is None:
                continue
            value, low, high = figure
            complaint = ""
            if not all(math.isfinite(number) for number in figure):
                complaint = "no numbers"
            elif not -least <= low <= value + least <= high + 2 * least:
                complaint = "out of order"
            elif name == "forecast" and (row.change or row.ran == 0):
                continue
            elif row.most is not None and high > row.most * (1 + 1e-9) + least:
                complaint = f"above its bound, {row.most:.4g}"
            elif row.kind == "contention" and row.ran == 0 and high > least:
                complaint = "it did not run"
            if complaint:
                where = f"{row.workload} ({row.paradigm}), window {row.window}"
                yield Offence(complaint.partition(",")[0], name, row, f"{where}: {value:.4g} [{low:.4g}, {high:.4g}]: {complaint}")


def _active(row: Row) -> bool:
    return row.ran is not None and row.ran > ACTIVE
