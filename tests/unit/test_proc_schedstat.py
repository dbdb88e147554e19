"""collectors/proc_schedstat.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.proc_schedstat import RunQueue, parse, read
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import Malformed


@pytest.mark.parametrize(
    ("text", "queues"),
    [
        ("version 15\ntimestamp 4295\ncpu0 0 0 5 6 7 8 100 200 300\ndomain0 03 1 2 3\n", (RunQueue(0, 100, 200, 300),)),
        (
            "version 17\ncpu3 0 0 0 0 0 0 1 2 3\ndomain0 MC 03 0\ncpu11 0 0 0 0 0 0 4 5 6 99\n",
            (RunQueue(3, 1, 2, 3), RunQueue(11, 4, 5, 6)),
        ),
        ("version 15\n\n", ()),
        ("", ()),
        ("cpus 1 2\ncpu\n", ()),
    ],
)
def test_queues(text: str, queues: tuple[RunQueue, ...]) -> None:
    assert parse(text) == queues


@pytest.mark.parametrize(
    "line", ["cpu0", "cpu0 1 2 3 4 5 6 7 8", "cpu0 1 2 3 4 5 6 7 8 x", "cpu0 0 0 0 0 0 0 -1 2 3", "cpu99999 0 0 0 0 0 0 1 2 3"]
)
def test_bad_lines(line: str) -> None:
    with pytest.raises(Malformed):
        parse(f"version 15\n{line}\n")


def test_not_built_in(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert (caught.value.reason, "CONFIG_SCHEDSTATS" in (caught.value.remedy or "")) == ("absent", True)
