"""The parameters of a stored calibration, or the defaults and a gap that says why."""

from __future__ import annotations

from agent.calibrate import store
from agent.calibrate.machine import machine_of
from agent.model.host import Host
from agent.model.values import Gap
from agent.overhead.calibrated import parameters_of
from agent.overhead.parameter_set import DEFAULTS, Parameters

_AGAIN = "run: agent calibrate"


def parameters(path: str, host: Host) -> tuple[Parameters, Gap | None]:
    """The parameters for `host` from the file at `path`; the defaults and a gap where it is missing, invalid or of another machine."""
    try:
        calibration = store.load(path)
    except store.Unreadable as error:
        return DEFAULTS, Gap("calibration", "failed", str(error), _AGAIN)
    if calibration is None:
        return DEFAULTS, Gap("calibration", "absent", path, _AGAIN)
    differing = store.differences(calibration.machine, machine_of(host))
    if differing:
        return DEFAULTS, Gap("calibration", "unsupported", f"{path}: of another {differing[0].replace('_', ' ')}", _AGAIN)
    return parameters_of(calibration, host.physical.nodes), None
