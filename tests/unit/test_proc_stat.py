"""collectors/proc_stat.py."""

from __future__ import annotations

import pytest

from collectors.proc_stat import CpuTime, Stat, parse
from collectors.text import Malformed

FULL = """cpu  300 0 100 1000 5 0 1 2 0 0
cpu0 100 1 50 500 2 3 4 5 6 7
cpu12 200 0 50 500 3 0 1 2 0 0
intr 12345 0 9 0 0
ctxt 777
btime 1700000000
processes 42
procs_running 2
procs_blocked 0
softirq 99 1 2 3
"""


def test_everything() -> None:
    found = parse(FULL)
    assert found.cpus == (
        CpuTime(0, 1.0, 0.01, 0.5, 5.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07),
        CpuTime(12, 2.0, 0.0, 0.5, 5.0, 0.03, 0.0, 0.01, 0.02, 0.0, 0.0),
    )
    assert found == Stat(found.cpus, 1700000000, 777, 42, 2, 0, 99, 12345)


@pytest.mark.parametrize(
    ("text", "stat"),
    [
        ("", Stat(())),
        ("cpu 1 2 3 4\n", Stat(())),
        ("\n\nunknown 1\nctxt\n", Stat(())),
        ("cpu0 100 0 0 0\n", Stat((CpuTime(0, 1.0, 0.0, 0.0, 0.0),))),
        ("cpu0 100 0 0 0 1 1 1 1 1 1 55 66 77\n", Stat((CpuTime(0, 1.0, 0.0, 0.0, 0.0, *[0.01] * 6),))),
    ],
)
def test_older_and_newer_kernels(text: str, stat: Stat) -> None:
    assert parse(text) == stat


@pytest.mark.parametrize("line", ["cpu0", "cpu0 1 2 3", "cpu0 1 2 3 x", "cpu0 -1 2 3 4", "cpu65536 1 2 3 4", f"cpu0 1 2 3 {'9' * 500}"])
def test_bad_lines(line: str) -> None:
    with pytest.raises(Malformed):
        parse(f"ctxt 1\n{line}\n")


def test_a_bad_count() -> None:
    with pytest.raises(Malformed):
        parse("ctxt many\n")
