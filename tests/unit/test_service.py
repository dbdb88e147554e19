from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent import service
from agent.config import Config
from agent.model.host import Host
from agent.model.snapshot import Snapshot
from collectors.sysroot import SysRoot


def test_a_window_is_as_long_as_the_counters_ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A first pass that imports what it needs comes late to its counters; that delay is no part of the window."""
    delays = iter((0.5, 0.0))
    windows: list[float | None] = []
    whole = service.snapshot

    def noted(after: Host, taken_at: float, before: Host | None = None, seconds: float | None = None) -> Snapshot:
        windows.append(seconds)
        return whole(after, taken_at, before, seconds)

    monkeypatch.setattr("agent.sample.processes.read", lambda _root: time.sleep(next(delays)))
    monkeypatch.setattr(service, "snapshot", noted)
    monkeypatch.setattr(service, "FRESH_SECONDS", 0.0)
    served = service.Service(SysRoot(str(tmp_path)), Config(root=str(tmp_path)))
    served.metrics(False, 1.0)
    served.metrics(False, 1.0)
    assert windows[0] is None
    assert windows[1] is not None
    assert 0 < windows[1] < 0.4
