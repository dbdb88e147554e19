"""The stored calibration for a host: its parameters, or why they are the defaults."""

from __future__ import annotations

from agent.calibrate import store
from agent.calibrate.machine import machine_of
from agent.model.host import Host
from agent.model.values import Gap
from agent.overhead.calibrated import parameters_of
from agent.overhead.parameter_set import DEFAULTS, Parameters

_AGAIN = "run: agent calibrate"


def parameters(path: str, host: Host) -> tuple[Parameters, Gap | None]:
    try:
        found = store.load(path)
    except store.Unreadable as error:
        return DEFAULTS, Gap("calibration", "failed", str(error), _AGAIN)
    if found is None:
        return DEFAULTS, Gap("calibration", "absent", path, _AGAIN)
    other = store.differences(found.machine, machine_of(host))
    if other:
        return DEFAULTS, Gap("calibration", "unsupported", f"{path}: of another {other[0].replace('_', ' ')}", _AGAIN)
    return parameters_of(found, host.physical.nodes), None
