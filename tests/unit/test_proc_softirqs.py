"""collectors/proc_softirqs.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.proc_softirqs import Softirq
from agent.model.values import CpuSet
from collectors.proc_softirqs import Softirqs, parse, read
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow

TEXT = """                    CPU0       CPU1       CPU2       CPU7
          HI:          0          1          0          0
       TIMER:      14205          0          0          9
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
