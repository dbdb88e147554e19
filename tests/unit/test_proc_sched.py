"""collectors/proc_sched.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.proc_sched import TaskSlice, parse, read
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow

TEXT = """init (1, #threads: 13)
-------------------------------------------------------------------
se.exec_start                                :        596532.183546
prio                                         :                  120
se.slice                                     :              1400000
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TEXT, TaskSlice(1400000)),
        (TEXT.replace("se.slice", "se.vslice"), TaskSlice()),
        # A task may be called so.
        ("se.slice (1, #threads: 1)\n", TaskSlice()),
        ("", TaskSlice()),
    ],
)
def test_slices(text: str, found: TaskSlice) -> None:
    assert parse(text) == found


def test_a_bad_slice() -> None:
    with pytest.raises(Malformed):
        parse("se.slice : 1.4\n")


def test_files(tmp_path: Path) -> None:
    assert read(grow(tmp_path, {"proc/1/sched": TEXT})) == TaskSlice(1400000)
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path / "proc"))
