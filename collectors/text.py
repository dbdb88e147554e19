"""The kernel's text formats, under the names of Documentation/admin-guide/cgroup-v2.rst ("Interface Files").

Parsers are pure: text in, values out. Unknown keys are kept or skipped (kernels grow). A line that cannot be read costs that line:
the `Malformed` that names it bears what the others came to. Where a part is nothing without the rest, it costs the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from sys import intern
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from agent.model.values import MAX_ID, MAX_NUMBER, CpuSet, Fact, Limit

T = TypeVar("T")

# A number of so many digits is below MAX_NUMBER.
_FEW_DIGITS = 18

# Limits are floats, of which this is the last one below 2^63.
_LARGEST_LIMIT = (1 << 63) - 1024

_SIZE = re.compile(r"(\d{1,15})\s*([KMGT]?)i?B?", re.IGNORECASE)


class Malformed(Exception):
    """A text that is there and cannot be understood, all of it or some lines. `path` is filled in by the door that read it.

    `rest` is what the parser made of the other lines, None where that is nothing: of the type that the parser returns, so that one parser
    that calls another must not let it pass. `more` counts the lines that are left out beside the one that is named.
    """

    def __init__(self, detail: str, line: int | None = None, path: str | None = None, rest: Any = None, more: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.line = line
        self.path = path
        self.rest = rest
        self.more = more

    def at(self, path: str) -> Malformed:
        """The same of the text at a path, to be kept: without the rest, and without what was being done."""
        return Malformed(self.detail, self.line, printable(path), more=self.more)

    def __str__(self) -> str:
        where = self.path or "text"
        return f"{where}:{self.line}: {self.detail}" if self.line else f"{where}: {self.detail}"


class MalformedLines:
    """The lines of one text that its parser leaves out. Empty ones are nothing, whatever was expected."""

    __slots__ = ("count", "first")

    def __init__(self) -> None:
        self.first: tuple[str, int] | None = None
        self.count = 0

    def add(self, number: int, line: str, expected: str) -> None:
        """`expected` is the form of a line: "'key number'"."""
        if not line.strip():
            return
        self.count += 1
        if self.first is None:
            self.first = f"expected {expected}, got {line[:60]!r}", number

    def checked(self, value: T) -> T:
        """`value`, what the other lines came to. `Malformed` with it where lines were left out; without, where it is empty."""
        if self.first is None:
            return value
        raise Malformed(*self.first, rest=value or None, more=self.count - 1)


def flag(text: str) -> bool:
    """sysfs prints 0 and 1, Y and N, true and false."""
    return text.strip() in ("Y", "1", "true")


def nonzero(value: int | None) -> bool | None:
    """A number that is a flag; None where it is not there."""
    return None if value is None else value != 0


def printable(text: str) -> str:
    """Text that UTF-8 can hold: names of files and processes come with lone surrogates for bytes that are not UTF-8."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        # JSON may hold half of a pair: "\ud800".
        return text.encode("utf-8", "backslashreplace").decode()


def convert(kind: Callable[[str], T], text: str, line: int | None = None) -> T:
    """`kind(text)`, with a `Malformed` that shows the text where it is not one."""
    try:
        return kind(text)
    except ValueError:
        raise Malformed(f"expected {getattr(kind, '__name__', 'a value')}, got {text[:60]!r}", line) from None


def integer(text: str) -> int:
    """A decimal number of 64 bits, with a sign: kernel files hold nothing else that int() would take ("1_000", Arabic digits)."""
    digits = text.strip()
    if digits.isdecimal() and digits.isascii() and len(digits) <= _FEW_DIGITS:
        return int(digits)
    if not (digits.removeprefix("-").isascii() and digits.removeprefix("-").isdigit()):
        raise Malformed(f"expected a number, got {text[:60]!r}")
    if len(digits) > 40:
        raise Malformed(f"a number of {len(digits)} digits")
    return within(-MAX_NUMBER, MAX_NUMBER, int(digits))


def unsigned(text: str) -> int:
    """A count or a size. What is negative, or has more than 63 bits, ran below 0 or was read while it was written."""
    digits = text.strip()
    if digits.isdecimal() and digits.isascii() and len(digits) <= _FEW_DIGITS:
        return int(digits)
    return within(0, MAX_NUMBER, integer(text))


def within(low: int, high: int, number: int) -> int:
    """`number`, with a `Malformed` where it is not one that there can be."""
    if low <= number <= high:
        return number
    last = "2^63 - 1" if high == MAX_NUMBER else high
    raise Malformed(f"expected a number from {low} to {last}, got {number}")


def bounded(low: int, high: int) -> Callable[[str], int]:
    """A parser of a number that lies between these two."""
    return lambda text: within(low, high, integer(text))


def kibibytes(text: str) -> int:
    """ "12" of a file that counts in units of 1024 bytes, as bytes."""
    return within(0, MAX_NUMBER, unsigned(text) << 10)


def numbers(words: Sequence[str], line: int | None = None) -> tuple[int, ...]:
    """Counts and sizes, many at once."""
    digits = "".join(words)
    if words and not (digits.isascii() and digits.isdecimal() and "" not in words and max(map(len, words)) <= 20):
        raise Malformed(f"expected numbers from 0 to 2^63 - 1, got {' '.join(words)[:60]!r}", line)
    values = tuple(map(int, words))
    if len(digits) > _FEW_DIGITS and max(values) > MAX_NUMBER:
        raise Malformed(f"expected numbers from 0 to 2^63 - 1, got {' '.join(words)[:60]!r}", line)
    return values


def number_lines(text: str) -> tuple[int, ...]:
    """ "4711", a line each."""
    lines = newline_separated(text)
    try:
        return numbers(lines)
    except Malformed:
        values: list[int] = []
        malformed = MalformedLines()
        for place, line in enumerate(lines, 1):
            try:
                values += numbers([line])
            except Malformed:
                malformed.add(place, line, "a number")
        return malformed.checked(tuple(values))


def cpu_columns(header: str) -> list[int]:
    """ "CPU0 CPU2": what the columns of /proc/interrupts and /proc/softirqs stand for. Counts stand in the order of a set of them."""
    names = header.split()
    if not names or any(name[:3] != "CPU" for name in names):
        raise Malformed("expected a header 'CPU0 CPU1 ...'", 1)
    cpus = [cpu_number(name[3:]) for name in names]
    if any(low >= high for low, high in pairwise(cpus)):
        raise Malformed("expected a header in ascending order", 1)
    return cpus


class ProcessStat(Fact, frozen=True, kw_only=True):
    """What is used of /proc/PID/stat, and of a thread's. Of a process' first thread both say the same. `start_ticks` are since boot."""

    name: str
    state: str
    parent_pid: int
    threads: int
    start_ticks: int
    last_cpu: Annotated[int, Meta(ge=0, lt=MAX_ID)] | None


def process_stat(text: str) -> ProcessStat:
    """The name may hold anything, ")" and spaces too: the last ")" ends it."""
    opening, closing = text.find("("), text.rfind(")")
    fields = text[closing + 1 :].split()
    if opening < 0 or closing < opening or len(fields) < 20:
        raise Malformed(f"expected 'pid (name) state ...', got {text[:60]!r}")
    # The third is the first of them.
    parent, threads, started = unsigned(fields[1]), unsigned(fields[17]), unsigned(fields[19])
    last_cpu = cpu_number(fields[36]) if len(fields) > 36 and fields[36].isdecimal() else None
    return ProcessStat(
        name=text[opening + 1 : closing], state=fields[0], parent_pid=parent, threads=threads, start_ticks=started, last_cpu=last_cpu
    )


def cpu_number(text: str) -> int:
    """A CPU's number; what is no number of a CPU cannot be an element of a CpuSet either."""
    number = integer(text)
    if not 0 <= number < MAX_ID:
        raise Malformed(f"expected the number of a CPU, got {text[:60]!r}")
    return number


def node_number(text: str) -> int | None:
    """`numa_node` and `target_node` of a device: -1 is none."""
    number = integer(text)
    return None if number < 0 else number


def decimal(text: str) -> float:
    """ "0.25": a load average or seconds; float() would take "nan" and "inf", too."""
    value = convert(float, text)
    if not math.isfinite(value):
        raise Malformed(f"expected a number, got {text[:60]!r}")
    return value


def hexadecimal(text: str) -> int:
    """ "0x00000000410fd0c0"."""
    return within(-MAX_NUMBER, MAX_NUMBER, convert(lambda digits: int(digits[:40], 16), text.strip()))


def limit(text: str) -> Limit:
    """ "max" or a number."""
    return Limit.parse("max") if text.strip() == "max" else Limit(min(unsigned(text), _LARGEST_LIMIT))


# A thousand containers have few different sets.
@lru_cache(maxsize=1 << 10)
def cpu_list(text: str) -> CpuSet:
    return convert(CpuSet.parse_list, text)


def cpu_mask(text: str) -> CpuSet:
    return convert(CpuSet.parse_mask, text)


def size_bytes(text: str) -> int:
    """ "32K", "8192 kB", "4096K": powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise Malformed(f"expected a size, got {text[:60]!r}")
    return within(0, MAX_NUMBER, int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match[2].upper()])


def phrase(text: str) -> str:
    """A file that is one word or a few; no more than a line of it."""
    return printable(" ".join(text.split())[:200])


def newline_separated(text: str) -> list[str]:
    return text.split("\n")[:-1] if text.endswith("\n") else text.split("\n") if text else []


def space_separated(text: str) -> list[str]:
    return text.split()


_FLAT_KEYED = re.compile(r"(?:[!-~]+ [0-9]{1,19}\n)+")


def flat_keyed(text: str) -> dict[str, int]:
    """ "KEY0 VAL0\\nKEY1 VAL1\\n" with counts and sizes."""
    # As it should be: a key and a number a line. The keys are the same in every group.
    if _FLAT_KEYED.fullmatch(text):
        words = text.split()
        values = dict(zip(map(intern, words[::2]), map(int, words[1::2]), strict=True))
        if max(values.values()) <= MAX_NUMBER:
            return values
    values = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        key, _, value = line.partition(" ")
        try:
            values[key] = unsigned(value if key else "")
        except Malformed:
            range_ = " from 0 to 2^63 - 1" if value.removeprefix("-").isdecimal() else ""
            malformed.add(number, line, f"'key number'{range_}")
    return malformed.checked(values)


def nested_keyed(text: str) -> dict[str, dict[str, str]]:
    """ "KEY0 SUB0=VAL00 SUB1=VAL01\\n"."""
    values: dict[str, dict[str, str]] = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        key, *pairs = line.split(" ")
        entries = [pair.partition("=") for pair in pairs]
        if key.strip() and all(equals for _, equals, _ in entries):
            values[key] = {name: value for name, _, value in entries}
        else:
            malformed.add(number, line, "'key name=value'")
    return malformed.checked(values)
