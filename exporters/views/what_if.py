"""What a change is predicted to do to one workload: now, then and the difference, as a table; whom else it touches; what nobody can say."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import ConsoleRenderable
from rich.table import Table

from agent.model.change import Answer, CpuTimeEffect, Effect, MemoryEffect
from exporters.views.console import printed
from exporters.views.figures import changed, figure, interval, meaning, saved
from exporters.views.words import line, size, words

_NEIGHBOURS = 8
_OUTCOMES = {
    "fits": "what it holds fits.",
    "reclaims": "the kernel drops pages of files that it holds.",
    "swaps": "the kernel drops the pages of files that it holds, and swaps the rest.",
    "kills": "more than pages of files and the free swap: the kernel kills one of its processes.",
    "refused": "more than pages of files and the free swap: the kernel refuses the limit (EBUSY).",
    "unknown": "what the kernel would do cannot be predicted.",
}


def render(answer: Answer, *, width: int | None, terminal: bool, encoding: str) -> bytes:
    return printed(lambda _columns: _parts(answer), width=width, terminal=terminal, encoding=encoding)


def _parts(answer: Answer) -> Iterator[ConsoleRenderable]:
    yield words((answer.name, "bold"), answer.workload)
    yield line(f"If you {changed(answer.change, answer.leaving)}:")
    yield words()
    shown = [effect for effect in answer.effects if effect.unpredicted is None and _is_altered(effect)]
    if shown:
        yield _table(shown)
    elif not answer.cpu_time and not answer.memory:
        yield line("No figure of the model changes.")
    same = [meaning(effect.component) for effect in answer.effects if effect.unpredicted is None and effect not in shown]
    if shown and same:
        yield line(f"unchanged: {', '.join(same)}", "dim")
    yield from _cpu_times(answer)
    if answer.memory is not None:
        yield from _memory(answer.memory)
    yield words()
    yield line(_sum(answer), "bold")
    yield from (line(f"assumed: {text}") for text in answer.assumed)
    yield from _unpredicted(answer.effects)
    yield from (line(f"not in the model: {text}", "yellow") for text in answer.caveats)


def _is_altered(effect: Effect) -> bool:
    return not (effect.before and effect.after) or bool(effect.difference or effect.lo or effect.hi)


def _cpu_times(answer: Answer) -> Iterator[ConsoleRenderable]:
    own, others = answer.cpu_time, answer.neighbours
    if own is None:
        return
    yield words()
    yield line(f"CPU time: {_cpu_time(own)}.")
    yield from (line(f"CPU time of {other.name}: {_cpu_time(other)}.") for other in others[:_NEIGHBOURS])
    if len(others) > _NEIGHBOURS:
        yield line(f"and of {len(others) - _NEIGHBOURS} more")


def _cpu_time(time: CpuTimeEffect) -> str:
    return f"{figure(time.now, 'CPUs')} now, predicted {figure(time.then, 'CPUs')} then ({interval(time.lo, time.hi, 'CPUs')})"


def _memory(memory: MemoryEffect) -> Iterator[ConsoleRenderable]:
    yield words()
    held = "" if memory.held is None else f" It holds {size(memory.held)}"
    if memory.excess:
        held += f", {size(memory.excess)} more than that"
    yield line(f"Memory:{held}{':' if held else ''} {_OUTCOMES[memory.outcome]}")
    yield from (line(text) for text in memory.reasons)


def _unpredicted(effects: tuple[Effect, ...]) -> Iterator[ConsoleRenderable]:
    by_reason: dict[str, list[str]] = {}
    for effect in effects:
        if effect.unpredicted is not None:
            by_reason.setdefault(effect.unpredicted, []).append(meaning(effect.component))
    yield from (line(f"cannot be predicted: {reason} ({', '.join(listed)})", "yellow") for reason, listed in by_reason.items())


def _sum(answer: Answer) -> str:
    if answer.already:
        return "Nothing changes: it is so already."
    if answer.lost is None:
        return "What it would save or cost in time cannot be predicted: a part of it is not known before or after."
    if not answer.lost.value and not answer.lost.lo and not answer.lost.hi:
        return "What it would save or cost in time cannot be predicted: no figure of lost time follows from it."
    return f"Time: {saved(answer.lost)}."


def _table(effects: list[Effect]) -> ConsoleRenderable:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("what", "now", "predicted then", "predicted change", "between"):
        table.add_column(column, overflow="fold")
    for effect in effects:
        unit = effect.unit
        after = figure(effect.after.value, unit) if effect.after else "does not apply"
        difference = spread = ""
        if effect.difference is not None and effect.lo is not None and effect.hi is not None:
            difference = f"{'+' if effect.difference > 0 else ''}{figure(effect.difference, unit)}"
            spread = interval(effect.lo, effect.hi, unit)
        table.add_row(*(line(cell) for cell in (meaning(effect.component), _now(effect), after, difference, spread)))
    return table


def _now(effect: Effect) -> str:
    """From where the difference is."""
    if effect.now is None:
        return "does not apply"
    return f"{figure(effect.now, effect.unit)} ({effect.now_from})"
