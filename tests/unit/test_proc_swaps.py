"""collectors/proc_swaps.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.proc_swaps import Swap
from collectors.proc_swaps import parse, read
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow

HEAD = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.mark.parametrize(
    ("line", "swap"),
    [
        (
            "/dev/dm-1    partition\t8388604\t\t12\t\t-2\n",
            Swap(name="/dev/dm-1", type="partition", size_bytes=8388604 << 10, used_bytes=12 << 10, priority=-2),
        ),
        ("/dev/zram0\tpartition\t4\t0\t100\n", Swap(name="/dev/zram0", type="partition", size_bytes=4096, used_bytes=0, priority=100)),
        (
            "/a\\040b\\134\\040(deleted)\tfile\t4\t0\t1\n",
            Swap(name="/a b\\ (deleted)", type="file", size_bytes=4096, used_bytes=0, priority=1),
        ),
        ('/x"\\012y\tfile\t4\t0\t1\n', Swap(name='/x"\ny', type="file", size_bytes=4096, used_bytes=0, priority=1)),
    ],
)
def test_areas(line: str, swap: Swap) -> None:
    assert parse(HEAD + line) == (swap,)


def test_none(tmp_path: Path) -> None:
    assert parse(HEAD) == parse("") == ()
    assert read(grow(tmp_path, {"proc/swaps": HEAD})) == ()
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path / "proc"))


@pytest.mark.parametrize(
    "line", ["/a b file 4 0 1", "/a file 4 0", "/a file x 0 1", "/a file 4 0 y", "/a file -4 0 1", f"/a file {'9' * 50} 0 1"]
)
def test_bad_lines(line: str) -> None:
    with pytest.raises(Malformed):
        parse(HEAD + line)
