"""The stack of one workload for whoever runs the host: layers, facts and costs, what is misplaced, what would pay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from rich.console import ConsoleRenderable, Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from agent.model.change import Cost, Explanation, Level
from agent.model.snapshot import Prediction
from exporters.views.console import printed
from exporters.views.figures import WEAKNESSES, changed, duration, meaning, measured, option, percent, predicted, saved
from exporters.views.words import GUESS, guessed, safe, words

SHORT = 40
"""So much of an id is asked for again: more than enough, and all of a uuid."""
WIDE = 120
"""From so many columns on, the two halves of the stack stand side by side."""


def render(one: Explanation, *, width: int | None, terminal: bool, encoding: str) -> bytes:
    return printed(lambda columns: _parts(one, columns), width=width, terminal=terminal, encoding=encoding)


def _parts(one: Explanation, width: int) -> Iterator[ConsoleRenderable]:
    yield words((one.name, "bold"), one.paradigm, one.runtime, one.workload)
    yield line(f"CPU time: {one.execution_mode} scheduling. Memory: {one.memory_mode}.")
    yield line(_summary(one))
    yield words()
    if width >= WIDE:
        yield _beside(one)
    else:
        yield from (Text("CPU", "bold underline"), *(_level(level) for level in one.cpu), words())
        yield from (Text("Memory", "bold underline"), *(_level(level) for level in one.memory))
    weak = sorted({flag for cost in _costs(one) for flag in cost.prediction.validity} & WEAKNESSES.keys())
    if weak:
        yield words()
        yield line("Predictions are weakened by this: " + "; ".join(WEAKNESSES[flag] for flag in weak) + ".")
    yield words()
    yield Text("Misplaced", "bold underline")
    amiss = [found for found in one.findings if found.remedy is not None]
    for found in amiss:
        yield line(f"{found.text} ({found.evidence})", "red")
        yield line(f"  remedy: {found.remedy}")
    if not amiss:
        yield line("nothing that can be seen from here")
    yield words()
    yield Text("What would pay most", "bold underline")
    yield from _advice(one)
    yield words()
    yield Text(f"{GUESS} inferred, stated by nobody", "dim")


def _summary(one: Explanation) -> str:
    if one.lost is None:
        return "How much time its layers cost it is not known: it did not run, or how it ran could not be read."
    seen = "" if one.measured_lost is None else f" Measured: {duration(one.measured_lost)} of waiting."
    low, high = duration(one.lost.lo), duration(one.lost.hi)
    return f"For each second that it runs, its layers are predicted to cost it {duration(one.lost.value)} ({low} to {high}).{seen}"


def _beside(one: Explanation) -> ConsoleRenderable:
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold underline")
    for half in ("CPU", "Memory"):
        table.add_column(half, ratio=1, overflow="fold")
    for number in range(max(len(one.cpu), len(one.memory))):
        table.add_row(*(_level(side[number]) if number < len(side) else "" for side in (one.cpu, one.memory)))
    return table


def _level(level: Level) -> ConsoleRenderable:
    drawn = Tree(Text.assemble((level.name, "bold cyan"), _share(level.costs)), guide_style="dim")
    for element in level.elements:
        if element.fact is not None:
            drawn.add(line(f"{element.name}: {guessed(element.fact, element.origin)}"))
    silent = [element.name for element in level.elements if element.fact is None]
    if silent:
        drawn.add(line(f"not seen from here: {', '.join(silent)}", "dim"))
    for cost in level.costs:
        drawn.add(_cost(cost.prediction))
    return drawn


def _cost(one: Prediction) -> ConsoleRenderable:
    said = line(f"{meaning(one.component)}: {predicted(one)}", "yellow")
    told = measured(one)
    return Group(said, line(told, "green" if one.inside else "red")) if told else said


def _share(costs: Sequence[Cost]) -> str:
    """The layer's part of all lost time."""
    of_predicted = [cost.share for cost in costs if cost.share is not None]
    of_measured = [cost.measured_share for cost in costs if cost.measured_share is not None]
    if not of_predicted:
        return ""
    seen = f", {percent(sum(of_measured))} of the measured" if of_measured else ""
    return f"  {percent(sum(of_predicted))} of the predicted lost time{seen}"


def _costs(one: Explanation) -> Sequence[Cost]:
    return [cost for level in (*one.cpu, *one.memory) for cost in level.costs]


def _advice(one: Explanation) -> Iterator[Text]:
    advice = one.advice
    for waits in (cost.prediction for cost in _costs(one) if "saturated" in cost.prediction.validity):
        if waits.component == "run_queue_delay":
            asked, there = waits.inputs["other_busy_cpus"], waits.inputs["cpus"]
            yield line(
                f"The CPUs that it may use are full: others took {asked:.3g} of {there:g}. Less beside it would help it, or more CPUs."
            )
    if advice is not None and advice.lost is not None:
        yield line(f"{changed(advice.change)[0].upper()}{changed(advice.change)[1:]}: {saved(advice.lost)}.", "bold")
        if advice.lost.hi > 0:
            yield line("The interval holds losses, too: try it and measure.")
        yield from (line(f"Not in that: {text}.") for text in advice.caveats)
        yield line(f"agent what-if {quote(one.workload[:SHORT])} {option(advice.change)}", "dim")
    elif one.lost is None:
        yield line("not known: what it loses is not known")
    elif one.considered:
        yield line("Nothing would help, as far as the model can tell. Tried: " + "; ".join(map(changed, one.considered)) + ".")
    else:
        yield line("Nothing would help, as far as the model can tell: it is limited by nothing that could be changed here.")


def line(text: str, style: str = "") -> Text:
    """A sentence that is broken at any blank. Nothing in it is markup."""
    return Text(safe(text), style, overflow="fold")
