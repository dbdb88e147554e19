"""Interrupts by CPU since boot: /proc/interrupts, inter-processor interrupts among them."""

from __future__ import annotations

from agent.model.facts.proc_interrupts import Interrupt
from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, cpu_columns, newline_separated, numbers


class Interrupts(Fact, frozen=True):
    cpus: CpuSet
    lines: tuple[Interrupt, ...]


def read(root: SysRoot) -> Interrupts:
    return parse(root.require("proc/interrupts"))


def parse(text: str) -> Interrupts:
    """The header names the online CPUs; every line has one count for each of them, then words that describe it."""
    lines = newline_separated(text)
    cpus = cpu_columns(lines[0] if lines else "")
    interrupts = []
    for number, line in enumerate(lines[1:], 2):
        name, colon, rest = line.partition(":")
        if not colon:
            if line.strip():
                raise Malformed(f"expected 'name: counts', got {line[:60]!r}", number)
            continue
        words = rest.split(None, len(cpus))
        if len(words) >= len(cpus) and all(word.isdecimal() for word in words[: len(cpus)]):
            description = words[len(cpus)] if len(words) > len(cpus) else ""
            interrupts.append(Interrupt(name.strip(), " ".join(description.split()), numbers(words[: len(cpus)], number)))
    return Interrupts(CpuSet(cpus), tuple(interrupts))
