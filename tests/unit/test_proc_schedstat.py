"""collectors/proc_schedstat.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.proc_schedstat import RunQueue
from agent.model.values import CpuSet
from collectors.proc_schedstat import Chain, Schedstat, SchedstatDomain, parse, read
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed


@pytest.mark.parametrize(
    ("text", "stat"),
    [
        (
            "version 15\ntimestamp 4295\ncpu0 0 0 5 6 7 8 100 200 300\ndomain0 03 1 2 3\n",
            Schedstat((RunQueue(0, 100, 200, 300),), (Chain(CpuSet((0,)), (SchedstatDomain(CpuSet((0, 1))),)),), 15, 4295),
        ),
        (
            "version 17\ncpu3 0 0 0 0 0 0 1 2 3\ndomain0 MC 03 0\ncpu11 0 0 0 0 0 0 4 5 6 99\n",
            Schedstat(
                (RunQueue(3, 1, 2, 3), RunQueue(11, 4, 5, 6)),
                (Chain(CpuSet((3,)), (SchedstatDomain(CpuSet((0, 1)), "MC"),)), Chain(CpuSet((11,)), ())),
                17,
            ),
        ),
        ("version 15\n\n", Schedstat((), (), 15)),
        ("", Schedstat(())),
        ("cpus 1 2\ncpu\n", Schedstat(())),
        # Without its version the line's words cannot be told.
        ("cpu0 0 0 0 0 0 0 1 2 3\ndomain0 MC 03\n", Schedstat((RunQueue(0, 1, 2, 3),), (Chain(CpuSet((0,)), ()),))),
    ],
)
def test_queues_and_domains(text: str, stat: Schedstat) -> None:
    assert parse(text) == stat


def test_cpus_with_the_same_domains_are_one_chain() -> None:
    lines = ["version 15"]
    for cpu in range(4):
        lines += [f"cpu{cpu} 0 0 0 0 0 0 1 2 3", f"domain0 {'3' if cpu < 2 else 'c'} 0", "domain1 00000000,0000000f 0"]
    assert parse("\n".join(lines)).chains == tuple(
        Chain(CpuSet(pair), (SchedstatDomain(CpuSet(pair)), SchedstatDomain(CpuSet(range(4))))) for pair in ((0, 1), (2, 3))
    )


@pytest.mark.parametrize(
    "line",
    [
        "cpu0",
        "cpu0 1 2 3 4 5 6 7 8",
        "cpu0 1 2 3 4 5 6 7 8 x",
        "cpu0 0 0 0 0 0 0 -1 2 3",
        "cpu99999 0 0 0 0 0 0 1 2 3",
        "domain0 3 0",
        "cpu0 0 0 0 0 0 0 1 2 3\ndomain0 xyz",
        "cpu0 0 0 0 0 0 0 1 2 3\ndomain0",
        "cpu0 0 0 0 0 0 0 1 2 3" + "\ndomain0 3" * 300,
        "version x",
    ],
)
def test_bad_lines(line: str) -> None:
    with pytest.raises(Malformed):
        parse(f"version 15\n{line}\n")


def test_not_built_in(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert (caught.value.reason, "CONFIG_SCHEDSTATS" in (caught.value.remedy or "")) == ("absent", True)
