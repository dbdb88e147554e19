"""/proc/PID/status, and a thread's: "Name:\tbash", a field a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent.model.values import CpuSet
from collectors.text import Malformed, cpu_list, size_bytes, unsigned

T = TypeVar("T")


class Status:
    """Some of the fields, as text. The methods convert one: None where the file has no such line, or one that is `malformed`.

    What is malformed is for a parser to raise (`checked`), or for a reader to note, once it has converted what it needs.
    """

    __slots__ = ("_text", "fields", "malformed")

    def __init__(self, text: str, fields: dict[str, str]) -> None:
        self._text = text
        self.fields = fields
        self.malformed: list[Malformed] = []

    def size_bytes(self, name: str) -> int | None:
        """ "VmRSS:\t  100 kB"."""
        return self.value(name, size_bytes)

    def number(self, name: str) -> int | None:
        return self.value(name, unsigned)

    def cpus(self, name: str) -> CpuSet | None:
        """ "Cpus_allowed_list:\t0-3,8": a set of CPUs, or of memory nodes."""
        return self.value(name, cpu_list)

    def checked(self, value: T) -> T:
        """`value`, what was converted; in a `Malformed` where a field was."""
        if not self.malformed:
            return value
        first, *others = self.malformed
        raise Malformed(first.detail, first.line, rest=value, more=len(others))

    def value(self, name: str, parser: Callable[[str], T]) -> T | None:
        """The field as a parser has it."""
        if name not in self.fields:
            return None
        try:
            return parser(self.fields[name])
        except Malformed as error:
            self.malformed.append(Malformed(error.detail, self._text.count("\n", 0, self._text.index(f"\n{name}:")) + 1))
            return None


def status_parser(*names: str) -> Callable[[str], Status]:
    """A parser for those lines, of sixty, that a reader needs. `names` are best in the order in which the kernel writes them
    (fs/proc/array.c), so that what was passed is not searched again.
    """
    keys = tuple((name, f"\n{name}:", len(name) + 2) for name in names)

    def parse(text: str) -> Status:
        # A line feed in a process' name is escaped: no name looks like another field.
        fields: dict[str, str] = {}
        text, passed = f"\n{text}", 0
        for name, begins, length in keys:
            start = text.find(begins, passed)
            if start < 0 and (start := text.find(begins)) < 0:
                continue
            passed = end if (end := text.find("\n", start + 1)) >= 0 else len(text)
            fields[name] = text[start + length : passed].strip()
        return Status(text, fields)

    return parse
