"""collectors/proc_interrupts.py."""

from __future__ import annotations

import pytest

from agent.model.facts.proc_interrupts import Interrupt
from agent.model.values import CpuSet
from collectors.proc_interrupts import Interrupts, parse
from collectors.text import Malformed

FULL = """            CPU0       CPU2
   0:         10          0   IO-APIC   2-edge      timer
  24:          0    1234567   PCI-MSI 65536-edge      nvme0q0, nvme0:q1
 NMI:          1          2   Non-maskable interrupts
 RES:          3          4   Rescheduling interrupts
IPI0:          5          6
 ERR:          0
 MIS:          0
"""


def test_everything() -> None:
    assert parse(FULL) == Interrupts(
        CpuSet((0, 2)),
        (
            Interrupt("0", "IO-APIC 2-edge timer", (10, 0)),
            Interrupt("24", "PCI-MSI 65536-edge nvme0q0, nvme0:q1", (0, 1234567)),
            Interrupt("NMI", "Non-maskable interrupts", (1, 2)),
            Interrupt("RES", "Rescheduling interrupts", (3, 4)),
            Interrupt("IPI0", "", (5, 6)),
        ),
    )


def test_one_cpu() -> None:
    assert parse("  CPU0\n ERR: 7\n  1: 3 x y\n\n").lines == (Interrupt("ERR", "", (7,)), Interrupt("1", "x y", (3,)))


@pytest.mark.parametrize("text", ["", "\n", "x\n", "CPU\n", "CPUx\n", "CPU0 CPU0\n", "CPU1 CPU0\n", "CPU65536\n", "CPU-1\n"])
def test_bad_headers(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize("line", ["no colon", f"1: {'9' * 21} 1"])
def test_bad_lines(line: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(f"CPU0 CPU1\n{line}\n")
    assert caught.value.line == 2
