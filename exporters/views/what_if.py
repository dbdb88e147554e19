"""What a change is predicted to do to one workload: before, after and the difference, as a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import ConsoleRenderable
from rich.table import Table

from agent.model.change import Answer, Change, Effect
from exporters.views.console import printed
from exporters.views.explain import line
from exporters.views.figures import changed, figure, interval, meaning, saved
from exporters.views.words import words


def render(answer: Answer, *, width: int | None, terminal: bool, encoding: str) -> bytes:
    return printed(lambda _columns: _parts(answer), width=width, terminal=terminal, encoding=encoding)


def _parts(answer: Answer) -> Iterator[ConsoleRenderable]:
    yield words((answer.name, "bold"), answer.workload)
    yield line(f"If you {changed(answer.change)}:")
    yield words()
    moved = [one for one in answer.effects if not (one.before and one.after) or one.difference or one.lo or one.hi]
    if moved:
        yield _table(moved, answer.change)
    else:
        yield line("No figure of the model changes.")
    same = [meaning(one.component) for one in answer.effects if one not in moved]
    if moved and same:
        yield line(f"unchanged: {', '.join(same)}", "dim")
    yield words()
    yield line(_sum(answer), "bold")
    yield from (line(f"assumed: {text}") for text in answer.assumed)
    yield from (line(f"not in the model: {text}", "yellow") for text in answer.caveats)


def _sum(answer: Answer) -> str:
    if answer.lost is None:
        return "What it would save or cost in time cannot be predicted: a part of it is not known before or after."
    if not answer.lost.value and not answer.lost.lo and not answer.lost.hi:
        return "Time: predicted to be the same."
    return f"Time: {saved(answer.lost)}."


def _absent(change: Change, component: str) -> str:
    """Why a figure is on one side only: another paradigm or no quota has not got it, or an input of it is not known."""
    return "does not apply" if change.paradigm is not None or component.startswith("throttled") else "not said"


def _table(effects: list[Effect], change: Change) -> ConsoleRenderable:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("what", "predicted now", "predicted then", "predicted change", "between"):
        table.add_column(column, overflow="fold")
    for one in effects:
        before, after = (figure(side.value, one.unit) if side else _absent(change, one.component) for side in (one.before, one.after))
        difference = spread = ""
        if one.difference is not None and one.lo is not None and one.hi is not None:
            difference = f"{'+' if one.difference > 0 else ''}{figure(one.difference, one.unit)}"
            spread = interval(one.lo, one.hi, one.unit)
        table.add_row(*(line(cell) for cell in (meaning(one.component), before, after, difference, spread)))
    return table
