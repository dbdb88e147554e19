"""agent/calibrate/store.py: a stored calibration that somebody or something has damaged is a gap, and the defaults hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.calibrate import store
from agent.calibrate.use import parameters
from tests.hosts.trees import TREES
from tests.unit.overhead_hosts import host

Stored = dict[str, Any]


def stored() -> Stored:
    """What a run on a machine of one node has stored, and two pairs of nodes."""
    calibration: Stored = json.loads((TREES / "hybrid.calibration.json").read_text())
    pair = {"cpu_node": 0, "memory_node": 0, "latency_seconds": 1e-7, "bandwidth_bytes_per_second": 1e10}
    calibration["nodes"] = [pair, {**pair, "memory_node": 1}]
    return calibration


def figure(which: str, /, **fields: object) -> Callable[[Stored], None]:
    def change(calibration: Stored) -> None:
        next(entry for entry in calibration["figures"] if entry["name"] == which).update(fields)

    return change


def entry(part: str, /, **fields: object) -> Callable[[Stored], None]:
    return lambda calibration: calibration[part][0].update(fields)


def twice(part: str) -> Callable[[Stored], None]:
    return lambda calibration: calibration[part].append(calibration[part][0])


def whole(**fields: object) -> Callable[[Stored], None]:
    return lambda calibration: calibration.update(fields)


DAMAGE = {
    "nanoseconds for seconds": figure("switch_process", unit="nanoseconds"),
    "seconds for a ratio": figure("fuel", unit="seconds"),
    "hertz for seconds": figure("latency_l1", unit="1/second"),
    "a switch of an hour": figure("switch_process", value=3600.0, hi=3600.0),
    "a cache that answers at once": figure("latency_l1", value=0.0, lo=0.0),
    "a clock of one hertz": figure("clock", value=1.0, lo=1.0, hi=1.0),
    "an interval upside down": figure("exit_user", lo=9e-6, value=8e-6, hi=7e-6),
    "less than nothing": figure("wake_delay", lo=-1.0),
    "no measurement": figure("epochs", chunks=0),
    "measured less than never": figure("epochs", chunks=-40),
    "measured too often": figure("epochs", chunks=10**12),
    "a name that no run has": figure("epochs", name="latency_l9"),
    "a name for a terminal": figure("epochs", name="\x1b[2J" * 100),
    "one figure twice": twice("figures"),
    "one rung twice": twice("ladder"),
    "one plateau twice": twice("plateaus"),
    "one pair of nodes twice": twice("nodes"),
    "a rung of no bytes": entry("ladder", size_bytes=0),
    "a rung of more than there is": entry("ladder", size_bytes=1 << 60),
    "a rung of a second": entry("ladder", seconds=1.0, hi=1.0),
    "a plateau that ends before it begins": entry("plateaus", from_bytes=1 << 20, to_bytes=1 << 10),
    "a node below zero": entry("nodes", cpu_node=-1),
    "a memory without bandwidth": entry("nodes", bandwidth_bytes_per_second=0.0),
    "a memory that needs no time": entry("nodes", latency_seconds=0.0),
    "a CPU below zero": whole(cpu=-1),
    "a run of a year": whole(seconds=3e7),
    "a run that ended before it began": whole(seconds=-1.0),
    "more pressure than time": whole(conditions={"cpu_pressure": 40.0}),
    "ten thousand skipped steps": whole(skipped=[{"step": "a", "why": "b"}] * 10_000),
}


def test_what_a_run_has_stored_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(stored()))
    calibration = store.load(str(path))
    assert calibration is not None
    assert len(calibration.nodes) == 2


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_calibration_is_a_gap_and_the_defaults_hold(name: str, tmp_path: Path) -> None:
    calibration = stored()
    DAMAGE[name](calibration)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(calibration))
    with pytest.raises(store.Unreadable, match="not a calibration"):
        store.load(str(path))
    given, gap = parameters(str(path), host())
    assert (given.better, gap and gap.reason, gap and gap.remedy) == ((), "failed", "run: agent calibrate")
    assert gap is not None
    assert gap.detail.isprintable()
