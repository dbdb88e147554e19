"""Text for people: sizes, frequencies, lists of CPUs, and names that somebody else chose, made safe for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from shlex import quote

from rich.text import Text

from agent.model.values import CpuSet, Origin, safe

GUESS = "~"
# A blank at which no line is broken; replaced once the text is laid out. It is of private use, so that no safe name contains it.
FIRM = "\ue000"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def words(*parts: tuple[str, str] | str | None) -> Text:
    """Parts, each with its style or without one, two blanks between them: lines break there. Nothing in a part is markup."""
    text = Text()
    for part in parts:
        shown, style = part if isinstance(part, tuple) else (part, "")
        if shown:
            text.append("  " if text else "").append(safe(shown).replace(" ", FIRM).replace(f"{FIRM}|{FIRM}", f"{FIRM}| "), style)
    return text


def line(text: str, style: str = "") -> Text:
    """A sentence that may be broken at any blank. Nothing in it is markup."""
    return Text(safe(text), style, overflow="fold")


def command(arguments: Iterable[str], width: int, style: str = "dim") -> Text:
    """A command for a shell, each argument quoted; a line that would be too long is continued in the next one, as shells read it."""
    lines = [""]
    for argument in map(quote, map(safe, arguments)):
        # Of the width a blank and the backslash are left.
        if lines[-1] and len(lines[-1]) + len(argument) + 3 > width:
            lines.append(f"  {argument}")
        else:
            lines[-1] += f" {argument}" if lines[-1] else argument
    return Text(" \\\n".join(lines).replace(" ", FIRM), style, overflow="ignore", no_wrap=True)


def size(size_bytes: int | None) -> str | None:
    """ "1.25 MiB", in three digits."""
    if size_bytes is None:
        return None
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if value >= 100 or value == int(value) else f"{value:.3g} {_UNITS[unit]}"


def digits(value: float) -> str:
    """Three digits that count, never an exponent: "0.25", "12.5", "4000"."""
    if abs(value) >= 999.5:
        return f"{value:.0f}"
    if abs(value) >= 1e-4:
        return f"{value:.3g}"
    # A millionth is the least that is not written as 0.
    return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) >= 1e-6 else "0"


def frequency(hertz: int | None) -> str | None:
    return None if hertz is None else f"{hertz / 1e9:.3g} GHz" if hertz >= 10**9 else f"{hertz / 1e6:.0f} MHz"


def guessed(value: str | None, origin: Origin | None) -> str | None:
    """The value, marked where it is inferred."""
    return value + GUESS if value and origin in ("inferred", "synthesised") else value


def count(number: int, noun: str) -> str:
    """ "1 core", "2 boxes"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith(('s', 'x')) else 's'}"


def cpus(numbers: Iterable[int], noun: str = "CPU") -> str:
    """ "CPU 3", "CPUs 0-7,16-23", in the order given."""
    listed = list(numbers)
    return f"{noun if len(listed) == 1 else noun + 's'} {ordered(listed)}" if listed else f"no {noun}s"


def ordered(numbers: Iterable[int]) -> str:
    """Numbers in the order given, runs as "0-7", and a regular row of them as "0,4,...,92" or "0-3,16-19,...,48-51"."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    spans = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    steps = {(second[0] - first[0], second[1] - first[1]) for first, second in pairwise(runs)}
    if len(runs) > 4 and len(steps) == 1:
        return f"{spans[0]},{spans[1]},...,{spans[-1]}"
    return ",".join(spans)


def sets(several: Iterable[CpuSet]) -> str:
    """ "0-3 | 4-7 | ... | 60-63"."""
    shown = [ordered(cpus) for cpus in several]
    return " | ".join(shown if len(shown) <= 16 else [*shown[:8], "...", shown[-1]])
