"""collectors/proc_softirqs.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.facts.proc_softirqs import Softirq
from agent.model.values import CpuSet
from agent.normalise import normalise
from collectors.proc_softirqs import Softirqs, parse, read
from collectors.root import MARK, SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import A_MARK, grow

TEXT = """                    CPU0       CPU1       CPU2       CPU7
          HI:          0          1          0          0
       TIMER:      14205          0          0          9
"""

INTERRUPTS = """           CPU0       CPU1
  9:          1          2   IO-APIC  9-edge  acpi
"""


def test_cpus_that_took_none_are_left_out() -> None:
    assert parse(TEXT) == Softirqs(CpuSet((0, 1, 7)), (Softirq("HI", (0, 1, 0)), Softirq("TIMER", (14205, 0, 9))))


@pytest.mark.parametrize(
    "text", ["", "HI: 1\n", "CPU0 CPU1\n HI: 1\n", "CPU1 CPU0\n HI: 1 2\n", "CPU0\n HI 1\n", "CPU0\n HI: -1\n", "CPU0\n HI: 1 2\n"]
)
def test_bad_texts(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_files(tmp_path: Path) -> None:
    assert len(read(grow(tmp_path, {"proc/softirqs": TEXT})).lines) == 2
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path / "proc"))


def test_the_cpus_of_softirqs_are_not_those_of_interrupts(tmp_path: Path) -> None:
    """CPU 7 took some and went offline: /proc/interrupts has no column for it."""
    files = {MARK: A_MARK, "proc/softirqs": TEXT, "proc/interrupts": INTERRUPTS}
    kernel = normalise(take(grow(tmp_path, files), Config(), Caches())).logical.cpu
    assert kernel.softirq_cpus == CpuSet((0, 1, 7))
    assert [len(line.counts) for line in kernel.softirqs] == [3, 3]
