"""The stack of one workload for whoever runs the host: layers, facts and costs, what is misplaced, what would pay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import ConsoleRenderable, Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from agent.model.change import Cost, Explanation, Level
from agent.model.snapshot import Prediction
from exporters.views.console import printed
from exporters.views.elements import stated
from exporters.views.explain_first import key_figures, neighbours
from exporters.views.figures import WEAKNESSES, changed, duration, interval, meaning, measured_words, options, percent, predicted, saved
from exporters.views.words import GUESS, command, digits, guessed, line, words

WIDE = 120
"""From so many columns on, the two halves of the stack stand side by side."""


def render(explanation: Explanation, *, width: int | None, terminal: bool, encoding: str) -> bytes:
    """The stack as text. `width` None: the terminal's."""
    return printed(lambda columns: _parts(explanation, columns), width=width, terminal=terminal, encoding=encoding)


def _parts(explanation: Explanation, width: int) -> Iterator[ConsoleRenderable]:
    yield words((explanation.name, "bold"), explanation.paradigm, explanation.runtime, explanation.workload)
    yield line(f"CPU time: {explanation.execution_mode} scheduling. Memory: {explanation.memory_mode}.")
    yield line(_summary(explanation))
    if explanation.key_figures:
        yield from _titled("What matters most")
        yield from key_figures(explanation)
    yield from _titled("Who else runs on its CPUs")
    yield from neighbours(explanation)
    yield from _titled("Misplaced")
    yield from _misplaced(explanation)
    yield from _titled("What would pay most")
    yield from _advice(explanation, width)
    yield words()
    if width >= WIDE:
        yield _side_by_side(explanation)
    else:
        yield from (Text("CPU, layer by layer", "bold underline"), *(_level(level) for level in explanation.cpu), words())
        yield from (Text("Memory, layer by layer", "bold underline"), *(_level(level) for level in explanation.memory))
    weak = sorted({flag for cost in _costs(explanation) for flag in cost.prediction.validity} & WEAKNESSES.keys())
    if weak:
        yield words()
        yield line("Predictions are weakened by this: " + "; ".join(WEAKNESSES[flag] for flag in weak) + ".")
    yield words()
    yield Text(f"{GUESS} inferred, stated by nobody", "dim")


def _titled(title: str) -> Iterator[Text]:
    yield words()
    yield Text(title, "bold underline")


def _summary(explanation: Explanation) -> str:
    lost = explanation.lost
    if lost is None:
        waiting = None if explanation.neighbours is None else explanation.neighbours.own_waiting_cpus
        measured = "" if not waiting else f" Measured: its threads waited {duration(waiting)} of each second for a CPU."
        return f"How much time its layers cost it is not known: it did not run, or how it ran could not be read.{measured}"
    if explanation.idle:
        return "It is idle: it hardly ran and is not predicted to have waited, and its layers cost it nothing to speak of."
    measured = "" if explanation.measured_lost is None else f" Measured: {percent(explanation.measured_lost)}, waiting for a CPU."
    spread = interval(lost.lo, lost.hi, "ratio")
    unknown = "; ".join(meaning(component) for component in explanation.lost_parts_unknown)
    least = f" Not in that, because it is not known: {unknown}." if unknown else ""
    return f"Of the time that it wants to run, it is predicted to lose {percent(lost.value)} ({spread}).{measured}{least}"


def _misplaced(explanation: Explanation) -> Iterator[Text]:
    misplaced = [finding for finding in explanation.findings if finding.remedy is not None]
    for finding in misplaced:
        yield line(f"{finding.text} ({finding.evidence})", "red")
        yield line(f"  remedy: {finding.remedy}")
    if not misplaced:
        yield line("nothing that can be seen from here")


def _side_by_side(explanation: Explanation) -> ConsoleRenderable:
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold underline")
    for half in ("CPU", "Memory"):
        table.add_column(half, ratio=1, overflow="fold")
    for cpu, memory in zip_longest(explanation.cpu, explanation.memory):
        table.add_row(*(_level(level) if level else "" for level in (cpu, memory)))
    return table


def _level(level: Level) -> ConsoleRenderable:
    drawn = Tree(Text.assemble((level.name, "bold cyan"), _share(level.costs)), guide_style="dim")
    for element in level.elements:
        text = stated(element)
        if text is not None:
            drawn.add(line(f"{element.name}: {guessed(text, element.origin)}"))
    silent = [element.name for element in level.elements if stated(element) is None]
    if silent:
        drawn.add(line(f"not seen from here: {', '.join(silent)}", "dim"))
    for cost in level.costs:
        drawn.add(_cost(cost.prediction))
    return drawn


def _cost(prediction: Prediction) -> ConsoleRenderable:
    figure = line(f"{meaning(prediction.component)}: {predicted(prediction)}", "yellow")
    counterpart = measured_words(prediction)
    style = "" if prediction.inside is None else "green" if prediction.inside else "red"
    return Group(figure, line(counterpart, style)) if counterpart else figure


def _share(costs: Sequence[Cost]) -> str:
    """The layer's share of all lost time."""
    of_predicted = [cost.share for cost in costs if cost.share is not None]
    of_measured = [cost.measured_share for cost in costs if cost.measured_share is not None]
    if not of_predicted:
        return ""
    measured = f", {percent(sum(of_measured))} of the measured" if of_measured else ""
    return f"  {percent(sum(of_predicted))} of the predicted lost time{measured}"


def _costs(explanation: Explanation) -> Sequence[Cost]:
    return [cost for level in (*explanation.cpu, *explanation.memory) for cost in level.costs]


def _advice(explanation: Explanation, width: int) -> Iterator[Text]:
    advice = explanation.advice
    if explanation.idle:
        yield line("nothing: it is idle")
        return
    for delay in (cost.prediction for cost in _costs(explanation) if "saturated" in cost.prediction.validity):
        if delay.component == "run_queue_delay":
            taken, available = delay.inputs["other_busy_cpus"], delay.inputs["cpus"]
            yield line(
                f"The CPUs that it may use are full: others took {digits(taken)} of {available:g}. "
                "Fewer neighbours on these CPUs, or more CPUs, would help."
            )
    if advice is not None and advice.lost is not None:
        yield line(f"{changed(advice.change)[0].upper()}{changed(advice.change)[1:]}: {saved(advice.lost)}.", "bold")
        if advice.lost.hi > 0:
            yield line("It may also cost time: try it and measure.")
        yield from (line(f"Not in that: {text}.") for text in advice.caveats)
        yield command(("agent", "what-if", explanation.word, *options(advice.change)), width)
    elif explanation.lost is None:
        yield line("not known: what it loses is not known")
    elif explanation.considered:
        yield line("Nothing would help, as far as the model can tell. Tried: " + "; ".join(map(changed, explanation.considered)) + ".")
    else:
        yield line("Nothing would help, as far as the model can tell: it is limited by nothing that could be changed here.")
