"""Interrupts by CPU since boot: /proc/interrupts, inter-processor interrupts among them."""

from __future__ import annotations

from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, cpu_columns, newline_separated, numbers


class Interrupt(Fact, frozen=True):
    """`counts` stand in the order of `Interrupts.cpus`; a line with one number only (ERR, MIS) has no CPU."""

    name: str
    counts: tuple[int, ...]
    description: str

    @property
    def is_irq(self) -> bool:
        """Whether it goes by a number: a device's interrupt, and not the CPU's own."""
        return len(self.name) < 10 and self.name.isascii() and self.name.isdecimal()


class Interrupts(Fact, frozen=True):
    cpus: CpuSet
    lines: tuple[Interrupt, ...]


def read(root: SysRoot) -> Interrupts:
    return parse(root.require("proc/interrupts"))


def parse(text: str) -> Interrupts:
    """The header names the online CPUs; every line has one count for each of them, then words that describe it."""
    lines = newline_separated(text)
    cpus = cpu_columns(lines[0] if lines else "")
    found = []
    for number, line in enumerate(lines[1:], 2):
        name, colon, rest = line.partition(":")
        if not colon:
            if line.strip():
                raise Malformed(f"expected 'name: counts', got {line[:60]!r}", number)
            continue
        words = rest.split(None, len(cpus))
        if len(words) >= len(cpus) and all(word.isdecimal() for word in words[: len(cpus)]):
            description = words[len(cpus)] if len(words) > len(cpus) else ""
            found.append(Interrupt(name.strip(), numbers(words[: len(cpus)], number), " ".join(description.split())))
    return Interrupts(CpuSet(cpus), tuple(found))
