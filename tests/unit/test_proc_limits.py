"""collectors/proc_limits.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.values import UNLIMITED, Limit
from collectors.proc_limits import Limits, parse, read
from collectors.text import Malformed
from tests.unit.tree import grow, malformed

TEXT = """Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max data size             67108864             unlimited            bytes     
Max stack size            8388608              unlimited            bytes     
Max address space         unlimited            unlimited            bytes     
Max realtime timeout      unlimited            unlimited            us        
"""  # noqa: W291


def test_soft_limits() -> None:
    assert parse(TEXT) == Limits(UNLIMITED, Limit(64 << 20))
    assert parse("Limit                     Soft Limit           Hard Limit           Units     \n") == Limits()


@pytest.mark.parametrize("line", ["Max data size             lots", "Max data size             ", "Max address space         -"])
def test_what_is_no_limit(line: str) -> None:
    with pytest.raises(Malformed):
        parse(line)


def test_files(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/7/limits": TEXT, "proc/9/limits": "", "proc/6/limits": "Max data size             lots\n"})
    assert read(root, [9, 8, 7, 6]) == {6: Limits(), 7: Limits(UNLIMITED, Limit(64 << 20))}
    assert malformed(root) == ["proc/6/limits"]
