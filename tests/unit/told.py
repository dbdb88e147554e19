"""Snapshots and windows of the made-up hosts of overhead_hosts, with their workloads placed; and texts that are kept for review."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.model.host import Host
from agent.model.snapshot import Snapshot
from agent.model.workload import Workload
from agent.normalise.findings import findings
from agent.normalise.placement import placed, stacked
from agent.overhead.window import Window
from agent.session import snapshot_of
from tests.unit.overhead_hosts import host

TEXTS = Path(__file__).parent / "texts"
HOSTILE = 'a[red]b[/]\x1b[31m\x9b1m\n\r\x07\u202e"\ue000鲸'


def at(passed: float, workloads: tuple[Workload, ...] | None = None, busy: float = 6.0) -> Host:
    one = host(passed, workloads, busy)
    found = placed(one.workloads, one.physical, one.logical, True, True)
    drawn = stacked(found, one.physical, one.logical)
    return replace(one, workloads=drawn, findings=findings(drawn, one.physical, one.logical, one.identity))


def window(workloads: tuple[tuple[Workload, ...], tuple[Workload, ...]] = ((), ()), busy: float = 6.0) -> Window:
    """Ten seconds; without `workloads` (at their beginning and end) the container, the machine and the sandbox of overhead_hosts."""
    before, after = workloads
    return Window(after=at(1.0, after or None, busy), before=at(0.0, before or None, busy), seconds=10.0)


def document(seen: Window) -> Snapshot:
    return snapshot_of(seen, 0.0)


def reviewed(name: str, text: str, request: pytest.FixtureRequest) -> None:
    """The text is as it was kept; --update-golden keeps it anew."""
    file = TEXTS / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        TEXTS.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
