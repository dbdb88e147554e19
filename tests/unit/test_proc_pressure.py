"""collectors/proc_pressure.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.proc_pressure import Pressure, Pressures
from collectors.proc_pressure import parse, read
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow

SOME = "some avg10=0.12 avg60=0.05 avg300=0.01 total=123456\n"
FULL = "full avg10=0.00 avg60=0.00 avg300=0.00 total=42\n"


@pytest.mark.parametrize(
    ("text", "pressure"),
    [
        (SOME + FULL, Pressure(123456, 42)),
        (SOME, Pressure(123456)),
        (FULL, Pressure(None, 42)),  # irq
        ("some total=0\nother x=1\n", Pressure(0)),
    ],
)
def test_lines(text: str, pressure: Pressure) -> None:
    assert parse(text) == pressure


@pytest.mark.parametrize("text", ["", "some\n", "some avg10=1\n", "some total=x\n", "some total=1_0\n", f"some total={'9' * 400}\n", "x\n"])
def test_bad_lines(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_what_is_there(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/pressure/memory": SOME + FULL, "proc/pressure/irq": FULL, "proc/pressure/io": ""})
    assert read(root) == Pressures(memory=Pressure(123456, 42), irq=Pressure(None, 42))


def test_psi_off(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="absent") as caught:
        read(SysRoot(tmp_path))
    assert "psi=1" in (caught.value.remedy or "")
