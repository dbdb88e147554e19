"""Interrupts by CPU since boot: /proc/interrupts, inter-processor interrupts among them."""

from __future__ import annotations

from itertools import pairwise

from agent.model.values import CpuSet, Fact
from collectors.sysroot import SysRoot
from collectors.text import Malformed, cpu_number, newline_separated, numbers


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
    header = lines[0].split() if lines else []
    if not header or any(name[:3] != "CPU" for name in header):
        raise Malformed("expected a header 'CPU0 CPU1 ...'", 1)
    cpus = [cpu_number(name[3:]) for name in header]
    if any(low >= high for low, high in pairwise(cpus)):
        # `counts` stand in the order of a set.
        raise Malformed("expected a header in ascending order", 1)
    found = []
    for number, line in enumerate(lines[1:], 2):
        name, colon, rest = line.partition(":")
        if not colon:
            if line.strip():
                raise Malformed(f"expected 'name: counts', got {line[:60]!r}", number)
            continue
        words = rest.split(None, len(header))
        if len(words) >= len(header) and all(word.isdecimal() for word in words[: len(header)]):
            description = words[len(header)] if len(words) > len(header) else ""
            found.append(Interrupt(name.strip(), numbers(words[: len(header)], number), " ".join(description.split())))
    return Interrupts(CpuSet(cpus), tuple(found))
