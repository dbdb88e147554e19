"""What `explain` says first: the figures that weigh most, and who else runs on the workload's CPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import ConsoleRenderable
from rich.table import Table
from rich.text import Text

from agent.model.change import Explanation
from agent.model.components import COMPONENTS
from agent.model.neighbours import Neighbour, Neighbours
from agent.model.snapshot import Prediction
from exporters.views.figures import duration, figure, interval, meaning, percent
from exporters.views.words import GUESS, count, cpus, digits, line

NEIGHBOURS = 5
"""So many are named: one screen, with the figures."""
LEAST_CPUS = 0.0005
"""What is less is not 0.001."""


def key_figures(explanation: Explanation) -> Iterator[ConsoleRenderable]:
    """A table of the heaviest figures, and a line with the others that did not come true."""
    predictions = [cost.prediction for level in (*explanation.cpu, *explanation.memory) for cost in level.costs]
    by_component = {prediction.component: prediction for prediction in predictions}
    shown = [by_component[component] for component in explanation.key_figures if component in by_component]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", overflow="fold")
    for head in ("measured", "predicted", "between"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("it was", no_wrap=True)
    table.add_column("interval", no_wrap=True)
    for prediction in shown:
        table.add_row(*_row(prediction))
    yield table
    yield from (line(text, "dim") for text in _origins(shown))
    yield from (line(text, "dim") for text in _scores(explanation))
    missed = [prediction for prediction in predictions if prediction.inside is False and prediction not in shown]
    if missed:
        yield line("Outside their intervals, too: " + "; ".join(map(_missed, missed)) + ".", "red")


def _row(prediction: Prediction) -> tuple[Text, ...]:
    unit = "seconds" if prediction.unit == "seconds/second" else prediction.unit
    each = ", of each second" if prediction.unit == "seconds/second" else ""
    point, spread = figure(prediction.value, unit), interval(prediction.lo, prediction.hi, unit)
    style = "" if prediction.inside is None else "green" if prediction.inside else "red"
    measured = "" if prediction.measured is None else figure(prediction.measured, unit)
    return (
        line(f"{meaning(prediction.component)}{each}"),
        line(measured, style),
        line(point),
        line(spread),
        line(_judged(prediction)),
        line(prediction.interval),
    )


def _judged(prediction: Prediction) -> str:
    if prediction.inside is None or prediction.measured is None:
        return "" if prediction.measured is None else "not judged"
    return "inside" if prediction.inside else "below" if prediction.measured < prediction.lo else "above"


def _origins(predictions: list[Prediction]) -> Iterator[str]:
    """Where the intervals come from, and how well those that were learned have done so far."""
    if any(prediction.interval == "prior" for prediction in predictions):
        yield "prior: the interval follows from the model's parameters; agent serve learns narrower ones from window to window."
    for prediction in predictions:
        if prediction.interval == "learned":
            so_far = "none of them judged yet" if prediction.coverage is None else f"{percent(prediction.coverage)} held so far"
            yield f"learned: {meaning(prediction.component)}, from {count(prediction.windows, 'window')} before, {so_far}."


def _scores(explanation: Explanation) -> Iterator[str]:
    """How well `agent serve` has forecast the same figures."""
    for score in explanation.scores:
        if score.component in explanation.key_figures:
            forecasts = f"{percent(score.coverage)} of its forecasts inside over {count(score.windows, 'window')}"
            width = figure(score.width, COMPONENTS[score.component].unit)
            beside = f"interval score {digits(score.score_ratio)} times that of 'as in the last window'"
            yield f"agent serve: {meaning(score.component)}, {forecasts}; {width} wide; {beside}."


def _missed(prediction: Prediction) -> str:
    measured, unit = prediction.measured or 0.0, prediction.unit
    return f"{meaning(prediction.component)}, measured {figure(measured, unit)} and not {interval(prediction.lo, prediction.hi, unit)}"


def neighbours(explanation: Explanation) -> Iterator[ConsoleRenderable]:
    """A table of who kept its CPUs busy."""
    found = explanation.neighbours
    if found is None:
        yield line("not known: that takes two readings, and the CPUs that it may use")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"{cpus(found.allowed_cpus)}, {duration(found.seconds)}", overflow="fold")
    for head in ("CPUs that it took", "waited, of each second"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, took, waited in _rows(found):
        table.add_row(line(name), line(took), line(waited))
    yield table
    if any(neighbour.origin for neighbour in found.workloads):
        yield line(f"{GUESS} it may use other CPUs, too: its time is divided by how busy others kept each of them", "dim")


def _rows(found: Neighbours) -> Iterator[tuple[str, str, str]]:
    """Name, CPUs that it kept busy, and how long its threads waited, summed over them."""
    named, more = found.workloads[:NEIGHBOURS], found.workloads[NEIGHBOURS:]
    if found.own_cpus is not None:
        yield "this workload", f"{_number(found.own_cpus)} ", _waited(found.own_waiting_cpus)
    for neighbour in named:
        yield f"{neighbour.name}, {neighbour.paradigm}", _taken((neighbour,)), _waited(neighbour.waiting_cpus)
    if more:
        yield f"and {len(more)} more", _taken(more), ""
    if not found.workloads:
        yield "no other workload", "", ""
    if found.rest_cpus is not None:
        yield "the rest of the host", f"{_number(found.rest_cpus)} ", ""
    if found.idle_cpus is not None:
        yield "idle", f"{_number(found.idle_cpus)} ", ""


def _taken(neighbours: Sequence[Neighbour]) -> str:
    """The sum, marked where a part of it is a guess."""
    taken = [neighbour.taken_cpus for neighbour in neighbours if neighbour.taken_cpus is not None]
    if not taken:
        return "not known"
    guess = GUESS if any(neighbour.origin for neighbour in neighbours) else " "
    return f"{'' if len(taken) == len(neighbours) else 'more than '}{_number(sum(taken))}{guess}"


def _number(taken: float) -> str:
    """To a thousandth: the clocks of the kernel's counters are no finer over a window of seconds."""
    return "under 0.001" if 0 < taken < LEAST_CPUS else f"{taken:.3f}"


def _waited(waiting: float | None) -> str:
    return "" if waiting is None else duration(waiting)
