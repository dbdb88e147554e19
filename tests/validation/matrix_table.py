"""The matrix in print: for each component and level how good its forecasts were, steady and at changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tests.validation.matrix_plan import LEVELS, Run
from tests.validation.matrix_rows import Row
from tests.validation.matrix_score import Cell, Line, Tally, cells, contention, estimates, line, offences, priors

_HEAD = f"{'cells':>5} {'had':>5} {'had*':>5} {'inside':>6} {'hi/lo':>7} {'score':>6}"
_TWO_WAYS = ("run_queue_delay", "steal", "cpu_pressure")
_KEY = """
cells: component, workload and run, of those that change. had: of active windows, those with an interval; had*: of those with a measurement.
inside: of intervals, those that held. hi/lo: median, where measured is above 0.02. score: interval score over that of the last window's
figure, median over cells: below 1 is better. At changes: a neighbour started or stopped, or a quota changed, in the window or in one of the
two before it.
"""


def planned(run: Run) -> Iterator[str]:
    yield f"run {run.number}: {run.level}, {run.outside_cpus:.2f} CPUs wanted outside"
    for load in run.loads:
        words = [f"wants {load.cpus:.2f}"]
        words += [] if load.quota_cpus is None else [f"quota {load.quota_cpus:.2f}"]
        words += [] if load.weight is None else [f"weight {load.weight}"]
        words += [] if load.pin is None else [f"on {load.pin}"]
        yield f"  {load.paradigm:9} {load.behaviour.name:20} {', '.join(words)}"
    for change in run.changes:
        what = f"{change.quota_of}: quota {change.quota_cpus or 0:.2f}" if change.quota_of else ""
        yield f"  window {change.window}: {what or f'starts {change.starts.name}' if change.starts else what or f'stops {change.stops}'}"


def table(rows: Sequence[Row], learn_windows: int) -> Iterator[str]:
    yield from scores("FORECASTS: said at the end of the window before", cells(rows, learn_windows))
    yield from scores("ESTIMATES: said of the window", cells(rows, learn_windows, estimates))
    of_two = [row for row in rows if row.component in _TWO_WAYS]
    yield from scores("ESTIMATES by who competes alone, without the habits of its threads", cells(of_two, learn_windows, contention))
    yield _KEY
    yield from behaviours([cell for cell in cells(rows, learn_windows) if cell.first.component == "run_queue_delay"])
    yield ""
    yield f"{'first window, before anything was learnt':42} {'figures':>7} {'inside':>6} {'hi/lo, where above 0.01':>24}"
    for component, prior in priors(rows).items():
        yield f"{component:42} {prior.figures:7} {_share(prior.inside, 6)} {_number(prior.width, 24)}"
    yield ""
    yield from _offences(rows)


def scores(title: str, scored: Iterable[Cell]) -> Iterator[str]:
    by_component: dict[str, list[Cell]] = defaultdict(list)
    for cell in scored:
        by_component[cell.first.component].append(cell)
    yield ""
    yield title
    yield f"{'':32} {'steady':^39} | {'at changes':^39}"
    yield f"{'component, level':32} {_HEAD} | {_HEAD}"
    for component, of_it in by_component.items():
        changing = [cell for cell in of_it if not cell.constant and not cell.silent]
        if not changing:
            yield component
        groups = [(level, [cell for cell in changing if cell.first.level == level]) for level in LEVELS]
        for name, group in [(component, changing), *((f"  {level}", group) for level, group in groups)]:
            if group:
                yield f"{name:32} {' | '.join(_words(line(tallies)) for tallies in _sides(group))}"
        if constant := [cell for cell in of_it if cell.constant]:
            steady, _ = (line(tallies) for tallies in _sides(constant))
            shares = f"{_share(steady.had)} {_share(steady.had_of_measured)} {_share(steady.inside, 6)}"
            yield f"{'  never changes':32} {len(constant):5} {shares}"
        if silent := sum(cell.silent for cell in of_it):
            yield f"{'  active, and never measured':32} {silent:5}"


def behaviours(delays: Iterable[Cell]) -> Iterator[str]:
    """Where a component loses or wins: its scores by behaviour and kind of workload."""
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in delays:
        if not cell.constant and not cell.silent:
            groups[cell.first.behaviour, cell.first.paradigm].append(cell)
    yield f"{'forecasts of run_queue_delay':32} {_HEAD} | {_HEAD}"
    for (behaviour, paradigm), group in sorted(groups.items()):
        yield f"  {behaviour:20} {paradigm:9} {' | '.join(_words(line(tallies)) for tallies in _sides(group))}"


def _sides(group: Iterable[Cell]) -> tuple[list[tuple[Tally, float]], ...]:
    return ([(cell.steady, cell.margin) for cell in group], [(cell.changes, cell.margin) for cell in group])


def _offences(rows: Sequence[Row]) -> Iterator[str]:
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for wrong in offences(rows):
        groups[wrong.row.component, wrong.figure, wrong.complaint].append(wrong.words)
    yield f"what cannot be true: {sum(map(len, groups.values()))} figures of {len(rows)} rows"
    for (component, figure, complaint), words in groups.items():
        yield f"  {component}, {figure}, {complaint}: {len(words)}, as in {words[0]}"


def _words(of: Line) -> str:
    return (
        f"{of.cells:5} {_share(of.had)} {_share(of.had_of_measured)} {_share(of.inside, 6)} {_number(of.width, 7)} {_number(of.ratio, 6)}"
    )


def _share(share: float | None, width: int = 5) -> str:
    return f"{'-' if share is None else f'{share:.0%}':>{width}}"


def _number(number: float | None, width: int) -> str:
    return f"{'-' if number is None else f'{number:.2f}':>{width}}"
