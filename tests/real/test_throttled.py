"""Bandwidth control: what the model says of a container that never sleeps, beside what the kernel counted."""

from __future__ import annotations

import json
import time

import pytest

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from exporters.views.json import render
from tests.lab import host

pytestmark = pytest.mark.real


def test_a_throttled_container_is_predicted(docker: host.Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """A busy loop under a quarter of a CPU: in the model it is stopped in each period, for three quarters of it."""
    id_ = docker.run("--cpus", "0.25", command=("sh", "-c", "while :; do :; done"))
    try:
        time.sleep(1)
        found = json.loads(render(take_snapshot(Session(root=SysRoot(), config=Config(docker=(docker.host,), interval_seconds=3.0)))))
    finally:
        docker.remove(id_)
    predicted = {one["component"]: one for one in found["predictions"] if one["workload"] == id_}
    for component in ("throttled_periods", "throttled_time"):
        one = predicted[component]
        with capsys.disabled():
            print(f"\n{component}: measured {one['measured']:.3f}, predicted {one['value']:.3f} [{one['lo']:.3f}, {one['hi']:.3f}]", end="")
        assert one["inside"], one
        # Beside others a run queue may wait instead of being stopped, and nobody knows which.
        if one["inputs"]["other_busy_cpus"] < 0.1:
            assert one["hi"] - one["lo"] < 0.5, "an interval that holds everything says nothing"
            assert predicted["throttled_periods"]["measured"] > 0.8
    assert predicted["throttled_periods"]["measured"] > 0
