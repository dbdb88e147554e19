"""collectors/proc_self.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.values import CpuSet
from collectors.proc_self import Allowed, parse, read
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow

STATUS = "Name:\tagent\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\nMems_allowed:\t1\nMems_allowed_list:\t0\n"


def test_allowed(tmp_path: Path) -> None:
    assert read(grow(tmp_path, {"proc/self/status": STATUS})) == Allowed(CpuSet((0, 1)), CpuSet((0,)))
    assert parse("Name:\tagent\n") == Allowed()


def test_bad() -> None:
    with pytest.raises(Malformed) as caught:
        parse("Name:\tagent\nCpus_allowed_list:\tall\n")
    assert caught.value.line == 2


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))
