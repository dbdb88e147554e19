from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent import service, session
from agent.config import Config
from agent.model.snapshot import Prediction
from agent.overhead.compose import predict
from agent.overhead.window import Window
from collectors.root import SysRoot
from tests.unit.tree import grow

ID = "0c" * 32


def test_a_window_is_as_long_as_the_counters_ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A first pass that imports what it needs comes late to its counters; that delay is no part of the window."""
    delays = iter((0.5, 0.0))
    windows: list[float | None] = []
    read = list[float]()
    whole = predict

    def late(*_: object) -> None:
        time.sleep(next(delays))
        read.append(time.monotonic())

    def noted(window: Window) -> tuple[Prediction, ...]:
        windows.append(window.seconds)
        return whole(window)

    monkeypatch.setattr("collectors.processes.read", late)
    monkeypatch.setattr(session, "predict", noted)
    monkeypatch.setattr(service, "FRESH_SECONDS", 0.0)
    served = service.Service(SysRoot(str(tmp_path)), Config(root=str(tmp_path)))
    served.metrics(False, 1.0)
    served.metrics(False, 1.0)
    assert windows[0] is None
    assert windows[1] is not None
    assert 0 < windows[1] < min(0.4, time.monotonic() - read[0])


def test_a_fresh_pass_is_not_shared_once_a_cpu_has_gone(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    grow(tmp_path, {f"{cpu}/online": "0-1\n", f"{cpu}/cpu0/topology/core_id": "0\n"})
    served = service.Service(SysRoot(tmp_path), Config(root=str(tmp_path), only=("hotplug", "sys_cpu")))
    assert b'strata_topology_objects{kind="thread"} 2' in served.metrics(False, 1.0)
    assert served.metrics(False, 1.0) == served.metrics(False, 1.0)
    grow(tmp_path, {f"{cpu}/online": "0\n"})
    assert b'strata_topology_objects{kind="thread"} 1' in served.metrics(False, 1.0)


def test_a_pass_that_could_not_tell_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.collect.static_facts._SETTLED_SECONDS", 0.0)
    cpu = "sys/devices/system/cpu"
    moving = {f"{cpu}/cpu0/hotplug/state": "100\n", f"{cpu}/cpu0/hotplug/target": "236\n", f"{cpu}/hotplug/states": "236: online\n"}
    grow(tmp_path, {f"{cpu}/online": "0\n", **moving})
    served = service.Service(SysRoot(tmp_path), Config(root=str(tmp_path), only=("hotplug", "sys_cpu")))
    assert b'strata_source_gap_info{source="sys_cpu",reason="late"} 1' in served.metrics(False, 1.0)
    grow(tmp_path, {f"{cpu}/cpu0/hotplug/state": "236\n"})
    assert b'strata_source_gap_info{source="sys_cpu",reason="late"} 1' not in served.metrics(False, 1.0)
