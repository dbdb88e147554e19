"""What a change is predicted to do to one workload: before, after and the difference, as a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import ConsoleRenderable
from rich.table import Table

from agent.model.change import Answer, Change, Effect
from exporters.views.console import printed
from exporters.views.figures import changed, figure, interval, meaning, saved
from exporters.views.words import line, words


def render(answer: Answer, *, width: int | None, terminal: bool, encoding: str) -> bytes:
    return printed(lambda _columns: _parts(answer), width=width, terminal=terminal, encoding=encoding)


def _parts(answer: Answer) -> Iterator[ConsoleRenderable]:
    yield words((answer.name, "bold"), answer.workload)
    yield line(f"If you {changed(answer.change)}:")
    yield words()
    moved = [effect for effect in answer.effects if not (effect.before and effect.after) or effect.difference or effect.lo or effect.hi]
    if moved:
        yield _table(moved, answer.change)
    else:
        yield line("No figure of the model changes.")
    same = [meaning(effect.component) for effect in answer.effects if effect not in moved]
    if moved and same:
        yield line(f"unchanged: {', '.join(same)}", "dim")
    yield words()
    yield line(_sum(answer), "bold")
    yield from (line(f"assumed: {text}") for text in answer.assumed)
    yield from (line(f"not in the model: {text}", "yellow") for text in answer.caveats)


def _sum(answer: Answer) -> str:
    if answer.already:
        return "Nothing changes: it is so already."
    if answer.lost is None:
        return "What it would save or cost in time cannot be predicted: a part of it is not known before or after."
    if not answer.lost.value and not answer.lost.lo and not answer.lost.hi:
        return "What it would save or cost in time cannot be predicted: no figure of lost time follows from it."
    return f"Time: {saved(answer.lost)}."


def _absent(change: Change, component: str) -> str:
    """Why a figure is on one side only: it does not exist in another paradigm or without a quota, or an input of it is missing."""
    return "does not apply" if change.paradigm is not None or component.startswith("throttled") else "not said"


def _table(effects: list[Effect], change: Change) -> ConsoleRenderable:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("what", "predicted now", "predicted then", "predicted change", "between"):
        table.add_column(column, overflow="fold")
    for effect in effects:
        unit = effect.unit
        before, after = (figure(side.value, unit) if side else _absent(change, effect.component) for side in (effect.before, effect.after))
        difference = spread = ""
        if effect.difference is not None and effect.lo is not None and effect.hi is not None:
            difference = f"{'+' if effect.difference > 0 else ''}{figure(effect.difference, unit)}"
            spread = interval(effect.lo, effect.hi, unit)
        table.add_row(*(line(cell) for cell in (meaning(effect.component), before, after, difference, spread)))
    return table
