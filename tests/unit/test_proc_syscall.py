"""collectors/proc_syscall.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.proc_syscall import parse, read
from collectors.text import Malformed
from tests.unit.tree import grow


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("202 0x55591b47be08 0x89 0x0 0x0 0x0 0x5559ffffffff 0x7fe2bd3fe9e8 0x7fe2bf31f829\n", 0x7FE2BD3FE9E8),
        ("-1 0x7ffe8d366520 0x7fe2bf3162ec\n", 0x7FFE8D366520),
        ("running\n", None),
    ],
)
def test_stack_pointers(text: str, pointer: int | None) -> None:
    assert parse(text) == pointer


@pytest.mark.parametrize("text", ["202 0x0\n", "runs\n", "-1 what 0x0\n"])
def test_what_is_no_system_call(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_files(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/7/task/7/syscall": "-1 0x10 0x20\n", "proc/7/task/8/syscall": "running\n"})
    assert read(root, {7: [7, 8, 9]}) == {7: 0x10}
