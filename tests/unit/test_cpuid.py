"""collectors/cpuid.py and own_cost.py: what two libraries say, beside the kernel's word."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from collectors import cpuid, own_cost, proc_cpuinfo
from collectors.cpuid import Cpuid
from collectors.root import SysRoot, Unavailable
from tests.unit.tree import recorded


@pytest.mark.skipif(platform.machine() != "x86_64", reason="CPUID is an instruction of x86")
def test_the_instruction_says_what_cpuinfo_says() -> None:
    first = proc_cpuinfo.read(SysRoot()).processors[0]
    said = cpuid.ask()
    assert said.vendor == first.vendor
    assert str(said.model) == first.model
    assert str(said.stepping) == first.stepping
    assert said.brand == (first.model_name or "").strip()


def test_a_recording_answers_for_its_own_cpu(tmp_path: Path) -> None:
    answer = '{"vendor": "GenuineIntel", "brand": "A CPU", "family": 6, "model": 143, "stepping": 8}'
    assert cpuid.read(recorded(tmp_path, {"replies/cpuid.json": answer})) == Cpuid(
        vendor="GenuineIntel", brand="A CPU", family=6, model=143, stepping=8
    )


def test_elsewhere_there_is_no_such_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(Unavailable, match="no CPUID instruction on aarch64"):
        cpuid.ask()


def test_own_cost() -> None:
    cost = own_cost.read()
    assert cost.resident_bytes == pytest.approx(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"), rel=0.2)
    assert cost.cpu_seconds > 0
    assert cost.open_fds >= 3
    assert cost.started_at > 1e9
