"""One trial's prediction beside what came true, and what many of them come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from agent.model.change import Answer, Change
from agent.model.components import RUN_QUEUE_DELAY
from agent.overhead.activity import Activity
from agent.overhead.what_if import what_if
from agent.overhead.window import Window
from tests.validation.matrix_run import Pass

LEAST_CPUS = 0.02
"""What is off of less is off of so much: CPUs' worth of running, or of waiting."""
_NOISE_CPUS = 0.01

Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """`noise`: how far the halves of the windows differ. All in CPUs' worth."""

    before: float
    predicted: float
    lo: float
    hi: float
    after: float
    noise: float

    @property
    def off(self) -> float:
        return abs(self.predicted - self.after) / max(self.after, LEAST_CPUS)

    @property
    def is_bounded(self) -> bool:
        """Whether anything was predicted: a neighbour that is not named stays as it is, within whatever it does."""
        return self.lo < self.hi

    @property
    def is_inside(self) -> bool:
        return self.lo <= self.after <= self.hi

    @property
    def has_sign(self) -> bool | None:
        """Whether the direction is right; None where what changed is within the noise."""
        truth = self.after - self.before
        return None if abs(truth) <= max(self.noise, _NOISE_CPUS) else (self.predicted - self.before) * truth > 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """None where nothing was predicted, or it could not be measured."""

    number: int
    kind: str
    run: Figure | None
    delay: Figure | None
    neighbours: tuple[Figure, ...]

    @property
    def delay_off_wanted(self) -> float | None:
        """How far its predicted delay is off, of the time for which it then ran and waited."""
        if self.run is None or self.delay is None:
            return None
        return abs(self.delay.predicted - self.delay.after) / max(LEAST_CPUS, self.run.after + self.delay.after)


def judged(number: int, kind: str, names: Sequence[str], change: Callable[[dict[str, str]], Change], passes: Sequence[Pass]) -> Row:
    """`passes`: three before the change and three after. The first of `names` is what is changed."""
    before, ids = passes[2], passes[2].ids
    window = _window(passes[0], before)
    workload = next(workload for workload in window.after.workloads if workload.id == ids[names[0]])
    answer = what_if(window, workload, change(ids))
    windows = [_window(passes[first], passes[last]) for first, last in ((0, 2), (3, 5), (0, 1), (1, 2), (3, 4), (4, 5))]
    own = [_activity(window, workload.id) for window in windows]
    waits = next((effect for effect in answer.effects if effect.component == RUN_QUEUE_DELAY.name), None)
    delay = None
    if waits is not None and waits.after is not None and waits.now is not None:
        delay = _figure((waits.now, waits.after.value, waits.after.lo, waits.after.hi), [_delay(activity) for activity in own])
    time = answer.cpu_time
    run = None if time is None else _figure((time.now, time.then, time.lo, time.hi), [_run(activity) for activity in own])
    return Row(number=number, kind=kind, run=run, delay=delay, neighbours=tuple(_others(answer, names[1:], ids, windows)))


def _others(answer: Answer, names: Sequence[str], ids: dict[str, str], windows: Sequence[Window]) -> Iterator[Figure]:
    told = {time.workload: time for time in answer.neighbours}
    for name in names:
        if ids[name] in answer.change.without:
            continue
        runs = [_run(_activity(window, ids[name])) for window in windows]
        time, was = told.get(ids[name]), runs[0]
        if was is not None:
            figure = _figure((was, was, was, was) if time is None else (time.now, time.then, time.lo, time.hi), runs)
            if figure is not None:
                yield figure


def _window(before: Pass, after: Pass) -> Window:
    return Window.between(after.host, after.read_at, before.host, before.read_at)


def _activity(window: Window, id_: str) -> Activity | None:
    workload = next((workload for workload in window.after.workloads if workload.id == id_), None)
    return None if workload is None else window.activity(workload)


def _run(activity: Activity | None) -> float | None:
    return None if activity is None or activity.run_seconds is None else activity.run_seconds / activity.seconds


def _delay(activity: Activity | None) -> float | None:
    return None if activity is None or activity.delay_seconds is None else activity.delay_seconds / activity.seconds


def _figure(predicted: tuple[float, float, float, float], measured: Sequence[float | None]) -> Figure | None:
    """`measured`: before, after, and both halves of each."""
    known = [value for value in measured if value is not None]
    if len(known) < len(measured):
        return None
    _, after, *halves = known
    noise = sum(abs(first - last) for first, last in (halves[:2], halves[2:]))
    now, then, lo, hi = predicted
    return Figure(before=now, predicted=then, lo=lo, hi=hi, after=after, noise=noise)


def line(row: Row) -> str:
    """One trial: before -> predicted (interval), after."""

    def words(figure: Figure | None) -> str:
        if figure is None:
            return f"{'not predicted':44}"
        mark = " " if figure.is_inside else "!"
        sign = {None: "=", True: "+", False: "-"}[figure.has_sign]
        told = f"{figure.before:.3f} -> {figure.predicted:.3f} ({figure.lo:.3f}..{figure.hi:.3f}), {figure.after:.3f}{mark}{sign}"
        return f"{told:44}"

    others = max((figure.off for figure in row.neighbours), default=None)
    worst = "" if others is None else f"neighbours {100 * others:.0f} %"
    return f"{row.number:3} {row.kind:17} ran {words(row.run)} waited {words(row.delay)} {worst}"


def summary(rows: Sequence[Row]) -> Iterator[str]:
    runs = [row.run for row in rows if row.run is not None]
    delays = [row.delay for row in rows if row.delay is not None]
    others = [figure for row in rows for figure in row.neighbours]
    yield f"{len(rows)} changes; off by, in per cent of what came true, of at least {LEAST_CPUS:g} CPUs:"
    for name, figures, bound in (
        ("CPU time of the changed workload", runs, "8, 15"),
        ("its delay", delays, "-, 15"),
        ("CPU time of neighbours", others, "-, 20"),
    ):
        off = [100 * figure.off for figure in figures]
        told = f"median {median(off):.1f}, 90th percentile {_percentile(off):.1f}" if off else "nothing was predicted"
        inside = _share(figure.is_inside for figure in figures if figure.is_bounded)
        yield f"  {name:34} {told} (aimed at {bound}; {len(off)} figures, {inside} inside)"
    wanted = [100 * row.delay_off_wanted for row in rows if row.delay_off_wanted is not None]
    if wanted:
        yield f"  {'its delay, of the time it wants to run':38} median {median(wanted):.1f}, 90th percentile {_percentile(wanted):.1f}"
    signs = [sign for figure in (*runs, *delays) if (sign := figure.has_sign) is not None]
    yield f"sign right where the truth exceeds its noise: {_share(signs)} of {len(signs)} (aimed at 95 %)"
    yield f"truth inside the predicted change: {_share(figure.is_inside for figure in (*runs, *delays))} (aimed at 85 %)"


def _share(values: Iterable[bool]) -> str:
    listed = list(values)
    return f"{100 * sum(listed) / len(listed):.0f} %" if listed else "-"


def _percentile(values: Sequence[float]) -> float:
    return quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]
